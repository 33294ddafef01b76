import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type ApplyContext, applyBatch } from '../../consumers/applier/apply.ts';
import { Breaker } from '../../consumers/applier/breaker.ts';
import { planWork } from '../../consumers/applier/plan.ts';
import type { Settled, Work } from '../../consumers/applier/work.ts';
import { StoreError } from '../../ports/errors.ts';
import type { Store } from '../../ports/store/port.ts';
import type { Envelope, Mutation } from '../../schemas/envelope/envelope.ts';
import { COMMITS, type CommittedEntry, LEDGER, LEDGER_ENTRY_COLUMNS, readLedgerEntry } from '../../schemas/envelope/ledger.ts';
import { envelopeText } from '../../schemas/envelope/pack.ts';
import orderLines from '../../schemas/order-lines.ts';
import orders from '../../schemas/orders.ts';
import { ResourceSet } from '../../schemas/resource/registry.ts';
import type { Cell } from '../../schemas/resource/table.ts';
import { envelopeOf, orderUpsert } from '../fixtures/envelopes.ts';
import { FaultyStore, preparedStore, resources, spannerUrl } from '../fixtures/stores.ts';
import { describeWithServer } from '../servers.ts';
import { makeTemporaryFolder } from '../temp.ts';

const work = (envelope: Envelope): Work => planWork(envelope, envelopeText(envelope), resources);
const line = (orderId: string, n: number, quantity = 1, op: 'insert' | 'upsert' = 'upsert'): Mutation => ({
  op,
  resource: 'order-lines',
  key: [orderId, String(n)],
  value: { sku: 's', quantity: String(quantity), unitPrice: null },
});
const transient = (): StoreError => new StoreError('transient', 'the store is away');
const summary = (settled: readonly Settled[]): string[] =>
  settled.map(({ verdict: { outcome, reason } }) => (reason === undefined ? outcome : `${outcome} ${reason}`));

let orderNumber = 0;
const newOrder = (): string => `o${(orderNumber += 1)}`;

