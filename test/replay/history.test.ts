import { afterAll, beforeAll, expect, it } from 'vitest';
import type { SchemaAdmin, Store } from '../../ports/store/port.ts';
import { lastCommitBefore, readHistory } from '../../producers/replay/history.ts';
import { NewerIndex } from '../../producers/replay/newer.ts';
import { isSelected, rangeOf } from '../../producers/replay/select.ts';
import type { Envelope } from '../../schemas/envelope/envelope.ts';
import { compareInstants, type HistoryRecord, placeOf } from '../../schemas/envelope/history.ts';
import { applyAll } from '../fixtures/applying.ts';
import { envelopeOf, orderUpsert } from '../fixtures/envelopes.ts';
import { describeOnStores, resources } from '../fixtures/stores.ts';

async function collect(commits: AsyncIterable<readonly HistoryRecord[]>): Promise<HistoryRecord[]> {
  const records: HistoryRecord[] = [];
  for await (const commit of commits) records.push(...commit);
  return records;
}

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
    await applyAll(store, sent, { batch: 2 });
    records = await collect(readHistory(store, {}));
  });
  afterAll(() => close());

  it('gives every record once, in the order in which they took effect, as they came', () => {
    expect(records.map((r) => r.envelope)).toEqual(sent);
    const times = records.map((r) => r.committedAt);
    expect([...times].sort(compareInstants)).toEqual(times);
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
