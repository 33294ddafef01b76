import { hash, randomBytes } from 'node:crypto';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Applier, startApplier } from '../../consumers/applier/applier.ts';
import { PortUnavailableError, StoreError } from '../../ports/errors.ts';
import { MemoryCache } from '../../ports/cache/memory.ts';
import { openEvents } from '../../ports/events/index.ts';
import type { Events, OutcomeEvent } from '../../ports/events/port.ts';
import type { Store } from '../../ports/store/port.ts';
import { openTopic } from '../../ports/topic/index.ts';
import type { Topic } from '../../ports/topic/port.ts';
import { attemptsOf, readEntries } from '../../producers/replay/attempts.ts';
import { KeyRing, type NamedKey } from '../../schemas/envelope/key-ring.ts';
import { LEDGER, PARKED } from '../../schemas/envelope/ledger.ts';
import { encodePack, envelopeText, type Pack } from '../../schemas/envelope/pack.ts';
import type { Envelope } from '../../schemas/envelope/envelope.ts';
import { anEnvelope, envelopeOf } from '../fixtures/envelopes.ts';
import { FaultyStore, preparedStore, resources } from '../fixtures/stores.ts';
import { makeTemporaryFolder } from '../temp.ts';

const newKey = (id: string): NamedKey => ({ id, key: randomBytes(32) });

/** Notes what was sent, and fails while told to; a `sent` waits for the next success. */
class RecordedEvents implements Events {
  readonly capabilities = { maxBatchCount: 10, maxBatchBytes: 1e6 };
  readonly sent: OutcomeEvent[] = [];
  failing = false;
  tries = 0;
  #changed: () => void = () => undefined;

  send(events: readonly OutcomeEvent[]): Promise<void> {
    this.tries += 1;
    if (!this.failing) this.sent.push(...events);
    this.#changed();
    return this.failing ? Promise.reject(new PortUnavailableError('events', 'away')) : Promise.resolve();
  }
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => (this.#changed = resolve));
  }
  ping = (): Promise<void> => Promise.resolve();
  close = (): Promise<void> => Promise.resolve();
}