function applying(open: () => Promise<{ store: Store; close: () => Promise<void> }>): void {
  let real: Store;
  let close: () => Promise<void>;
  let store: FaultyStore;
  let context: ApplyContext;
  /** What the breaker did. */
  const changes: string[] = [];

  beforeAll(async () => {
    ({ store: real, close } = await open());
  });
  afterAll(() => close());
  beforeEach(() => {
    store = new FaultyStore(real);
    changes.length = 0;
    context = {
      store,
      log: pino({ level: 'silent' }),
      settings: { backoff: { minMs: 1, maxMs: 5 }, maxAttempts: 3 },
      signal: new AbortController().signal,
      breaker: new Breaker({ opened: () => changes.push('open'), closed: () => changes.push('closed') }),
    };
  });

  const table = (name: string) => (resources.get(name) ?? expect.unreachable(name)).table;
  async function cell(resource: string, key: readonly Cell[], column: string): Promise<Cell | undefined> {
    const [row] = await real.read(table(resource), [['t1', ...key]], [column]);
    return row?.[0];
  }
  async function ledger(id: string): Promise<CommittedEntry | undefined> {
    const [cells] = await real.read(LEDGER, [[id]], LEDGER_ENTRY_COLUMNS);
    return cells && readLedgerEntry(cells);
  }
  /** The aggregates, envelopes and refusals of a commit. */
  async function history(commit: string, committedAt: string): Promise<unknown[]> {
    const [row = []] = await real.read(COMMITS, [[commit.slice(0, 1), committedAt, commit]], ['aggregates', 'envelopes', 'refusals']);
    const [aggregates, envelopes, refusals] = row as [Cell, string, string | null];
    return [aggregates, JSON.parse(envelopes) as unknown, refusals === null ? null : (JSON.parse(refusals) as unknown)];
  }
  const apply = (...envelopes: Envelope[]): Promise<readonly Settled[]> => applyBatch(context, envelopes.map(work));

  it('applies a batch in order with one blind commit, and records each submission with its place in it', async () => {
    const o = newOrder();
    const envelopes = [1, 2, 3].map((n) => envelopeOf([orderUpsert(o, `v${n}`)]));
    const settled = await apply(...envelopes);
    expect(summary(settled)).toEqual(['applied', 'applied', 'applied']);
    expect(store.commits + store.readWrites).toBe(1);
    expect(await cell('orders', [o], 'note')).toBe('v3');
    expect(await cell('orders', [o], 'updated_at')).toBe(settled[0]?.commitTimestamp);
    for (const [i, envelope] of envelopes.entries()) {
      const { data, correlationid, time } = envelope;
      expect(await ledger(envelope.id)).toEqual({
        outcome: 'applied',
        payloadHash: data.payloadHash,
        commit: envelopes[0]?.id,
        position: i,
        tenant: 't1',
        subject: 'me',
        resource: 'orders',
        key: [o],
        correlationId: correlationid,
        acceptedAt: time,
        committedAt: settled[0]?.commitTimestamp,
      });
    }
    expect(await history(envelopes[0]?.id ?? '', settled[0]?.commitTimestamp ?? '')).toEqual([
      envelopes.map((e) => e.data.aggregate),
      envelopes,
      null,
    ]);
  });

  it('changes nothing for a duplicate, alone or among others, and gives its first outcome', async () => {
    const o = newOrder();
    const first = envelopeOf([orderUpsert(o, 'once')]);
    const [before] = await apply(first);
    const version = await cell('orders', [o], 'updated_at');
    const [again, other] = await apply(first, envelopeOf([orderUpsert(newOrder())]));
    expect(again).toEqual({ ...before, duplicate: true });
    expect(other?.duplicate).toBe(false);
    expect(await cell('orders', [o], 'updated_at')).toBe(version);
  });

  it('applies a submission that stands twice in one batch once', async () => {
    const insert: Mutation = { ...orderUpsert(newOrder()), op: 'insert' };
    const envelope = envelopeOf([insert]);
    expect(summary(await apply(envelope, envelope))).toEqual(['applied', 'applied']);
  });

  it('changes nothing for an older submission that comes again after a newer one', async () => {
    const o = newOrder();
    const older = envelopeOf([orderUpsert(o, 'older')]);
    await apply(older);
    await apply(envelopeOf([orderUpsert(o, 'newer')]));
    await apply(older);
    expect(await cell('orders', [o], 'note')).toBe('newer');
  });

  it('rejects another payload under a submission id that is taken, and keeps the first', async () => {
    const o = newOrder();
    const first = envelopeOf([orderUpsert(o, 'first')]);
    const second = envelopeOf([orderUpsert(o, 'second')], { id: first.id });
    const third = envelopeOf([orderUpsert(newOrder())]);
    expect(summary(await apply(first, second, third))).toEqual(['applied', 'rejected idempotency_key_reused', 'applied']);
    expect(summary(await apply(second))).toEqual(['rejected idempotency_key_reused']);
    expect(await cell('orders', [o], 'note')).toBe('first');
    expect((await ledger(first.id))?.outcome).toBe('applied');
  });

  it('finds out about a commit whose answer was lost, and does not apply it again', async () => {
    const o = newOrder();
    const envelope = envelopeOf([{ ...orderUpsert(o), op: 'insert' }]);
    store.faults.push({ when: 'after', error: transient() });
    const [settled] = await apply(envelope);
    expect(changes).toEqual([]);
    expect(settled?.verdict).toEqual({ outcome: 'applied' });
    expect(settled?.commitTimestamp).toBe(await cell('orders', [o], 'updated_at'));
  });

  it('tries a transient failure again until it passes, and never takes it for poison', async () => {
    const o = newOrder();
    for (let i = 0; i < 6; i += 1) store.faults.push({ when: 'before', error: transient() });
    expect(summary(await apply(envelopeOf([orderUpsert(o, 'a')]), envelopeOf([orderUpsert(o, 'b')])))).toEqual(['applied', 'applied']);
    expect(store.commits).toBe(7);
    expect(changes).toEqual(['open', 'closed']);
    expect(await cell('orders', [o], 'note')).toBe('b');
  });

  it('stops trying when the applier stops, and claims no outcome', async () => {
    const stop = new AbortController();
    context = { ...context, signal: stop.signal };
    store.faults.push(...Array.from({ length: 1000 }, () => ({ when: 'before' as const, error: transient() })));
    const applying = apply(envelopeOf([orderUpsert(newOrder())]));
    stop.abort(new Error('stopping'));
    await expect(applying).rejects.toThrow('stopping');
  });

  it('records what only the database knows as rejected, each with its reason, and applies the rest', async () => {
    const [there, missing, fine] = [newOrder(), newOrder(), newOrder()];
    await apply(envelopeOf([orderUpsert(there)]));
    const envelopes = [
      envelopeOf([{ ...orderUpsert(there), op: 'insert' }]),
      envelopeOf([orderUpsert(fine)]),
      envelopeOf([{ op: 'update', resource: 'orders', key: [missing], value: { note: 'x' } }]),
      envelopeOf([line(missing, 1)]),
      envelopeOf([line(fine, 1)]),
      envelopeOf([{ op: 'delete', resource: 'orders', key: [missing] }]),
    ];
    expect(summary(await apply(...envelopes))).toEqual([
      'rejected already_exists',
      'applied',
      'rejected not_found',
      'rejected parent_not_found',
      'applied',
      'applied',
    ]);
    expect(await ledger(envelopes[0]?.id ?? '')).toMatchObject({ outcome: 'rejected', reason: 'already_exists' });
    const parentless = await ledger(envelopes[3]?.id ?? '');
    expect(parentless).toMatchObject({ outcome: 'rejected', reason: 'parent_not_found' });
    expect(await history(parentless?.commit ?? '', parentless?.committedAt ?? '')).toEqual([
      [envelopes[3]?.data.aggregate],
      [envelopes[3]],
      [{ position: 0, outcome: 'rejected', reason: 'parent_not_found', detail: parentless?.detail }],
    ]);
    expect(await cell('order-lines', [fine, '1'], 'quantity')).toBe('1');
  });

  it('finds the guilty of a batch in O(k log n) commits', async () => {
    const fine = newOrder();
    await apply(envelopeOf([orderUpsert(fine)]));
    store.commits = store.readWrites = 0;
    const size = 256;
    const guilty = new Set([17, 200]);
    const envelopes = Array.from({ length: size }, (_, i) => envelopeOf([guilty.has(i) ? line(`none${i}`, 1) : line(fine, i + 1)]));
    const settled = await apply(...envelopes);
    settled.forEach((s, i) => expect(s.verdict.outcome, String(i)).toBe(guilty.has(i) ? 'rejected' : 'applied'));
    // Halving finds each guilty one in log2(n) steps of two tries each; recording it takes one more.
    expect(store.commits + store.readWrites).toBeLessThanOrEqual(guilty.size * (2 * Math.log2(size) + 2) + 2);
  });

  it('keeps the order of one row when a batch is halved around a poison', async () => {
    const o = newOrder();
    const envelopes = Array.from({ length: 9 }, (_, i) => envelopeOf([i === 4 ? line('none', 1) : orderUpsert(o, `v${i}`)]));
    await apply(...envelopes);
    expect(await cell('orders', [o], 'note')).toBe('v8');
  });

  it('applies the mutations of a submission together or not at all', async () => {
    const o = newOrder();
    expect(summary(await apply(envelopeOf([orderUpsert(o), line(o, 1), line(o, 2)])))).toEqual(['applied']);
    const halfWrong = envelopeOf([orderUpsert(o, 'changed'), line(o, 3), line(o, 1, 9, 'insert')]);
    expect(summary(await apply(halfWrong, envelopeOf([line(o, 4)])))).toEqual(['rejected already_exists', 'applied']);
    expect(await cell('orders', [o], 'note')).toBeNull();
    expect(await cell('order-lines', [o, '3'], 'sku')).toBeUndefined();
    expect(await cell('order-lines', [o, '1'], 'quantity')).toBe('1');
  });

  it('lets an upsert of a parent leave its children alone, and a delete take them along', async () => {
    const o = newOrder();
    await apply(envelopeOf([orderUpsert(o), line(o, 1)]));
    await apply(envelopeOf([orderUpsert(o, 'again')]));
    expect(await cell('order-lines', [o, '1'], 'sku')).toBe('s');
    // The insert forces a look at the rows; the line must be gone for it by then.
    const remake = [
      envelopeOf([{ op: 'delete', resource: 'orders', key: [o] }]),
      envelopeOf([{ ...orderUpsert(o), op: 'insert' }, line(o, 1, 7, 'insert')]),
      envelopeOf([{ ...orderUpsert(o), op: 'insert' }]),
    ];
    expect(summary(await apply(...remake))).toEqual(['applied', 'applied', 'rejected already_exists']);
    expect(await cell('order-lines', [o, '1'], 'quantity')).toBe('7');
  });

  it('compares If-Match with the version of the row', async () => {
    const o = newOrder();
    const conditional = (ifMatch: string, note: string): Envelope => envelopeOf([orderUpsert(o, note)], { ifMatch });
    expect(summary(await apply(conditional('*', 'none')))).toEqual(['rejected precondition_failed']);
    const [created] = await apply(envelopeOf([orderUpsert(o, 'a')]));
    const version = created?.commitTimestamp ?? '';
    // The first to match wins; the second meets a version that nobody has seen.
    expect(summary(await apply(conditional(version, 'b'), conditional(version, 'c')))).toEqual(['applied', 'rejected precondition_failed']);
    expect(summary(await apply(conditional('*', 'd')))).toEqual(['applied']);
    expect(await cell('orders', [o], 'note')).toBe('d');
  });

  it('merges a patch into a JSON column as it is by then', async () => {
    const o = newOrder();
    const patch = (metadata: string): Envelope =>
      envelopeOf([{ op: 'update', resource: 'orders', key: [o], value: { metadata }, merge: ['metadata'] }]);
    await apply(envelopeOf([{ ...orderUpsert(o), value: { ...orderUpsert(o).value, metadata: '{"a":1,"b":{"c":2}}' } }]));
    await apply(patch('{"a":null}'), patch('{"b":{"d":3}}'));
    expect(await cell('orders', [o], 'metadata')).toBe('{"b":{"c":2,"d":3}}');
  });

  it('merges in one batch by the resource files as they were and as they are', async () => {
    const o = newOrder();
    const later = new ResourceSet([{ ...orders, table: { ...orders.table } }, orderLines]);
    await apply(envelopeOf([{ ...orderUpsert(o), value: { ...orderUpsert(o).value, metadata: '{"a":1}' } }]));
    const patch = envelopeOf([{ op: 'update', resource: 'orders', key: [o], value: { metadata: '{"b":2}' }, merge: ['metadata'] }]);
    const after = envelopeOf([{ op: 'update', resource: 'orders', key: [o], value: { note: 'later' } }]);
    await applyBatch(context, [work(patch), planWork(after, envelopeText(after), later)]);
    expect([await cell('orders', [o], 'metadata'), await cell('orders', [o], 'note')]).toEqual(['{"a":1,"b":2}', 'later']);
  });

  it('dead-letters what its resources do not know, for a redrive once they agree', async () => {
    const unknown = envelopeOf([{ op: 'upsert', resource: 'nothing', key: ['x'], value: {} }]);
    expect(summary(await apply(unknown, envelopeOf([orderUpsert(newOrder())])))).toEqual(['dead_lettered unknown_resource', 'applied']);
    expect((await ledger(unknown.id))?.outcome).toBe('dead_lettered');
  });

  it('dead-letters a submission that fails for no known reason, after its tries, with the whole chain of errors', async () => {
    const odd = (): StoreError => new StoreError('unknown', 'something odd', { cause: new Error('deep down') });
    for (let i = 0; i < context.settings.maxAttempts; i += 1) store.faults.push({ when: 'before', error: odd() });
    const [settled] = await apply(envelopeOf([orderUpsert(newOrder())]));
    expect(settled?.verdict.outcome).toBe('dead_lettered');
    expect(settled?.verdict.detail).toMatch(/something odd.*deep down/);
  });

  it('takes an outage behind an odd failure for what it is, and applies when it has passed', async () => {
    const odd = new StoreError('unknown', 'something odd');
    store.faults.push(
      { when: 'before', error: odd },
      ...Array.from({ length: 6 }, () => ({ when: 'before' as const, error: transient() })),
    );
    expect(summary(await apply(envelopeOf([orderUpsert(newOrder())])))).toEqual(['applied']);
  });

  it('tells children from rows of another table whose key begins alike', async () => {
    const id = newOrder();
    const other: Mutation = { op: 'upsert', resource: 'all-types', key: [id], value: { text: 'before' } };
    const seen = envelopeOf([other]);
    await apply(seen);
    const patch = envelopeOf([{ ...other, op: 'update', value: { text: 'after' } }]);
    const gone = envelopeOf([{ op: 'delete', resource: 'orders', key: [id] }]);
    expect(summary(await apply(gone, patch, seen))).toEqual(['applied', 'applied', 'applied']);
    expect(await cell('all-types', [id], 'text')).toBe('after');
  });

  it('ends a submission that cannot be decided, and no other', async () => {
    const o = newOrder();
    await apply(envelopeOf([orderUpsert(o)]));
    const deep = `${'{"a":'.repeat(100)}1${'}'.repeat(100)}`;
    const undecidable = envelopeOf([{ op: 'update', resource: 'orders', key: [o], value: { metadata: deep }, merge: ['metadata'] }]);
    const settled = await apply(undecidable, envelopeOf([orderUpsert(o, 'fine')]));
    expect(summary(settled)).toEqual(['dead_lettered unknown_failure', 'applied']);
    expect(settled[0]?.verdict.detail).toMatch(/80 levels/);
  });

  it('keeps tenants apart, whatever their keys', async () => {
    const o = newOrder();
    await apply(envelopeOf([orderUpsert(o, 'mine')]), envelopeOf([orderUpsert(o, 'theirs')], { tenant: 't2' }));
    expect(await cell('orders', [o], 'note')).toBe('mine');
  });

  it('stores INT64 and NUMERIC at their extremes exactly', async () => {
    const value = {
      big: '-9223372036854775808',
      amount: '-99999999999999999999999999999.999999999',
      numbers: ['9223372036854775807'],
      text: '😀',
      blob: 'AAEC/w==',
    };
    await apply(envelopeOf([{ op: 'insert', resource: 'all-types', key: ['x'], value }]));
    const [row] = await real.read(table('all-types'), [['t1', 'x']], ['big', 'amount', 'numbers', 'text', 'blob']);
    expect(row).toEqual([value.big, value.amount, value.numbers, value.text, value.blob]);
  });
}

describe('applying on SQLite', () => {
  applying(async () => {
    const folder = await makeTemporaryFolder();
    const store = await preparedStore(`sqlite:${folder.path}/spanway.db`);
    return { store, close: () => store.close().then(folder.remove) };
  });
});

describeWithServer('spanner', 'applying on Spanner', ({ spanner }) => {
  applying(async () => {
    const store = await preparedStore(spannerUrl(spanner.host));
    return { store, close: () => store.close() };
  });
});
