import { randomBytes, randomUUID } from 'node:crypto';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Bridge, startBridge } from '../../consumers/bridge/bridge.ts';
import { PortUnavailableError } from '../../ports/errors.ts';
import { openQueue } from '../../ports/queue/index.ts';
import type { Provisionable } from '../../ports/adapter.ts';
import type { Queue } from '../../ports/queue/port.ts';
import { openTopic } from '../../ports/topic/index.ts';
import type { Delivery, Publisher, Subscriber, Topic } from '../../ports/topic/port.ts';
import { KeyRing } from '../../schemas/envelope/key-ring.ts';
import { encodePack } from '../../schemas/envelope/pack.ts';
import { bound } from '../fixtures/queues.ts';
import { makeTemporaryFolder } from '../temp.ts';

const ring = new KeyRing([{ id: 'k1', key: randomBytes(32) }]);
const settings = { receivers: 2, receiveWaitMs: 1000, visibilityMs: 30_000, backoff: { minMs: 1, maxMs: 5 } };

describe('the bridge', () => {
  let queue: Queue & Provisionable;
  let topic: Topic;
  let subscriber: Subscriber;
  let remove: () => Promise<void>;
  const delivered: Delivery[] = [];
  let arrived: (() => void) | undefined;
  let bridge: Bridge | undefined;

  beforeEach(async () => {
    const folder = await makeTemporaryFolder();
    remove = folder.remove;
    queue = await openQueue(`sqlite:${folder.path}/spanway.db`);
    topic = await openTopic(`sqlite:${folder.path}/spanway.db`);
    await queue.provision();
    await topic.provision();
    delivered.length = 0;
    subscriber = topic.subscriber();
    subscriber.onError((error) => expect.unreachable(error.message));
    subscriber.start(
      (delivery) => {
        delivered.push(delivery);
        delivery.ack();
        arrived?.();
      },
      { maxOutstandingMessages: 1000, maxOutstandingBytes: 1e8 },
    );
  });
  afterEach(async () => {
    await bridge?.stop();
    bridge = undefined;
    await subscriber.stop(1000);
    await queue.close();
    await remove();
  });

  const run = (parts: { queue?: Queue; publisher?: Publisher } = {}): void => {
    bridge = startBridge({
      queue: parts.queue ?? queue,
      publisher: parts.publisher ?? topic.publisher(),
      log: pino({ level: 'silent' }),
      settings,
      onFatal: (error) => expect.unreachable(String(error)),
    });
  };
  async function send(shard: number, ...texts: string[]): Promise<void> {
    const entries = texts.map((text) => {
      const pack = encodePack([JSON.stringify(text)], shard, ring);
      return { group: String(shard), deduplicationId: randomUUID(), body: pack.body, attributes: { ...pack.attributes } };
    });
    expect((await queue.send(entries)).map((r) => r.status)).toEqual(texts.map(() => 'ok'));
  }
  async function until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => (arrived = resolve));
  }
  const textsOf = (shard: number): unknown[] =>
    delivered.filter((d) => d.key === String(shard)).map((d) => (JSON.parse(d.data.toString()) as unknown[])[0]);
  /** What is on the queue by now, whoever holds it: looked at through a second receive once the bridge has stopped. */
  async function leftOnQueue(): Promise<number> {
    await bridge?.stop();
    bridge = undefined;
    const left = await queue.receive({ maxCount: 10, waitMs: 0, visibilityMs: 30_000 });
    return left.length;
  }

  it('forwards packs as they are, each shard in order, and deletes them', async () => {
    await send(1, 'a', 'b', 'c');
    await send(2, 'x', 'y');
    run();
    await until(() => delivered.length === 5);
    expect(textsOf(1)).toEqual(['a', 'b', 'c']);
    expect(textsOf(2)).toEqual(['x', 'y']);
    expect(delivered[0]?.attributes).toMatchObject({ contentType: 'application/cloudevents-batch+json', count: '1' });
    expect(delivered[0]?.attributes['signature']).toMatch(/^hmac-sha256;k1;/);
    // The queue's own word of when it had them.
    expect(Date.now() - Date.parse(delivered[0]?.attributes['queuedAt'] ?? '')).toBeLessThan(60_000);
    expect(await leftOnQueue()).toBe(0);
  });

  it('publishes again in order after a failure, and deletes nothing before', async () => {
    const real = topic.publisher();
    let failures = 3;
    let deleted = 0;
    const log: string[] = [];
    run({
      queue: {
        ...bound(queue),
        delete: (messages) => {
          deleted += messages.length;
          return queue.delete(messages);
        },
      },
      publisher: {
        capabilities: real.capabilities,
        async publish(key, messages) {
          log.push(messages.map((m) => m.data.toString()).join());
          if (failures > 0) {
            failures -= 1;
            expect(deleted).toBe(0);
            throw new PortUnavailableError('topic', 'away');
          }
          await real.publish(key, messages);
        },
        ping: () => real.ping(),
        close: () => real.close(),
      },
    });
    await send(1, 'a', 'b');
    await until(() => delivered.length === 2);
    expect(textsOf(1)).toEqual(['a', 'b']);
    expect(await leftOnQueue()).toBe(0);
    expect(deleted).toBe(2);
  });

  it('lets a shard that cannot be published hold up no other', async () => {
    const real = topic.publisher();
    const away = Promise.withResolvers<undefined>();
    run({
      publisher: {
        capabilities: real.capabilities,
        async publish(key, messages) {
          if (key === '1') await away.promise;
          await real.publish(key, messages);
        },
        ping: () => real.ping(),
        close: () => real.close(),
      },
    });
    await send(1, 'a');
    for (const text of ['x', 'y', 'z']) {
      await send(2, text);
      await until(() => textsOf(2).includes(text));
    }
    expect(textsOf(1)).toEqual([]);
    away.resolve(undefined);
    await until(() => textsOf(1).length === 1);
    expect(await leftOnQueue()).toBe(0);
  });

  it('lets a message come again when it cannot delete it, and so makes a duplicate and loses nothing', async () => {
    let failed = false;
    run({
      queue: {
        ...bound(queue),
        async delete(messages) {
          if (failed) return queue.delete(messages);
          failed = true;
          // As an expired visibility timeout would: the message is there for the next receive.
          await queue.extend(messages, 0);
          throw new PortUnavailableError('queue', 'away');
        },
      },
    });
    await send(1, 'a');
    await until(() => delivered.length === 2);
    expect(textsOf(1)).toEqual(['a', 'a']);
    expect(await leftOnQueue()).toBe(0);
  });

  it('parks a message that is no pack with its reason, and goes on with its group', async () => {
    const parked: string[] = [];
    await send(1, 'a');
    await queue.send([{ group: '1', deduplicationId: 'odd', body: 'hello', attributes: { contentType: 'text/plain' } }]);
    await send(1, 'b');
    run({
      queue: {
        ...bound(queue),
        deadLetter: (message, reason) => {
          parked.push(`${message.body}: ${reason}`);
          return queue.deadLetter(message, reason);
        },
      },
    });
    await until(() => delivered.length === 2);
    expect(textsOf(1)).toEqual(['a', 'b']);
    expect(parked).toEqual([expect.stringMatching(/^hello: contentType is "text\/plain"/)]);
    expect(await leftOnQueue()).toBe(0);
  });

  it('deletes what several shards have forwarded in one call', async () => {
    const deleted: number[] = [];
    await send(1, 'a', 'b');
    await send(2, 'x');
    await send(3, 'y');
    run({
      queue: {
        ...bound(queue),
        delete: (messages) => {
          deleted.push(messages.length);
          return queue.delete(messages);
        },
      },
    });
    await until(() => delivered.length === 4);
    expect(await leftOnQueue()).toBe(0);
    expect(deleted).toEqual([4]);
  });

  it('deletes what a shard has forwarded while another one of the same receive has to wait', async () => {
    const real = topic.publisher();
    const deleted = Promise.withResolvers<readonly string[]>();
    const back = Promise.withResolvers<undefined>();
    await send(1, 'a');
    await send(2, 'x');
    run({
      queue: {
        ...bound(queue),
        delete: (messages) => {
          deleted.resolve(messages.map((m) => m.group));
          return queue.delete(messages);
        },
      },
      publisher: {
        capabilities: real.capabilities,
        async publish(key, messages) {
          if (key === '1') await back.promise;
          await real.publish(key, messages);
        },
        ping: () => real.ping(),
        close: () => real.close(),
      },
    });
    expect(await deleted.promise).toEqual(['2']);
    expect(textsOf(1)).toEqual([]);
    back.resolve(undefined);
    await until(() => delivered.length === 2);
    expect(await leftOnQueue()).toBe(0);
  });

  it('deletes what the topic has acknowledged though it was told to stop meanwhile', async () => {
    const real = topic.publisher();
    const publishing = Promise.withResolvers<undefined>();
    const acknowledged = Promise.withResolvers<undefined>();
    await send(1, 'a');
    run({
      publisher: {
        capabilities: real.capabilities,
        async publish(key, messages) {
          publishing.resolve(undefined);
          await acknowledged.promise;
          await real.publish(key, messages);
        },
        ping: () => real.ping(),
        close: () => real.close(),
      },
    });
    await publishing.promise;
    const stopped = bridge?.stop();
    acknowledged.resolve(undefined);
    await stopped;
    expect(await leftOnQueue()).toBe(0);
    await until(() => delivered.length === 1);
  });

  it('gives back what it could not forward when it stops', async () => {
    const real = topic.publisher();
    const tried = Promise.withResolvers<undefined>();
    run({
      publisher: {
        capabilities: real.capabilities,
        publish: () => {
          tried.resolve(undefined);
          return Promise.reject(new PortUnavailableError('topic', 'away'));
        },
        ping: () => real.ping(),
        close: () => real.close(),
      },
    });
    await send(1, 'a', 'b');
    await tried.promise;
    expect(await leftOnQueue()).toBe(2);
    expect(delivered).toEqual([]);
  });
});
