import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openQueue } from '../../ports/queue/index.ts';
import type { Queue, QueueEntry, SendResult } from '../../ports/queue/port.ts';
import { UnavailableError } from '../../producers/gateway/errors.ts';
import { PackSender, type PackSenderSettings } from '../../producers/gateway/pack-sender.ts';
import { KeyRing } from '../../schemas/envelope/key-ring.ts';
import { bound } from '../fixtures/queues.ts';
import { startTestGateway } from '../fixtures/gateways.ts';
import { makeTemporaryFolder } from '../temp.ts';

const ring = new KeyRing([{ id: 'k1', key: randomBytes(32) }]);
const settings: PackSenderSettings = {
  maxPackEnvelopes: 3,
  maxPackBytes: 100,
  maxSends: 1,
  sendLingerMs: 0,
  maxPending: 50,
  maxPendingBytes: 100_000,
  acceptTimeoutMs: 60_000,
};

/** A real queue whose sends can be held, and answered as a broken network would. */
class HeldQueue {
  readonly sends: (readonly QueueEntry[])[] = [];
  answer: (results: readonly SendResult[]) => readonly SendResult[] = (results) => results;
  #gate = Promise.withResolvers<undefined>();

  constructor(queue: Queue) {
    this.queue = {
      ...bound(queue),
      send: async (entries) => {
        this.sends.push(entries);
        await this.#gate.promise;
        return this.answer(await queue.send(entries));
      },
    };
  }

  readonly queue: Queue;

  release(): void {
    this.#gate.resolve(undefined);
  }
}

