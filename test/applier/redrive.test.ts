import { afterAll, beforeAll, expect, it } from 'vitest';
import type { SchemaAdmin, Store } from '../../ports/store/port.ts';
import { readHistory } from '../../producers/replay/history.ts';
import type { Envelope, Redrive } from '../../schemas/envelope/envelope.ts';
import { ResourceSet } from '../../schemas/resource/registry.ts';
import type { Cell } from '../../schemas/resource/table.ts';
import allTypes from '../fixtures/all-types.ts';
import { applyAll, ledgerEntry, redriveOf } from '../fixtures/applying.ts';
import { envelopeOf, orderUpsert } from '../fixtures/envelopes.ts';
import { describeOnStores, resources } from '../fixtures/stores.ts';

/** Resource files without orders: writes of orders are dead-lettered. */
const WITHOUT_ORDERS = new ResourceSet([allTypes]);

let number = 0;
const newOrder = (): string => `r${(number += 1)}`;

describeOnStores('a redrive', (open) => {
  let store: Store & SchemaAdmin;
  let close: () => Promise<void>;
  beforeAll(async () => {
    ({ store, close } = await open());
  });
  afterAll(() => close());

  async function cell(orderId: string, column: string): Promise<Cell | undefined> {
    const { table } = resources.get('orders') ?? expect.unreachable('orders');
    return (await store.read(table, [['t1', orderId]], [column]))[0]?.[0];
  }
  const summary = async (envelopes: readonly Envelope[], set = resources): Promise<string[]> =>
    (await applyAll(store, envelopes, { set })).map(({ verdict: { outcome, reason }, duplicate }) =>
      [outcome, reason, duplicate ? 'duplicate' : undefined].filter((word) => word !== undefined).join(' '),
    );
  const deadLetter = async (orderId: string, note: string): Promise<Envelope> => {
    const envelope = envelopeOf([orderUpsert(orderId, note)]);
    expect(await summary([envelope], WITHOUT_ORDERS)).toEqual(['dead_lettered unknown_resource']);
    return envelope;
  };
  it('puts the new outcome in the place of the old one, under the same id, and keeps both in the history', async () => {
    const o = newOrder();
    const envelope = await deadLetter(o, 'late');
    const before = await ledgerEntry(store, envelope.id);
    const [settled] = await applyAll(store, [await redriveOf(store, envelope)]);
    expect(settled).toMatchObject({ verdict: { outcome: 'applied' }, duplicate: false, attempt: 2 });
    expect(await cell(o, 'note')).toBe('late');
    const after = await ledgerEntry(store, envelope.id);
    expect(after).toMatchObject({ outcome: 'applied', attempt: 2, acceptedAt: before.acceptedAt, payloadHash: before.payloadHash });
    expect(after.reason).toBeUndefined();
    const outcomes: string[] = [];
    for await (const commit of readHistory(store, {}))
      for (const record of commit) if (record.envelope.id === envelope.id) outcomes.push(record.verdict.outcome);
    expect(outcomes).toEqual(['dead_lettered', 'applied']);
  });

  it('changes nothing however often it is delivered, or the first message comes again', async () => {
    const o = newOrder();
    const envelope = await deadLetter(o, 'once');
    const redrive = await redriveOf(store, envelope);
    expect(await summary([redrive, redrive])).toEqual(['applied', 'applied']);
    const version = await cell(o, 'updated_at');
    expect(await summary([envelope, redrive])).toEqual(['applied duplicate', 'applied duplicate']);
    expect(await cell(o, 'updated_at')).toBe(version);
    expect((await applyAll(store, [envelope]))[0]).toMatchObject({ attempt: 2, commitTimestamp: version });
  });

  it('lets a second outcome stand when the redrive that brought it is delivered again', async () => {
    const envelope = await deadLetter(newOrder(), 'still');
    const redrive = await redriveOf(store, envelope);
    expect(await summary([redrive], WITHOUT_ORDERS)).toEqual(['dead_lettered unknown_resource']);
    expect(await summary([redrive])).toEqual(['dead_lettered unknown_resource duplicate']);
    expect(await summary([await redriveOf(store, envelope, { attempt: 3 })])).toEqual(['applied']);
    expect((await ledgerEntry(store, envelope.id)).attempt).toBe(3);
  });

  it('never applies again what was applied', async () => {
    const o = newOrder();
    const envelope = envelopeOf([orderUpsert(o, 'done')]);
    await applyAll(store, [envelope]);
    const version = await cell(o, 'updated_at');
    expect(await summary([await redriveOf(store, envelope, { overNewer: true })])).toEqual(['applied duplicate']);
    expect(await cell(o, 'updated_at')).toBe(version);
  });

  it('does not give an outcome to another payload under the same id', async () => {
    const o = newOrder();
    const envelope = await deadLetter(o, 'mine');
    const other = envelopeOf([orderUpsert(o, 'other')], { id: envelope.id });
    const { redrive } = (await redriveOf(store, envelope)).data;
    if (!redrive) return expect.unreachable('no redrive');
    expect(await summary([{ ...other, data: { ...other.data, redrive } }])).toEqual(['rejected idempotency_key_reused duplicate']);
    expect((await ledgerEntry(store, envelope.id)).outcome).toBe('dead_lettered');
  });

  it('refuses to write over what the aggregate has applied since, unless it is told to', async () => {
    const o = newOrder();
    const envelope = await deadLetter(o, 'older');
    await applyAll(store, [envelopeOf([orderUpsert(o, 'newer')])]);
    expect(await summary([await redriveOf(store, envelope)])).toEqual(['dead_lettered newer_applied']);
    expect(await cell(o, 'note')).toBe('newer');
    const refused = await ledgerEntry(store, envelope.id);
    expect(refused).toMatchObject({ outcome: 'dead_lettered', reason: 'newer_applied', attempt: 2 });
    expect(await summary([await redriveOf(store, envelope, { attempt: 3, overNewer: true })])).toEqual(['applied']);
    expect(await cell(o, 'note')).toBe('older');
  });

  it('sees what is newer in its own batch, and nothing of other aggregates', async () => {
    const [o, p] = [newOrder(), newOrder()];
    const [older, free] = [await deadLetter(o, 'older'), await deadLetter(p, 'free')];
    const batch = [envelopeOf([orderUpsert(o, 'newer')]), await redriveOf(store, older), await redriveOf(store, free)];
    expect(await summary(batch)).toEqual(['applied', 'dead_lettered newer_applied', 'applied']);
    expect(await cell(o, 'note')).toBe('newer');
  });

  it('applies several of one aggregate in their order, in one batch or more, and none behind a later one', async () => {
    for (const batch of [10, 1]) {
      const o = newOrder();
      const letters = [await deadLetter(o, 'first'), await deadLetter(o, 'second'), await deadLetter(o, 'third')];
      const [first, second, third] = await Promise.all(letters.map((letter) => redriveOf(store, letter)));
      const settled = await applyAll(store, [first as Envelope, third as Envelope, second as Envelope], { batch });
      expect(settled.map(({ verdict }) => verdict.reason ?? verdict.outcome)).toEqual(['applied', 'applied', 'newer_applied']);
      expect(await cell(o, 'note')).toBe('third');
    }
  });

  it('records one that had no outcome yet', async () => {
    const o = newOrder();
    await applyAll(store, [envelopeOf([orderUpsert(newOrder())])]);
    const envelope = envelopeOf([orderUpsert(o, 'parked')]);
    const place = { committedAt: '2026-11-24T12:00:00Z', position: 0 };
    const redrive: Redrive = {
      first: place,
      attempt: 2,
      lookedTo: place.committedAt,
      overNewer: false,
      by: 'operator',
      time: place.committedAt,
    };
    expect(await summary([{ ...envelope, data: { ...envelope.data, redrive } }])).toEqual(['applied']);
    expect((await ledgerEntry(store, envelope.id)).outcome).toBe('applied');
    expect(await cell(o, 'note')).toBe('parked');
  });
});
