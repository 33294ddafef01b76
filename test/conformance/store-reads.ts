/** Reads of a moment, and of ranges: part of the store's conformance suite. */
import { randomUUID } from 'node:crypto';
import { beforeAll, expect, it } from 'vitest';
import type { Range, RangeRow, Store, StoreMutation } from '../../ports/store/port.ts';
import { type Cell, COMMIT_TIMESTAMP, type IndexDefinition, orderOf, type TableDefinition } from '../../schemas/resource/table.ts';
import { COUPONS, KINDS, line, LINES, NOTES, OPTIONS, ORDERS, write } from './store-tables.ts';

const STRONG = { freshness: 'strong' } as const;
const BY_CUSTOMER = ORDERS.indexes[0] as IndexDefinition;
const BY_CODE = COUPONS.indexes[0] as IndexDefinition;
const BY_LETTER = KINDS.indexes[0] as IndexDefinition;

export function readConformance(use: () => Store): void {
  const tenant = randomUUID().slice(0, 8);
  const commit = (...mutations: StoreMutation[]): Promise<{ commitTimestamp: string }> => use().commit(mutations, OPTIONS);
  const range = (table: TableDefinition, more: Partial<Range> = {}): Range => ({
    table,
    columns: table.primaryKey,
    prefix: [tenant],
    descending: false,
    limit: 100,
    children: [],
    ...more,
  });
  const cellsOf = async (wanted: Range): Promise<readonly (readonly Cell[])[]> =>
    (await use().readRange(wanted, STRONG)).rows.map((row: RangeRow) => row.cells);
  /** Every row of the range, page by page. */
  async function pages(wanted: Range): Promise<Cell[][]> {
    const order = orderOf(wanted.table, wanted.index).slice(wanted.prefix.length);
    const all: Cell[][] = [];
    for (let after: readonly Cell[] | undefined; ;) {
      const rows = await cellsOf({ ...wanted, columns: [...wanted.columns, ...order], ...(after ? { after } : {}) });
      all.push(...rows.map((cells) => cells.slice(0, wanted.columns.length)));
      if (rows.length < wanted.limit) return all;
      after = rows.at(-1)?.slice(wanted.columns.length) ?? [];
    }
  }

  const ids = ['', 'A', 'a', 'b', 'é', '😀'];
  const customers = ['ann', 'bob', 'ann', 'ann', 'bob', 'ann'];

  beforeAll(async () => {
    await commit(
      ...ids.map((order_id, i) => write('insert', ORDERS, { tenant, order_id, customer: customers[i] ?? '', amount: String(i) })),
      write('insert', ORDERS, { tenant: `${tenant}2`, order_id: 'a', customer: 'ann' }),
      ...['-1', '2', '10'].map((number, i) => write('insert', LINES, { ...line('a', number, { sku: `s${i}` }), tenant })),
      write('insert', LINES, { ...line('b', '1'), tenant }),
      write('insert', NOTES, { ...line('a', '5'), tenant }),
      ...[null, null, 'x', 'x', 'y'].map((code, i) =>
        write('insert', COUPONS, { tenant, coupon_id: `c${i}`, code, stamp: i % 2 === 0 ? null : Buffer.from([i]).toString('base64') }),
      ),
    );
  });

  it('reads a range of the key in its order, of one tenant alone', async () => {
    expect(await cellsOf(range(ORDERS, { columns: ['order_id', 'amount'] }))).toEqual(ids.map((id, i) => [id, String(i)]));
    expect((await cellsOf(range(ORDERS, { columns: ['order_id'], descending: true }))).flat()).toEqual([...ids].reverse());
    expect(await cellsOf(range(ORDERS, { prefix: ['nobody'] }))).toEqual([]);
  });

  it('reads by an index, in the order of the index and then of the key', async () => {
    const of = async (more: Partial<Range>): Promise<unknown[]> =>
      (await cellsOf(range(ORDERS, { index: BY_CUSTOMER, columns: ['order_id'], ...more }))).flat();
    expect(await of({ prefix: [tenant, 'ann'] })).toEqual(['', 'a', 'b', '😀']);
    expect(await of({ prefix: [tenant, 'ann'], descending: true })).toEqual(['😀', 'b', 'a', '']);
    expect(await of({})).toEqual(['', 'a', 'b', '😀', 'A', 'é']);
  });

  it('reads within bounds, open and closed', async () => {
    const of = async (more: Partial<Range>): Promise<unknown[]> =>
      (await cellsOf(range(ORDERS, { columns: ['order_id'], ...more }))).flat();
    const [lower, upper] = [
      { cell: 'A', inclusive: true },
      { cell: 'b', inclusive: true },
    ];
    expect(await of({ lower, upper })).toEqual(['A', 'a', 'b']);
    expect(await of({ lower: { ...lower, inclusive: false }, upper: { ...upper, inclusive: false } })).toEqual(['a']);
    expect(await of({ lower: { ...upper, inclusive: false } })).toEqual(['é', '😀']);
    expect(await of({ upper: lower, descending: true })).toEqual(['A', '']);
    expect(await of({ lower: upper, upper: lower })).toEqual([]);
  });

  it('pages through a range, with every row once, whatever the page and the direction', async () => {
    for (const descending of [false, true]) {
      for (let limit = 1; limit <= 4; limit += 1) {
        for (const wanted of [
          range(ORDERS, { columns: ['order_id'], descending, limit }),
          range(ORDERS, { index: BY_CUSTOMER, columns: ['order_id'], descending, limit }),
          range(ORDERS, { index: BY_CUSTOMER, columns: ['order_id'], prefix: [tenant, 'ann'], descending, limit }),
          range(LINES, { prefix: [tenant, 'a'], columns: ['line'], descending, limit }),
          range(ORDERS, { columns: ['order_id'], descending, limit, lower: { cell: 'A', inclusive: false } }),
        ]) {
          expect(await pages(wanted)).toEqual(await cellsOf({ ...wanted, limit: 100 }));
        }
      }
    }
  });

  it('has NULL first in an index, last in descending order, and not within bounds', async () => {
    const byCode = range(COUPONS, { index: BY_CODE, columns: ['code', 'coupon_id'] });
    const ascending = [
      [null, 'c0'],
      [null, 'c1'],
      ['x', 'c2'],
      ['x', 'c3'],
      ['y', 'c4'],
    ];
    expect(await cellsOf(byCode)).toEqual(ascending);
    for (const limit of [1, 2, 3]) {
      expect(await pages({ ...byCode, limit })).toEqual(ascending);
      expect(await pages({ ...byCode, limit, descending: true })).toEqual([...ascending].reverse());
    }
    expect(await cellsOf({ ...byCode, upper: { cell: 'x', inclusive: true } })).toEqual(ascending.slice(2, 4));
    expect(await cellsOf({ ...byCode, lower: { cell: 'a', inclusive: true }, descending: true })).toEqual(ascending.slice(2).reverse());
  });

  it('orders numbers as numbers', async () => {
    const letter = randomUUID().slice(0, 1);
    const numbers = ['-9223372036854775808', '-10', '-9', '0', '9', '10', '9223372036854775807'];
    await commit(...numbers.map((c_int64) => write('insert', KINDS, { id: `${letter}-${randomUUID()}`.slice(0, 36), c_int64 })));
    const wanted = range(KINDS, {
      index: BY_LETTER,
      prefix: [letter],
      columns: ['c_int64'],
      lower: { cell: numbers[0] ?? '', inclusive: true },
    });
    expect((await cellsOf(wanted)).flat()).toEqual(numbers);
    expect((await pages({ ...wanted, limit: 2, descending: true })).flat()).toEqual([...numbers].reverse());
  });

  it('goes on behind the last row of a page while rows come and go', async () => {
    const own = range(ORDERS, { prefix: [`${tenant}p`], columns: ['order_id'], limit: 2 });
    const insert = (...orders: string[]): Promise<unknown> =>
      commit(...orders.map((order_id) => write('insert', ORDERS, { tenant: `${tenant}p`, order_id, customer: 'ann' })));
    await insert('b', 'd', 'f', 'h');
    expect((await cellsOf(own)).flat()).toEqual(['b', 'd']);
    await commit({ op: 'delete', table: ORDERS, key: [`${tenant}p`, 'd'] });
    await insert('a', 'e');
    expect((await cellsOf({ ...own, after: ['d'] })).flat()).toEqual(['e', 'f']);
  });

  it('gives the rows interleaved in each row, in their order, at most so many', async () => {
    const { rows } = await use().readRange(
      range(ORDERS, {
        columns: ['order_id'],
        lower: { cell: 'a', inclusive: true },
        upper: { cell: 'b', inclusive: true },
        children: [
          { table: LINES, columns: ['line', 'sku'], limit: 2 },
          { table: NOTES, columns: ['line'], limit: 10 },
        ],
      }),
      STRONG,
    );
    expect(rows).toEqual([
      {
        cells: ['a'],
        children: [
          [
            ['-1', 's0'],
            ['2', 's1'],
          ],
          [['5']],
        ],
      },
      { cells: ['b'], children: [[['1', null]], []] },
    ]);
  });

  it('gives cells of every type from a range, as from a read by key', async () => {
    const id = randomUUID();
    const columns = KINDS.columns.filter((c) => c.generatedAs === undefined).map((c) => c.name);
    await commit(
      write('insert', KINDS, {
        id,
        c_string: '"',
        c_int64: '-5',
        c_float64: 0.5,
        c_numeric: '1.5',
        c_bool: true,
        c_timestamp: '2026-11-24T12:00:00.5Z',
        c_date: '2026-11-24',
        c_bytes: 'AP8=',
        c_json: '{"a":[1]}',
        a_int64: ['1', null],
      }),
    );
    const [byKey] = await use().read(KINDS, [[id]], columns);
    expect(byKey?.filter((cell) => cell !== null)).toHaveLength(11);
    expect(await cellsOf(range(KINDS, { prefix: [id], columns, limit: 1 }))).toEqual([byKey]);
  });

  it('says of which moment a read is: not before a commit that was answered, and not before what a row shows', async () => {
    const id = randomUUID();
    const { commitTimestamp } = await commit(
      write('insert', ORDERS, { tenant, order_id: id, customer: 'zoe', updated_at: COMMIT_TIMESTAMP }),
    );
    const read = await use().readAt(ORDERS, [[tenant, id]], ['updated_at'], STRONG);
    expect(read.rows).toEqual([[commitTimestamp]]);
    expect(Date.parse(read.readTimestamp)).toBeGreaterThanOrEqual(Date.parse(commitTimestamp));
    const listed = await use().readRange(range(ORDERS, { index: BY_CUSTOMER, prefix: [tenant, 'zoe'], columns: ['updated_at'] }), STRONG);
    expect(listed.rows.map(({ cells }) => cells)).toEqual([[commitTimestamp]]);
    expect(Date.parse(listed.readTimestamp)).toBeGreaterThanOrEqual(Date.parse(commitTimestamp));
  });

  it('leaves out of a stale read no more than it was allowed to', async () => {
    const id = randomUUID();
    await commit(write('insert', ORDERS, { tenant, order_id: id, customer: 'old' }));
    const before = Date.now();
    const options = { freshness: { maxStalenessMs: 60_000 }, timeoutMs: 20_000 } as const;
    const { rows, readTimestamp } = await use().readAt(ORDERS, [[tenant, id]], ['customer'], options);
    expect(Date.parse(readTimestamp)).toBeGreaterThanOrEqual(before - 60_000);
    expect([[undefined], [['old']]]).toContainEqual(rows);
  });
}