describe('the pack sender', () => {
  let real: Queue;
  let held: HeldQueue;
  let remove: () => Promise<void>;
  beforeEach(async () => {
    const folder = await makeTemporaryFolder();
    const queue = await openQueue(`sqlite:${folder.path}/q.db`);
    await queue.provision();
    real = queue;
    held = new HeldQueue(queue);
    remove = folder.remove;
  });
  afterEach(async () => {
    await real.close();
    await remove();
  });

  const bodies = (send: readonly QueueEntry[]): string[] => send.map((entry) => entry.body);
  const firstSend = async (): Promise<void> => {
    while (held.sends.length === 0) await new Promise((resolve) => setImmediate(resolve));
  };

  it('sends one pack for what arrives together, and gathers the rest behind it in order', async () => {
    const sender = new PackSender(held.queue, () => ring, settings);
    const sent = [sender.send(1, '"a"'), sender.send(2, '"b"')];
    await firstSend();
    for (const text of ['"c"', '"d"', '"e"', '"f"']) sent.push(sender.send(1, text));
    held.release();
    await Promise.all(sent);
    expect(held.sends.map(bodies)).toEqual([['["a"]', '["b"]'], ['["c","d","e"]'], ['["f"]']]);
    expect(held.sends[0]?.map((entry) => entry.group)).toEqual(['1', '2']);
  });

  it('sends beside what is under way once the send is full', async () => {
    const sender = new PackSender(held.queue, () => ring, { ...settings, maxSends: 2, sendLingerMs: 2 ** 30 });
    const full = real.capabilities.maxBatchCount;
    const sent = [sender.send(0, '0')];
    await firstSend();
    for (let shard = 1; shard < full; shard += 1) sent.push(sender.send(shard, String(shard)));
    for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    expect(held.sends).toHaveLength(1);
    sent.push(sender.send(full, String(full)));
    while (held.sends.length < 2) await new Promise((resolve) => setImmediate(resolve));
    expect(held.sends[1]).toHaveLength(full);
    held.release();
    await Promise.all(sent);
  });

  it('sends beside what is under way once it has waited', async () => {
    const sender = new PackSender(held.queue, () => ring, { ...settings, maxSends: 2, sendLingerMs: 1 });
    const sent = [sender.send(1, '1')];
    await firstSend();
    sent.push(sender.send(2, '2'));
    while (held.sends.length < 2) await new Promise((resolve) => setImmediate(resolve));
    held.release();
    await Promise.all(sent);
  });

  it('takes turns with as many as it has just answered, who are about to come back', async () => {
    const sender = new PackSender(held.queue, () => ring, settings);
    const toShards = (from: number, to: number): Promise<void>[] =>
      Array.from({ length: to - from }, (_, i) => sender.send(from + i, String(from + i)));
    const sent = toShards(0, 4);
    await firstSend();
    sent.push(...toShards(4, 12));
    held.release();
    await Promise.all(sent);
    expect(held.sends.map((send) => send.length)).toEqual([4, 6, 2]);
    // After a pause nobody is.
    await Promise.all(toShards(0, 9));
    expect(held.sends.at(-1)).toHaveLength(9);
  });

  it('answers no one before the queue has acknowledged', async () => {
    const sender = new PackSender(held.queue, () => ring, settings);
    let answered = false;
    const sent = sender.send(1, '"a"').then(() => (answered = true));
    await firstSend();
    expect(answered).toBe(false);
    held.release();
    await sent;
  });

  it('sends an envelope that is larger than a pack alone', async () => {
    const sender = new PackSender(held.queue, () => ring, settings);
    held.release();
    const large = JSON.stringify('x'.repeat(200));
    await Promise.all([sender.send(1, '"a"'), sender.send(1, large), sender.send(1, '"b"')]);
    expect(held.sends.flatMap(bodies)).toEqual(['["a"]', `[${large}]`, '["b"]']);
  });

  it('fails the callers of an entry that the queue did not take, and no others', async () => {
    const sender = new PackSender(held.queue, () => ring, settings);
    held.answer = (results) => results.map((r, i) => (i === 1 ? { status: 'unknown', error: new Error('lost') } : r));
    held.release();
    const [first, second] = await Promise.allSettled([sender.send(1, '"a"'), sender.send(2, '"b"')]);
    expect(first.status).toBe('fulfilled');
    expect(second).toMatchObject({ status: 'rejected', reason: expect.any(UnavailableError) as Error });
  });

  it('refuses more bytes than may wait, and has room again once they are answered', async () => {
    const sender = new PackSender(held.queue, () => ring, { ...settings, maxPendingBytes: 12 });
    const sent = sender.send(1, '"aaaaaa"');
    await expect(sender.send(1, '"b"')).rejects.toThrow(/not accepted/);
    expect(sender.load).toEqual({ count: 1, bytes: 9 });
    held.release();
    await sent;
    expect(sender.load).toEqual({ count: 0, bytes: 0 });
    await sender.send(1, '"b"');
  });

  it('takes out what had no turn in time, says that it was not accepted, and never sends it', async () => {
    const sender = new PackSender(held.queue, () => ring, { ...settings, acceptTimeoutMs: 60 });
    const first = sender.send(1, '"a"');
    await firstSend();
    const second = sender.send(1, '"b"');
    await expect(first).rejects.toThrow(/did not answer in 60 ms; it may have been accepted/);
    await expect(second).rejects.toThrow(/no turn at the queue in 60 ms; it was not accepted/);
    // The one that is under way keeps its place: it is still in memory.
    expect(sender.load.count).toBe(1);
    held.release();
    await sender.drain();
    await sender.send(1, '"c"');
    expect(held.sends.map(bodies)).toEqual([['["a"]'], ['["c"]']]);
  });

  it('tells those it refuses to come back later, the longer the oldest has waited', async () => {
    const sender = new PackSender(held.queue, () => ring, { ...settings, maxPending: 1 });
    const sent = sender.send(1, '"a"');
    const refused = await sender.send(1, '"b"').catch((error: unknown) => error as UnavailableError);
    if (!(refused instanceof UnavailableError)) expect.unreachable();
    expect([1, 2, 3]).toContain(refused.retryAfterSeconds);
    held.release();
    await sent;
  });

  it('refuses more than may wait, and is empty after a drain', async () => {
    const sender = new PackSender(held.queue, () => ring, { ...settings, maxPending: 2 });
    const sent = [sender.send(1, '"a"'), sender.send(1, '"b"')];
    await expect(sender.send(1, '"c"')).rejects.toThrow(UnavailableError);
    held.release();
    await sender.drain();
    await Promise.all(sent);
  });
});

describe('the gateway, when its queue is away', () => {
  it('answers 503 with Retry-After, and never 202', async () => {
    const gateway = await startTestGateway({
      queue: (queue) => ({
        ...bound(queue),
        send: (entries) => Promise.resolve(entries.map(() => ({ status: 'unknown' as const, error: new Error('gone') }))),
      }),
    });
    try {
      const response = await gateway.call({ method: 'PUT', url: '/v1/orders/o1', payload: { customer: 'c', status: 'open' } });
      expect(response.statusCode).toBe(503);
      expect(response.headers['retry-after']).toMatch(/^[1-3]$/);
      expect(response.json<{ detail: string }>().detail).toMatch(/same Idempotency-Key/);
    } finally {
      await gateway.close();
    }
  });
});
