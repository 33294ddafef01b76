/** The ledger with its seals as lines of a file, which is verified without the database. */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import type { SchemaAdmin, Store } from '../../ports/store/port.ts';
import type { Envelope } from '../../schemas/envelope/envelope.ts';
import { exported, headText, ledgerEntryOf, onEachStore, type OpenStore, refill, sealAll, verifiedLines } from '../fixtures/sealed.ts';

/** Each test has rows of its own: see `refill`. */
function exporting(open: () => Promise<OpenStore>): void {
  let store: Store & SchemaAdmin;
  let close: () => Promise<void>;
  let sent: readonly Envelope[];
  let lines: string[];
  let head: string;

  beforeAll(async () => {
    ({ store, close } = await open());
  });
  afterAll(() => close());
  beforeEach(async () => {
    sent = await refill(store);
    await sealAll(store);
    ({ lines, head } = await exported(store));
  });
  const idOf = (i: number): string => sent[i]?.id ?? '';
  const entryOf = (i: number) => ledgerEntryOf(store, idOf(i));
  const rowLine = (i: number): number => lines.findIndex((line) => line.startsWith(`{"submissionId":"${idOf(i)}"`));

  it('says who did what, when, on whose behalf, and is verified without the database', async () => {
    const rows = lines.map((line) => JSON.parse(line) as Record<string, unknown>).filter((line) => !('seal' in line));
    expect(rows.map((row) => row['submissionId'])).toEqual(sent.map((e) => e.id));
    expect(rows[0]).toMatchObject({
      outcome: 'applied',
      caller: { subject: 'me', tenant: 't1' },
      mutations: [{ op: 'upsert', resource: 'orders', key: ['o0'] }],
      acceptedAt: '2026-11-24T12:00:00.000Z',
      correlationId: sent[0]?.correlationid,
      payloadHash: sent[0]?.data.payloadHash,
    });
    expect(await verifiedLines(lines, headText({ head }))).toMatchObject({ found: [], rows: 12, head });
  });

  it('holds whole intervals of the time that is asked for', async () => {
    const { committedAt } = await entryOf(4);
    const { lines: some } = await exported(store, { from: committedAt, to: (await entryOf(8)).committedAt });
    expect(some.length).toBeLessThan(lines.length);
    const ids = some.flatMap((line) => /^\{"submissionId":"([^"]*)"/.exec(line)?.[1] ?? []);
    expect(ids).toEqual(expect.arrayContaining([4, 5, 6, 7].map(idOf)));
    expect(await verifiedLines(some)).toMatchObject({ found: [], rows: ids.length });
  });

  it('names a row that is changed, missing or added in it', async () => {
    const changed = lines.with(rowLine(4), (lines[rowLine(4)] ?? '').replace('"subject":"me"', '"subject":"you"'));
    expect((await verifiedLines(changed)).found).toMatchObject([{ kind: 'row_changed', submissionId: idOf(4) }]);
    expect((await verifiedLines(lines.toSpliced(rowLine(5), 1))).found).toMatchObject([{ kind: 'row_missing', submissionId: idOf(5) }]);
    const added = (lines[rowLine(5)] ?? '').replace(idOf(5), 'added');
    expect((await verifiedLines(lines.toSpliced(rowLine(5), 0, added))).found).toMatchObject([
      { kind: 'row_added', submissionId: 'added' },
    ]);
    expect((await verifiedLines([added, ...lines])).found).toMatchObject([
      { kind: 'row_added', why: expect.stringMatching(/before the first seal/) },
    ]);
    expect(
      (await verifiedLines([...lines, 'nonsense', '{}', (lines[0] ?? '').replace('"entries":[', '"entries":[1,')])).found,
    ).toMatchObject([{ kind: 'line_unreadable' }, { kind: 'line_unreadable' }, { kind: 'line_unreadable' }]);
  });

  it('names a seal that is changed or missing in it', async () => {
    const at = lines.flatMap((line, i) => (line.startsWith('{"seal"') ? [i] : []));
    const [first = 0, second = 0, third = 0] = at;
    const changed = lines.with(second, (lines[second] ?? '').replace('"count":4', '"count":5'));
    expect((await verifiedLines(changed)).found).toMatchObject([{ kind: 'seal_changed', seal: 2 }]);
    expect((await verifiedLines(lines.toSpliced(second, third - second))).found).toMatchObject([{ kind: 'seal_missing', seal: 2 }]);
    expect((await verifiedLines(lines.slice(second))).found).toEqual([]);
    const swapped = [...lines.slice(second, third), ...lines.slice(first, second), ...lines.slice(third)];
    expect((await verifiedLines(swapped)).found[0]).toMatchObject({ kind: 'chain_broken', seal: 1 });
    const cut = lines.slice(0, at.at(-1));
    expect((await verifiedLines(cut)).found).toEqual([]);
    expect((await verifiedLines(cut, headText({ head }))).found).toMatchObject([{ kind: 'seal_missing' }]);
    await expect(verifiedLines(lines.filter((_, i) => !at.includes(i)))).rejects.toThrow(/no seals/);
  });
}

onEachStore('an export of seals', exporting);
