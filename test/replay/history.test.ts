import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStore } from '../../ports/store/index.ts';
import type { SchemaAdmin, Store } from '../../ports/store/port.ts';
import { lastCommitBefore, readHistory } from '../../producers/replay/history.ts';
import { NewerIndex } from '../../producers/replay/newer.ts';
import { isSelected, rangeOf } from '../../producers/replay/select.ts';
import type { Envelope } from '../../schemas/envelope/envelope.ts';
import { commitRowKey, compareInstants, type HistoryRecord, placeOf } from '../../schemas/envelope/history.ts';
import { COMMITS, LEDGER, ledgerMutations } from '../../schemas/envelope/ledger.ts';
import { type Carried, carriedOf, envelopeText } from '../../schemas/envelope/pack.ts';
import type { Cell } from '../../schemas/resource/table.ts';
import { applyAll } from '../fixtures/applying.ts';
import { envelopeOf, orderUpsert } from '../fixtures/envelopes.ts';
import { describeOnStores, resources, spannerUrl } from '../fixtures/stores.ts';
import { describeWithServer } from '../servers.ts';
import { temporaryFolder } from '../temp.ts';

async function collect(commits: AsyncIterable<readonly HistoryRecord[]>): Promise<HistoryRecord[]> {
  const records: HistoryRecord[] = [];
  for await (const commit of commits) records.push(...commit);
  return records;
}

/** In threes, so that packs begin anywhere in a commit; of every fourth nothing is known, or the half. */
const packs: readonly Carried[] = Array.from({ length: 300 }, (_, i) =>
  carriedOf(
    i % 4 < 2 ? `2026-11-24T12:00:00.${String(i).padStart(3, '0')}Z` : undefined,
    i % 4 === 0 ? '2026-11-24T12:00:01.000Z' : undefined,
  ),
);
const packOf = (i: number): Carried => packs[Math.floor(i / 3)] ?? {};

describeOnStores('the history', (open) => {
  let store: Store & SchemaAdmin;
  let close: () => Promise<void>;
  const sent: Envelope[] = [];
  let records: HistoryRecord[];

  beforeAll(async () => {
    ({ store, close } = await open());
    for (let i = 0; i < 900; i += 1) {
      const order = orderUpsert(`o${i % 7}`, `n${i}`);
      // Every 90th finds no row to update.
      const mutation = i % 90 === 89 ? { ...order, op: 'update' as const, key: [`none${i}`] } : order;
      sent.push(envelopeOf([mutation], { tenant: i % 3 === 0 ? 't2' : 't1' }));
    }
    // Commits of a few, so that each range of the key has several pages' worth of nothing and something.
    await applyAll(store, sent, { batch: 2, carried: packOf });
    records = await collect(readHistory(store, {}));
  });
  afterAll(() => close());

  it('gives every record once, in the order in which they took effect, as they came', () => {
    expect(records.map((r) => r.envelope)).toEqual(sent);
    const times = records.map((r) => r.committedAt);
    expect([...times].sort(compareInstants)).toEqual(times);
  });

  it('says when the pack of each passed the brokers, as far as it is known', () => {
    for (const [i, { carried }] of records.entries()) expect(carried ?? {}).toEqual(packOf(i));
  });

  it('reads only commits that may hold the correlation id, and those that say nothing of theirs', async () => {
    const { correlationid } = sent[417] as Envelope;
    const found = await collect(readHistory(store, { correlationId: correlationid }));
    expect(found.map((r) => r.envelope)).toEqual(sent.slice(416, 418));
    expect(await collect(readHistory(store, { correlationId: 'none' }))).toEqual([]);

    // As a commit from before the column was.
    const old = records[0] as HistoryRecord;
    const columns = [...COMMITS.primaryKey, 'correlations'];
    await store.commit([{ op: 'update', table: COMMITS, columns, values: [...commitRowKey(old), null] }], { tag: 'test' });
    expect((await collect(readHistory(store, { correlationId: correlationid }))).map((r) => r.envelope)).toEqual([
      ...sent.slice(0, 2),
      ...sent.slice(416, 418),
    ]);
  });

  it('says what was refused, and why', () => {
    const refused = records.filter((r) => r.verdict.outcome !== 'applied');
    expect(refused.map((r) => r.envelope)).toEqual(sent.filter((_, i) => i % 90 === 89));
    expect(new Set(refused.map((r) => r.verdict.reason))).toEqual(new Set(['not_found']));
  });

  it('begins and ends where it is told, at commits', async () => {
    const from = (records[300] as HistoryRecord).committedAt;
    const to = (records[600] as HistoryRecord).committedAt;
    const some = await collect(readHistory(store, { from, to }));
    expect(some.map((r) => r.envelope.id)).toEqual(
      records.filter((r) => compareInstants(r.committedAt, from) >= 0 && compareInstants(r.committedAt, to) < 0).map((r) => r.envelope.id),
    );
    const rest = await collect(readHistory(store, { after: some.at(-1) as HistoryRecord }));
    expect(rest.map((r) => r.envelope.id)).toEqual(records.slice(records.length - rest.length).map((r) => r.envelope.id));
    expect(rest[0]?.committedAt).toBe(to);
    expect(await lastCommitBefore(store, to)).toBe(some.at(-1)?.committedAt);
    expect(await lastCommitBefore(store, records[0]?.committedAt ?? '')).toBeUndefined();
    // Times without a fraction are as good.
    const second = `${to.slice(0, 19)}Z`;
    const [before, behind] = [await collect(readHistory(store, { to: second })), await collect(readHistory(store, { from: second }))];
    expect([...before, ...behind].map((r) => r.envelope.id)).toEqual(sent.map((e) => e.id));
    expect(behind.map((r) => r.committedAt.slice(0, 19) >= to.slice(0, 19))).not.toContain(false);
  });

  it('knows what is newer than a place, though a later place of the same aggregate was asked for first', async () => {
    const aggregate = records[0]?.envelope.data.aggregate ?? '';
    const ofIt = records.filter((r) => r.envelope.data.aggregate === aggregate);
    const [first, last] = [ofIt[0] as HistoryRecord, ofIt.at(-1) as HistoryRecord];
    const index = new NewerIndex(store);
    const later = { committedAt: '2099-01-01T00:00:00.000000Z', position: 0 };
    await index.look([{ aggregate, place: later }]);
    expect(index.newerThan(aggregate, later)).toBeUndefined();
    await index.look([{ aggregate, place: placeOf(first) }]);
    expect(index.newerThan(aggregate, placeOf(first))).toMatchObject({ submissionId: last.envelope.id });
    expect(index.newerThan(aggregate, placeOf(last))).toBeUndefined();
  });

  it('reads no commit without one of the aggregates, and none that refused nothing', async () => {
    const range = rangeOf({ tenant: 't2', resource: 'orders', key: ['o3'] }, resources);
    const [aggregate] = range.aggregates ?? [];
    const ofIt = await collect(readHistory(store, range));
    expect(ofIt.length).toBeLessThan(records.length);
    expect(ofIt.filter((r) => r.envelope.data.aggregate === aggregate).map((r) => r.envelope)).toEqual(
      sent.filter((e) => e.data.caller.tenant === 't2' && e.data.mutations[0]?.key[0] === 'o3'),
    );
    const refused = await collect(readHistory(store, { refused: true }));
    expect(refused.length).toBeLessThanOrEqual(40);
    expect(refused.filter((r) => r.verdict.outcome === 'rejected')).toHaveLength(10);
  });

  it('selects by tenant, resource, key, correlation id and reason', () => {
    const select = (selection: Parameters<typeof isSelected>[1]): number => records.filter((r) => isSelected(r, selection)).length;
    expect(select({ tenant: 't2' })).toBe(300);
    expect(select({ resource: 'order-lines' })).toBe(0);
    expect(select({ resource: 'orders', key: ['none89'] })).toBe(1);
    expect(select({ correlationId: sent[17]?.correlationid ?? '' })).toBe(1);
    expect(select({ reason: 'not_found' })).toBe(10);
    expect(select({ reason: 'already_exists' })).toBe(0);
  });
});

