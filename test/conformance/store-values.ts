/** Every type comes back as it was written: part of the store's conformance suite. */
import { randomUUID } from 'node:crypto';
import { expect, it } from 'vitest';
import type { Store, StoreMutation } from '../../ports/store/port.ts';
import { jsonText } from '../../schemas/resource/cells.ts';
import { type Cell, COMMIT_TIMESTAMP } from '../../schemas/resource/table.ts';
import { KEYS, KINDS, OPTIONS, remove, SCALARS, write } from './store-tables.ts';

export function valueConformance(use: () => Store): void {
  const commit = (...mutations: StoreMutation[]): Promise<unknown> => use().commit(mutations, OPTIONS);

  const nested = { b: [1, { z: null, a: '😀' }], a: { deep: { deeper: [[], {}, 1.5, -0.25, 9007199254740991] } }, '': 'empty name' };
  const extremes: Record<(typeof SCALARS)[number], readonly Cell[]> = {
    STRING: ['', 'plain', 'a\u{10FFFF}😀é\n"\\\'`', '{{projectId}}', COMMIT_TIMESTAMP, 'null'],
    INT64: ['0', '-1', '9007199254740993', '9223372036854775807', '-9223372036854775808'],
    FLOAT64: [0, 1, -1.5, 0.1, 1.7976931348623157e308, -1.7976931348623157e308, 5e-324, 123456789012345680],
    NUMERIC: [
      '0',
      '1',
      '-1.5',
      '99999999999999999999999999999.999999999',
      '-99999999999999999999999999999.999999999',
      '0.000000001',
      '-0.000000001',
    ],
    BOOL: [true, false],
    TIMESTAMP: [
      '0001-01-01T00:00:00Z',
      '0001-01-01T00:00:00.000000001Z',
      '1969-12-31T23:59:59.999999999Z',
      '1970-01-01T00:00:00.1Z',
      '2026-11-24T12:00:00.12345Z',
      '2026-11-24T12:00:10Z',
      '9999-12-31T23:59:59.999999999Z',
    ],
    DATE: ['0001-01-01', '2024-02-29', '9999-12-31'],
    BYTES: ['', 'AA==', Buffer.from(Array.from({ length: 256 }, (_, i) => i)).toString('base64')],
    JSON: ['null', 'true', '1', '""', '[]', '{}', jsonText(nested), '"text"', '"\\u0001😀"'],
  };

  it.each(SCALARS)('gives back %s cells as they were written, extremes and NULL included', async (scalar) => {
    const column = `c_${scalar.toLowerCase()}`;
    const cells: readonly Cell[] = [...extremes[scalar], null];
    const ids = cells.map(() => randomUUID());
    await commit(...cells.map((cell, i) => write('insert', KINDS, { id: ids[i] ?? '', [column]: cell })));
    const rows = await use().read(
      KINDS,
      ids.map((id) => [id]),
      [column],
    );
    expect(rows).toEqual(cells.map((cell) => [cell]));
  });

  it.each(SCALARS)('gives back arrays of %s cells, empty ones and NULLs included', async (scalar) => {
    const column = `a_${scalar.toLowerCase()}`;
    const arrays: readonly Cell[] = [extremes[scalar], [], [null], [...extremes[scalar].slice(0, 2), null], null];
    const ids = arrays.map(() => randomUUID());
    await commit(...arrays.map((cell, i) => write('upsert', KINDS, { id: ids[i] ?? '', [column]: cell })));
    const rows = await use().read(
      KINDS,
      ids.map((id) => [id]),
      [column],
    );
    expect(rows).toEqual(arrays.map((cell) => [cell]));
  });

  it('finds rows by keys of every type that a key may have, at their extremes', async () => {
    const keys: Cell[][] = [
      ['', '-9223372036854775808', '-99999999999999999999999999999.999999999', '0001-01-01T00:00:00.000000001Z', '0001-01-01'],
      ['😀', '9223372036854775807', '99999999999999999999999999999.999999999', '9999-12-31T23:59:59.999999999Z', '9999-12-31'],
      ['x', '0', '0', '1970-01-01T00:00:00Z', '1970-01-01'],
    ];
    await commit(
      ...keys.map((key, i) =>
        write('insert', KEYS, { ...Object.fromEntries(KEYS.primaryKey.map((k, j) => [k, key[j] ?? null])), note: String(i) }),
      ),
    );
    expect(await use().read(KEYS, [...keys].reverse(), ['note'])).toEqual([['2'], ['1'], ['0']]);
    expect(await use().read(KEYS, keys, KEYS.primaryKey)).toEqual(keys);
    await commit(remove(KEYS, ...(keys[1] ?? [])));
    expect(await use().read(KEYS, keys, ['note'])).toEqual([['0'], undefined, ['2']]);
  });

  it('reads a text of megabytes whole', async () => {
    const id = randomUUID();
    const text = '0123456789€'.repeat(150_000);
    await commit(write('insert', KINDS, { id, c_string: text, a_string: [text.slice(0, 500_000), null, ''] }));
    const row = (await use().read(KINDS, [[id]], ['c_string', 'a_string', 'c_int64']))[0];
    expect(row?.[0] === text).toBe(true);
    expect(row?.slice(1)).toEqual([[text.slice(0, 500_000), null, ''], null]);
  });

  it('computes a stored generated column', async () => {
    await commit(write('insert', KINDS, { id: 'zebra', c_int64: '1' }));
    expect(await use().read(KINDS, [['zebra']], ['first_letter'])).toEqual([['z']]);
  });
}
