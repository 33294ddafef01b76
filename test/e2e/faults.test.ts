/** The roles on embedded brokers that misbehave: nothing is lost, doubled or out of order. */
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { Faults } from '../../ports/faults.ts';
import { openQueue } from '../../ports/queue/index.ts';
import { FaultyQueue } from '../../ports/queue/faulty.ts';
import { openTopic } from '../../ports/topic/index.ts';
import { FaultyTopic } from '../../ports/topic/faulty.ts';
import { Rng } from '../../ports/rng.ts';
import { readHistory } from '../../producers/replay/history.ts';
import { sendEnvelopes } from '../../producers/replay/sender.ts';
import type { Envelope } from '../../schemas/envelope/envelope.ts';
import { envelopeOf, orderUpsert } from '../fixtures/envelopes.ts';
import { type Pipeline, startPipeline } from '../fixtures/pipeline.ts';
import { resources } from '../fixtures/stores.ts';
import { makeTemporaryFolder, temporaryFolder } from '../temp.ts';

const ORDERS = 12;
const SUBMISSIONS = 400;

let pipeline: Pipeline | undefined;
afterEach(async () => {
  await pipeline?.stop();
  pipeline = undefined;
});

it.each([1, 2, 3, 4])('applies every write once and in order (seed %d)', async (seed) => {
  pipeline = await startPipeline(resources, undefined, { faults: seed });
  const { store } = pipeline;
  const rng = new Rng(seed, 'writes');
  const counters = new Map<string, number>();
  const sent = new Map<string, Envelope[]>();
  for (let left = SUBMISSIONS; left > 0;) {
    const some = Array.from({ length: Math.min(left, rng.int(1, 40)) }, () => {
      const order = `o${rng.int(1, ORDERS)}`;
      const counter = (counters.get(order) ?? 0) + 1;
      counters.set(order, counter);
      const envelope = envelopeOf([orderUpsert(order, String(counter))]);
      sent.set(order, [...(sent.get(order) ?? []), envelope]);
      return envelope;
    });
    left -= some.length;
    // A client's retry under the same id travels as a second copy.
    await sendEnvelopes(pipeline.sender, [...some, ...some.filter(() => rng.chance(0.2))]);
  }
  await pipeline.submit([...sent.values()].flat());
  const applied = new Map<string, string[]>();
  for await (const records of readHistory(store, {}))
    for (const { envelope, verdict } of records) {
      expect(verdict).toEqual({ outcome: 'applied' });
      const order = String(envelope.data.mutations[0]?.key[0]);
      applied.set(order, [...(applied.get(order) ?? []), envelope.id]);
    }
  const { table } = resources.get('orders') ?? expect.unreachable('orders');
  for (const [order, envelopes] of sent) {
    expect(applied.get(order)).toEqual(envelopes.map(({ id }) => id));
    expect((await store.read(table, [['t1', order]], ['note']))[0]?.[0]).toBe(String(counters.get(order)));
  }
});

describe('what goes wrong', () => {
  it('is of every kind', async () => {
    const folder = await makeTemporaryFolder();
    const queueFaults = new Faults(1, 'queue');
    const topicFaults = new Faults(1, 'topic');
    const queue = new FaultyQueue(await openQueue(`sqlite:${folder.path}/queue.db`), queueFaults);
    const topic = new FaultyTopic(await openTopic(`sqlite:${folder.path}/topic.db`), topicFaults);
    const [publisher, subscriber] = [topic.publisher(), topic.subscriber()];
    const attempts: number[] = [];
    subscriber.start(
      (delivery) => {
        attempts.push(delivery.attempt);
        delivery.ack();
      },
      { maxOutstandingMessages: 100, maxOutstandingBytes: 1e6 },
    );
    const failing = async (work: () => Promise<unknown>): Promise<void> => {
      await work().catch((error: unknown) => expect(String(error)).toContain('a fault that was asked for'));
    };
    let seen = 0;
    for (let i = 0; i < 200 || !queueFaults.counts.has('dead letter lost'); i += 1) {
      const entry = { group: `g${i % 3}`, deduplicationId: `${i}`, body: `b${i}`, attributes: {} };
      for (const result of await queue.send([entry])) if (result.status !== 'ok') expect(result.error.message).toContain('asked for');
      await failing(async () => {
        const messages = await queue.receive({ maxCount: 10, waitMs: 0, visibilityMs: 20 });
        seen += messages.length;
        await queue.extend(messages, 20);
        const [first, ...rest] = messages;
        if (i % 4 === 0 && first) await queue.deadLetter(first, 'a reason');
        await queue.delete(i % 4 === 0 ? rest : messages);
      });
      await failing(() => publisher.publish(`k${i % 3}`, [{ data: Buffer.from('x'), attributes: {} }]));
    }
    await expect.poll(() => attempts.length, { timeout: 10_000 }).toBeGreaterThan(150);
    await expect.poll(() => attempts.some((attempt) => attempt > 1), { timeout: 10_000 }).toBe(true);
    await subscriber.stop(1000);
    await publisher.close();
    await queue.close();
    await folder.remove();
    expect(seen).toBeGreaterThan(100);
    expect([...queueFaults.counts.keys()].sort()).toEqual([
      'dead letter lost',
      'delete answer lost',
      'delete lost',
      'extend lost',
      'receive answer lost',
      'send answer lost',
      'send refused',
      'visibility ran out',
    ]);
    expect([...topicFaults.counts.keys()].sort()).toEqual([
      'key held back',
      'lease ran out',
      'publish answer lost',
      'publish refused',
      'published twice',
    ]);
  });

  it('is asked for by a whole number in the URL', async () => {
    const file = `sqlite:${join(await temporaryFolder(), 'brokers.db')}`;
    await expect(openQueue(`${file}?faults=many`)).rejects.toThrow('expected a whole number');
    await expect(openTopic(`${file}?faults=-1`)).rejects.toThrow('expected a whole number');
    const [queue, topic] = [await openQueue(`${file}?faults=1`), await openTopic(`${file}?faults=1`)];
    expect(queue).toBeInstanceOf(FaultyQueue);
    expect(topic).toBeInstanceOf(FaultyTopic);
    await topic.publisher().close();
    await queue.close();
  });
});
