import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { attemptsOf, readEntries } from '../../producers/replay/attempts.ts';
import {
  closeLetter,
  type DeadLetter,
  type LedgerLetter,
  type LetterSelection,
  listDeadLetters,
} from '../../producers/replay/dead-letters.ts';
import { redrive, type Redriven, type RedriveOptions } from '../../producers/replay/redrive.ts';
import { sendEnvelopes } from '../../producers/replay/sender.ts';
import { trace } from '../../producers/replay/trace.ts';
import type { Envelope } from '../../schemas/envelope/envelope.ts';
import { shardOf } from '../../schemas/envelope/ids.ts';
import { ResourceSet } from '../../schemas/resource/registry.ts';
import allTypes from '../fixtures/all-types.ts';
import { envelopeOf, orderUpsert } from '../fixtures/envelopes.ts';
import { newKeyRing, type Pipeline, startPipeline } from '../fixtures/pipeline.ts';
import { resources } from '../fixtures/stores.ts';

const WITHOUT_ORDERS = new ResourceSet([allTypes]);

describe('dead letters', () => {
  let pipeline: Pipeline;
  beforeEach(async () => {
    pipeline = await startPipeline();
  });
  afterEach(() => pipeline.stop());

  const parts = () => ({ store: pipeline.store, queue: pipeline.queue, resources });
  async function list(selection: LetterSelection = {}): Promise<DeadLetter[]> {
    const letters: DeadLetter[] = [];
    for await (const letter of listDeadLetters(parts(), selection)) letters.push(letter);
    return letters;
  }
  /** `keys`: what parked packs are opened with. */
  async function redriveAll(
    selection: LetterSelection = {},
    options: Partial<RedriveOptions> = {},
    keys = pipeline.keys.current,
  ): Promise<Redriven[]> {
    const all: Redriven[] = [];
    const how = { overNewer: false, by: 'operator', dryRun: false, outcomeMs: 20_000, now: () => new Date(), ...options };
    const sending = { sender: pipeline.sender, verifier: () => keys };
    for await (const result of redrive({ ...parts(), ...sending }, selection, how)) all.push(result);
    return all;
  }
  const results = (all: readonly Redriven[]): string[] =>
    all.map(({ result, reason }) => (reason === undefined ? result : `${result} ${reason}`));
  const noteOf = async (orderId: string) => {
    const { table } = resources.get('orders') ?? expect.unreachable('orders');
    return (await pipeline.store.read(table, [['t1', orderId]], ['note']))[0]?.[0];
  };
  /** As if the applier had been started with resource files that lack orders. */
  async function deadLettered(...envelopes: Envelope[]): Promise<void> {
    pipeline.resources.current = WITHOUT_ORDERS;
    await pipeline.submit(envelopes);
    pipeline.resources.current = resources;
  }
  /** Signed with a key that nobody has any more. */
  async function parked(...envelopes: Envelope[]): Promise<void> {
    const before = (await list()).length;
    const lost = newKeyRing('lost');
    await sendEnvelopes({ ...pipeline.sender, signer: () => lost }, envelopes);
    await expect.poll(async () => (await list()).length).toBeGreaterThan(before);
  }
  async function notForwarded(body: string, attributes: Record<string, string>): Promise<void> {
    const before = (await list()).length;
    await pipeline.queue.send([{ group: '1', deduplicationId: randomUUID(), body, attributes }]);
    await expect.poll(async () => (await list()).length).toBeGreaterThan(before);
  }

  it('are one list, wherever they lie, with filters', async () => {
    const letter = envelopeOf([orderUpsert('o1')]);
    const other = envelopeOf([orderUpsert('o2')], { tenant: 't2' });
    const rejected = envelopeOf([{ ...orderUpsert('none'), op: 'update' }]);
    await deadLettered(letter, other);
    await pipeline.submit([rejected, envelopeOf([orderUpsert('fine')])]);
    const lost = envelopeOf([orderUpsert('o3')]);
    await parked(lost);
    await notForwarded('no pack', { contentType: 'text/plain' });
    const ids = async (selection?: LetterSelection) => (await list(selection)).map(({ id, reason }) => `${id.split(':')[0]} ${reason}`);
    expect(await ids()).toEqual([
      `${letter.id} unknown_resource`,
      `${other.id} unknown_resource`,
      'parked unknown_key',
      'queue not_forwarded',
    ]);
    expect(await ids({ tenant: 't2' })).toEqual([`${other.id} unknown_resource`]);
    expect(await ids({ tenant: 't1' })).toEqual([`${letter.id} unknown_resource`, 'parked unknown_key']);
    expect(await ids({ reason: 'not_forwarded' })).toEqual(['queue not_forwarded']);
    expect(await ids({ resource: 'orders', key: ['o3'] })).toEqual(['parked unknown_key']);
    expect(await ids({ correlationId: other.correlationid })).toEqual([`${other.id} unknown_resource`]);
    expect(await ids({ rejected: true, resource: 'orders', tenant: 't1' })).toContain(`${rejected.id} not_found`);
    expect(await ids({ ids: [rejected.id] })).toEqual([`${rejected.id} not_found`]);
    expect(await ids({ to: '2026-01-01T00:00:00Z' })).toEqual([]);
  });

  it('are applied by a redrive under their ids, in the order in which they first stood', async () => {
    const letters = ['first', 'second', 'third'].map((note) => envelopeOf([orderUpsert('o1', note)]));
    await deadLettered(...letters, envelopeOf([orderUpsert('o2', 'alone')]));
    const all = await redriveAll();
    expect(results(all)).toEqual(['applied', 'applied', 'applied', 'applied']);
    expect(all.slice(0, 3).map((one) => one.submissionId)).toEqual(letters.map((letter) => letter.id));
    expect(await noteOf('o1')).toBe('third');
    expect(await list()).toEqual([]);
    expect(await redriveAll()).toEqual([]);
  });

  it('keep their place when a redrive fails for a second time', async () => {
    const [first, second] = ['first', 'second'].map((note) => envelopeOf([orderUpsert('o1', note)]));
    await deadLettered(first as Envelope, second as Envelope);
    pipeline.resources.current = WITHOUT_ORDERS;
    // Now it stands behind the second in the history.
    expect(results(await redriveAll({ ids: [first?.id ?? ''] }))).toEqual(['dead_lettered unknown_resource']);
    pipeline.resources.current = resources;
    const all = await redriveAll();
    expect(all.map(({ id, result }) => [id, result])).toEqual([
      [first?.id, 'applied'],
      [second?.id, 'applied'],
    ]);
    expect(await noteOf('o1')).toBe('second');
    const attempts = await attemptsOf(pipeline.store, first?.id ?? '');
    expect(attempts.map(({ verdict, envelope }) => [verdict.outcome, envelope.data.redrive?.attempt])).toEqual([
      ['dead_lettered', undefined],
      ['dead_lettered', 2],
      ['applied', 3],
    ]);
  });

  it('are not written over newer state, unless asked for', async () => {
    await deadLettered(envelopeOf([orderUpsert('o1', 'older')]), envelopeOf([orderUpsert('o2', 'free')]));
    await pipeline.submit([envelopeOf([orderUpsert('o1', 'newer')])]);
    expect(results(await redriveAll())).toEqual(['refused newer_applied', 'applied']);
    expect(await noteOf('o1')).toBe('newer');
    expect(await list()).toMatchObject([{ reason: 'unknown_resource' }]);
    expect(results(await redriveAll({}, { dryRun: true, overNewer: true }))).toEqual(['would_send']);
    expect(await noteOf('o1')).toBe('newer');
    expect(results(await redriveAll({}, { overNewer: true }))).toEqual(['applied']);
    expect(await noteOf('o1')).toBe('older');
  });

  it('can be rejected submissions, where they are asked for', async () => {
    await pipeline.submit([envelopeOf([{ ...orderUpsert('o1', 'now'), op: 'update' }])]);
    expect(results(await redriveAll())).toEqual([]);
    expect(results(await redriveAll({ rejected: true }))).toEqual(['rejected not_found']);
  });

  it('that were parked are sent on when their key is there, and stay while it is not', async () => {
    const lost = envelopeOf([orderUpsert('o1', 'signed by another')]);
    const key = newKeyRing('late');
    await sendEnvelopes({ ...pipeline.sender, signer: () => key }, [lost]);
    await expect.poll(async () => (await list()).length).toBe(1);
    expect(results(await redriveAll())).toEqual(['refused unreadable']);
    expect(results(await redriveAll({}, {}, key))).toEqual(['applied']);
    expect(await noteOf('o1')).toBe('signed by another');
    expect(await list()).toEqual([]);
    expect(await redriveAll()).toEqual([]);
  });

  it('that were parked keep their order and the place where they were parked first', async () => {
    const lost = newKeyRing('lost');
    const letters = ['a', 'b', 'c', 'd', 'e', 'f'].map((note) => envelopeOf([orderUpsert('o1', note)]));
    const send = (envelope: Envelope) => sendEnvelopes({ ...pipeline.sender, signer: () => lost }, [envelope]);
    for (const [i, letter] of letters.entries()) {
      await send(letter);
      await expect.poll(async () => (await list()).length).toBe(i + 1);
    }
    const old = envelopeOf([orderUpsert('o2', 'old')]);
    await send(old);
    await expect.poll(async () => (await list()).length).toBe(7);
    await pipeline.submit([envelopeOf([orderUpsert('o2', 'new')])]);
    await send(old);
    // Behind it in its shard: by then it was parked again.
    await pipeline.submit([envelopeOf([orderUpsert('o2', 'newest')])]);
    const redriven = await redriveAll({}, {}, lost);
    expect(redriven.map(({ submissionId, result, reason }) => [submissionId, reason ?? result])).toEqual([
      ...letters.map(({ id }) => [id, 'applied']),
      [old.id, 'newer_applied'],
    ]);
    expect(await noteOf('o1')).toBe('f');
    expect(await noteOf('o2')).toBe('newest');
  });

  it('that were parked are left where they are by a dry run, though all they hold has its outcome by now', async () => {
    const [letter, taken] = [envelopeOf([orderUpsert('o1', 'mine')]), envelopeOf([orderUpsert('o2', 'mine')])];
    const lost = newKeyRing('lost');
    await sendEnvelopes({ ...pipeline.sender, signer: () => lost }, [letter, taken]);
    const isOne = shardOf(letter.data.aggregate, 4) === shardOf(taken.data.aggregate, 4);
    await expect.poll(async () => (await list()).length).toBe(isOne ? 1 : 2);
    await pipeline.submit([letter, envelopeOf([orderUpsert('o2', 'of another')], { id: taken.id })]);
    const before = await list();
    const outcomes = async (dryRun: boolean) =>
      new Map((await redriveAll({}, { dryRun }, lost)).map((one) => [one.submissionId, one.reason ?? one.result]));
    const expected = new Map([
      [letter.id, 'applied'],
      [taken.id, 'idempotency_key_reused'],
    ]);
    expect(await outcomes(true)).toEqual(expected);
    expect(await list()).toEqual(before);
    expect(await outcomes(false)).toEqual(expected);
    expect(await list()).toEqual([]);
  });

  it('of a message that holds others too are sent alone, and it stays until all have their outcome', async () => {
    const mine = envelopeOf([orderUpsert('o1', 'mine')]);
    const theirs = Array.from({ length: 100 }, (_, i) => envelopeOf([orderUpsert(`p${i}`)], { tenant: 't2' })).find(
      ({ data }) => shardOf(data.aggregate, 4) === shardOf(mine.data.aggregate, 4),
    );
    const lost = newKeyRing('lost');
    if (!theirs) return expect.unreachable('no row of that shard');
    await sendEnvelopes({ ...pipeline.sender, signer: () => lost }, [mine, theirs]);
    await expect.poll(async () => (await list()).length).toBe(1);
    expect((await redriveAll({ tenant: 't1' }, {}, lost)).map(({ submissionId, result }) => [submissionId, result])).toEqual([
      [mine.id, 'applied'],
    ]);
    expect(await readEntries(pipeline.store, [theirs.id])).toEqual([undefined]);
    expect(await list()).toHaveLength(1);
    expect(results(await redriveAll({}, {}, lost))).toEqual(['applied', 'applied']);
    expect(await list()).toEqual([]);
    return undefined;
  });

  it('are sent once, however often they are named', async () => {
    const letter = envelopeOf([orderUpsert('o1', 'once')]);
    await deadLettered(letter);
    expect(results(await redriveAll({ ids: [letter.id, letter.id] }))).toEqual(['applied']);
  });

  it('of the queue are refused while they are no packs, and stay', async () => {
    await notForwarded('no pack', { contentType: 'text/plain' });
    expect(results(await redriveAll())).toEqual(['refused unreadable']);
    expect(await list()).toMatchObject([{ source: 'queue', body: 'no pack' }]);
  });

  it('are listed no more when they are closed; their outcome stays, and they can still be named', async () => {
    const letter = envelopeOf([orderUpsert('o1', 'closed')]);
    await deadLettered(letter);
    const [found] = await list();
    expect(await closeLetter(pipeline.store, found as LedgerLetter, 'operator', '2026-11-25T00:00:00Z')).toBe(true);
    expect(await list()).toEqual([]);
    await pipeline.submit([letter]);
    expect(await noteOf('o1')).toBeUndefined();
    expect(results(await redriveAll({ ids: [letter.id] }))).toEqual(['applied']);
  });

  describe('in a trace', () => {
    const tell = async (selection: Parameters<typeof trace>[1]) => {
      const stories: string[][] = [];
      for await (const story of trace(parts(), selection)) stories.push([story.submissionId, ...story.steps.map((step) => step.what)]);
      return stories;
    };

    it('show every try in order, found by id, correlation id or row', async () => {
      const letter = envelopeOf([orderUpsert('o1', 'a')]);
      await deadLettered(letter);
      await redriveAll();
      const later = envelopeOf([orderUpsert('o1', 'b')]);
      await pipeline.submit([later]);
      const story = [letter.id, 'accepted', 'carried', 'dead_lettered', 'event', 'redriven', 'applied', 'event'];
      expect(await tell({ submissionId: letter.id })).toEqual([story]);
      expect(await tell({ correlationId: letter.correlationid })).toEqual([story]);
      expect(await tell({ tenant: 't1', resource: 'orders', key: ['o1'] })).toEqual([
        story,
        [later.id, 'accepted', 'carried', 'applied', 'event'],
      ]);
      expect(await tell({ correlationId: 'none' })).toEqual([]);
    });

    it('show a message that was never opened', async () => {
      const lost = envelopeOf([orderUpsert('o1')]);
      await parked(lost);
      expect(await tell({ correlationId: lost.correlationid })).toEqual([[lost.id, 'accepted', 'carried', 'parked']]);
    });
  });
});