describe('the applier', () => {
  let url: string;
  let topic: Topic;
  let store: Store;
  let remove: () => Promise<void>;
  let applier: Applier | undefined;
  let events: RecordedEvents;
  let first: NamedKey;
  let ring: KeyRing;
  /** What the secret holds by now, which the applier sees when it reads it again. */
  let secret: KeyRing;
  let keyPatienceMs: number;
  /** Reads of the secret that fail first. */
  let failedReads: number;

  beforeEach(async () => {
    const folder = await makeTemporaryFolder();
    remove = folder.remove;
    url = `sqlite:${folder.path}/spanway.db`;
    topic = await openTopic(url);
    await topic.provision();
    store = await preparedStore(url);
    events = new RecordedEvents();
    keyPatienceMs = 60_000;
    failedReads = 0;
    first = newKey('k1');
    ring = secret = new KeyRing([first]);
  });
  afterEach(async () => {
    await applier?.stop();
    applier = undefined;
    await store.close();
    await remove();
  });

  function run(to: Events = events, into: Store = store): void {
    applier = startApplier({
      subscriber: topic.subscriber(),
      store: into,
      events: to,
      cache: new MemoryCache(),
      resources: { current: resources },
      packKeys: {
        current: () => ring,
        refresh: () => {
          failedReads -= 1;
          if (failedReads >= 0) return Promise.reject(new Error('the secret cannot be read'));
          ring = secret;
          return Promise.resolve(ring);
        },
      },
      log: pino({ level: 'silent' }),
      onFatal: (error) => expect.unreachable(String(error)),
      settings: {
        parallelism: 2,
        maxBatchCount: 100,
        maxBatchBytes: 1e6,
        maxBatchMutations: 10_000,
        lingerMs: 1,
        maxOutstandingMessages: 100,
        maxOutstandingBytes: 1e7,
        maxAttempts: 3,
        keyPatienceMs,
        backoff: { minMs: 1, maxMs: 5 },
        stopMs: 1000,
      },
    });
  }
  async function publish(pack: Pack, more: Record<string, string> = {}): Promise<void> {
    const publisher = topic.publisher();
    await publisher.publish('1', [{ data: Buffer.from(pack.body), attributes: { ...pack.attributes, ...more } }]);
    await publisher.close();
  }
  const pack = (envelopes: readonly Envelope[], keys: KeyRing = ring): Pack => encodePack(envelopes.map(envelopeText), 1, keys);
  const outcomes = (): string[] => events.sent.map((e) => e.outcome);
  async function note(orderId: string): Promise<unknown> {
    const [row] = await store.read((resources.get('orders') ?? expect.unreachable()).table, [['t1', orderId]], ['note']);
    return row?.[0];
  }
  async function parked({ body, attributes }: Pack): Promise<unknown> {
    const id = hash('sha256', `${JSON.stringify({ ...attributes })}\n${Buffer.from(body).toString('base64')}`);
    return (await store.read(PARKED, [[id]], ['reason']))[0]?.[0];
  }

  it('gives each envelope of a pack its outcome and its event, with who, what and the correlation id', async () => {
    const envelopes = [anEnvelope({ orderId: 'a' }), anEnvelope({ orderId: 'b' })];
    run();
    await publish(pack(envelopes));
    await events.until(() => events.sent.length === 2);
    expect(events.sent[0]).toMatchObject({
      id: `${envelopes[0]?.id ?? ''}.${envelopes[0]?.data.payloadHash ?? ''}`,
      outcome: 'applied',
      tenant: 't1',
      subject: 'me',
      resource: 'orders',
      key: ['a'],
      correlationId: envelopes[0]?.correlationid,
      traceparent: envelopes[0]?.traceparent,
    });
  });

  it('parks a pack whose signature fails, which touches no table, and goes on with those behind it', async () => {
    const forged = pack([anEnvelope({ orderId: 'forged' })], new KeyRing([newKey('k1')]));
    run();
    await publish(forged);
    await publish(pack([anEnvelope({ orderId: 'good', note: 'kept' })]));
    await events.until(() => events.sent.length === 1);
    expect(await note('good')).toBe('kept');
    await applier?.stop();
    applier = undefined;
    expect(await parked(forged)).toBe('signature_invalid');
    expect(await note('forged')).toBeUndefined();
  });

  it('reads its keys again for a pack signed with a new one, and keeps the order', async () => {
    const rotated = new KeyRing([newKey('k2'), first]);
    secret = rotated;
    run();
    await publish(pack([anEnvelope({ orderId: 'o', note: 'first' })]));
    await publish(pack([anEnvelope({ orderId: 'o', note: 'second' })], rotated));
    await publish(pack([anEnvelope({ orderId: 'o', note: 'third' })]));
    await events.until(() => events.sent.length === 3);
    expect(outcomes()).toEqual(['applied', 'applied', 'applied']);
    expect(await note('o')).toBe('third');
  });

  it('waits in order while the secret cannot be read', async () => {
    const rotated = new KeyRing([newKey('k2'), first]);
    secret = rotated;
    failedReads = 3;
    run();
    await publish(pack([anEnvelope({ orderId: 'o', note: 'first' })], rotated));
    await publish(pack([anEnvelope({ orderId: 'o', note: 'second' })]));
    await events.until(() => events.sent.length === 2);
    expect(await note('o')).toBe('second');
  });

  it('parks a pack whose key is nowhere, when it has been looked for long enough', async () => {
    keyPatienceMs = 20;
    const unknown = pack([anEnvelope({ orderId: 'x' })], new KeyRing([newKey('elsewhere')]));
    run();
    await publish(unknown);
    await publish(pack([anEnvelope()]));
    await events.until(() => events.sent.length === 1);
    await applier?.stop();
    applier = undefined;
    expect(await parked(unknown)).toBe('unknown_key');
  });

  it('looks for a key that never comes as long as for one pack, however many name it', async () => {
    keyPatienceMs = 50;
    const elsewhere = new KeyRing([newKey('elsewhere')]);
    const unknown = Array.from({ length: 5 }, (_, i) => pack([anEnvelope({ orderId: `x${i}` })], elsewhere));
    run();
    await publish(unknown[0] as Pack);
    await expect.poll(() => parked(unknown[0] as Pack)).toBe('unknown_key');
    const before = failedReads;
    for (const one of unknown.slice(1)) await publish(one);
    await publish(pack([anEnvelope()]));
    await events.until(() => events.sent.length === 1);
    expect(before - failedReads).toBe(4);
    expect(await Promise.all(unknown.map(parked))).toEqual(unknown.map(() => 'unknown_key'));
  });

  it('commits few merges together, since what they read may be long', async () => {
    const ids = Array.from({ length: 100 }, (_, i) => `o${i}`);
    run();
    await publish(pack(ids.map((orderId) => anEnvelope({ orderId }))));
    await events.until(() => events.sent.length === 100);
    const patch = (o: string) =>
      envelopeOf([{ op: 'update', resource: 'orders', key: [o], value: { metadata: '{"a":1}' }, merge: ['metadata'] }]);
    await publish(pack(ids.map(patch)));
    await events.until(() => events.sent.length === 200);
    const commits = (outcomes: readonly OutcomeEvent[]) => new Set(outcomes.map(({ commitTimestamp }) => commitTimestamp)).size;
    expect(commits(events.sent.slice(0, 100))).toBe(1);
    expect(commits(events.sent.slice(100))).toBeGreaterThanOrEqual(4);
  });

  it('looks for the keys of packs that came together at the same time, however many there are', async () => {
    const unknown = ['a', 'b', 'c'].map((id) => pack([anEnvelope({ orderId: id })], new KeyRing([newKey(id)])));
    for (const one of unknown) await publish(one);
    await publish(pack([anEnvelope()]));
    run();
    await expect.poll(() => failedReads).toBeLessThan(-2);
    const now = performance.now.bind(performance);
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => now() + keyPatienceMs);
    try {
      await events.until(() => events.sent.length === 1);
    } finally {
      clock.mockRestore();
    }
    expect(await Promise.all(unknown.map(parked))).toEqual(unknown.map(() => 'unknown_key'));
  });

  it('acknowledges a pack only after its events are sent: one that a stop cut off is sent after it', async () => {
    const envelope = anEnvelope({ orderId: 'o' });
    events.failing = true;
    run();
    await publish(pack([envelope]));
    await events.until(() => events.tries >= 3);
    expect(String((await store.read(LEDGER, [[envelope.id]], ['entry']))[0]?.[0])).toContain('"outcome":"applied"');
    await applier?.stop();
    events.failing = false;
    run();
    await events.until(() => events.sent.length === 1);
    expect(events.sent[0]).toMatchObject({ submissionId: envelope.id, outcome: 'applied' });
  });

  it('keeps when a pack passed the brokers, and takes nothing else for a time', async () => {
    const [told, odd] = [anEnvelope({ orderId: 'a' }), anEnvelope({ orderId: 'b' })];
    run();
    await publish(pack([told]), { queuedAt: '2026-11-24T12:00:00.250Z' });
    await publish(pack([odd]), { queuedAt: '<yesterday>' });
    await events.until(() => events.sent.length === 2);
    for (const [envelope, queuedAt] of [
      [told, '2026-11-24T12:00:00.250Z'],
      [odd, undefined],
    ] as const) {
      const [attempt] = await attemptsOf(store, envelope.id);
      expect(attempt?.carried?.queuedAt).toBe(queuedAt);
      expect(Date.now() - Date.parse(attempt?.carried?.bridgedAt ?? '')).toBeLessThan(60_000);
    }
  });

  it('parks a pack once, whenever the queue had it', async () => {
    const lost = { ...pack([anEnvelope()]), body: '[]' };
    run();
    await publish(lost, { queuedAt: '2026-11-24T12:00:00.000Z' });
    await publish(lost, { queuedAt: '2026-11-24T12:00:01.000Z' });
    await publish(pack([anEnvelope()]));
    await events.until(() => events.sent.length === 1);
    await applier?.stop();
    applier = undefined;
    expect(await parked(lost)).toBe('signature_invalid');
    expect(await store.scan(PARKED, { prefix: [], limit: 10 }, ['parked_id'])).toHaveLength(1);
  });

  it('tells no more of a refusal than the ledger keeps, however much the database says', async () => {
    const refusing = new FaultyStore(store);
    const error = new StoreError('refused', 'x'.repeat(2_000_000), { reason: 'check_failed' });
    refusing.faults.push({ when: 'before', error });
    run(events, refusing);
    const envelope = anEnvelope({ orderId: 'o' });
    await publish(pack([envelope]));
    await events.until(() => events.sent.length === 1);
    expect(events.sent[0]).toMatchObject({ outcome: 'rejected', reason: 'check_failed', detail: 'x'.repeat(2000) });
    const [entry] = await readEntries(store, [envelope.id]);
    expect(entry?.detail).toBe(events.sent[0]?.detail);
  });

  it('writes its events to the embedded adapter once, however often an envelope comes', async () => {
    const embedded = await openEvents(url);
    const envelope = anEnvelope();
    run(embedded);
    await publish(pack([envelope, envelope]));
    await publish(pack([envelope]));
    const last = anEnvelope({ orderId: 'last' });
    await publish(pack([last]));
    const list = (): Promise<readonly { event: OutcomeEvent }[]> =>
      (embedded as unknown as { list(o: { limit: number }): Promise<readonly { event: OutcomeEvent }[]> }).list({ limit: 10 });
    while (!(await list()).some(({ event }) => event.submissionId === last.id)) await new Promise((resolve) => setImmediate(resolve));
    expect((await list()).map(({ event }) => event.submissionId)).toEqual([envelope.id, last.id]);
    await applier?.stop();
    applier = undefined;
    await embedded.close();
  });
});