/** A database from before `carried` and `correlations` were: `schema apply` adds them, and its commits are found. */
async function upgrades(store: Store & SchemaAdmin): Promise<void> {
  const added = ['carried', 'correlations'];
  const older = { ...COMMITS, columns: COMMITS.columns.filter(({ name }) => !added.includes(name)) };
  await store.provision();
  await store.apply((await store.compare([LEDGER, older, ...resources.tables()])).missing);
  const before = envelopeOf([orderUpsert('o1')]);
  const mutations = ledgerMutations([{ envelope: before, text: envelopeText(before), verdict: { outcome: 'applied' } }]);
  const without = (row: readonly unknown[]): unknown[] => row.filter((_, i) => !added.includes(COMMITS.columns[i]?.name ?? ''));
  const asThen = mutations.map((m) =>
    m.table === COMMITS ? { ...m, table: older, columns: without(m.columns) as string[], values: without(m.values) as Cell[] } : m,
  );
  await store.commit(asThen, { tag: 'test' });

  const { missing, differences } = await store.compare([LEDGER, COMMITS, ...resources.tables()]);
  expect(differences).toEqual([]);
  expect(missing).toHaveLength(2);
  await store.apply(missing);
  const after = envelopeOf([orderUpsert('o2')]);
  await applyAll(store, [after], { carried: () => ({ queuedAt: '2026-11-24T12:00:00.000Z' }) });
  expect((await collect(readHistory(store, {}))).map(({ envelope, carried }) => [envelope.id, carried])).toEqual([
    [before.id, undefined],
    [after.id, { queuedAt: '2026-11-24T12:00:00.000Z' }],
  ]);
  const found = await collect(readHistory(store, { correlationId: before.correlationid }));
  expect(found.map(({ envelope }) => envelope.id)).toEqual([before.id]);
}

describe('a history from before its times and marks were, on SQLite', () => {
  it('is kept when their columns are added', async () => {
    const store = await openStore(`sqlite:${await temporaryFolder()}/store.db`);
    await upgrades(store);
    await store.close();
  });
});

describeWithServer('spanner', 'a history from before its times and marks were, on the Spanner emulator', ({ spanner }) => {
  it('is kept when their columns are added', async () => {
    const store = await openStore(spannerUrl(spanner.host));
    await upgrades(store);
    await store.close();
  });
});
