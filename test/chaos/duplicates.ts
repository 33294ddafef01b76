/** Packs delivered again, from outside: recorded by a subscription of our own, and sent to the queue and the topic anew. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { PortUnavailableError } from '../../ports/errors.ts';
import { openQueue } from '../../ports/queue/index.ts';
import { openTopic } from '../../ports/topic/index.ts';
import { Rng } from '../../ports/rng.ts';
import type { ChaosStack } from './stack.ts';

interface Recorded {
  readonly shard: string;
  readonly data: Buffer;
  readonly attributes: Readonly<Record<string, string>>;
}

const MAX_RECORDED = 20_000;
const PAUSE_MS = [20, 200] as const;

export interface Duplicator {
  /** Packs sent again. */
  readonly sent: { readonly toQueue: number; readonly toTopic: number };
  stop(): Promise<void>;
}

/** Whether the queue that the copies went to was emptied, within `patienceMs`: else the roles read another. */
export async function queueIsEmptied(url: string, patienceMs: number): Promise<boolean> {
  const queue = await openQueue(url);
  try {
    for (const end = Date.now() + patienceMs; ; await sleep(1000)) {
      const messages = await queue.receive({ maxCount: 1, waitMs: 0, visibilityMs: 1000 });
      if (messages.length === 0) return true;
      await queue.extend(messages, 0);
      if (Date.now() > end) return false;
    }
  } finally {
    await queue.close();
  }
}

export async function startDuplicator(stack: ChaosStack, seed: number): Promise<Duplicator> {
  const rng = new Rng(seed, 'duplicates');
  const sent = { toQueue: 0, toTopic: 0 };
  const recorded: Recorded[] = [];
  const known = new Set<string>();
  const url = new URL(stack.adapters.topic);
  url.searchParams.set('subscription', 'chaos-recorder');
  const topic = await openTopic(url.href);
  await topic.provision();
  const queue = await openQueue(stack.adapters.queue);
  const publisher = topic.publisher();
  const subscriber = topic.subscriber();
  // It pulls again by itself; what it misses is one duplicate less.
  subscriber.onError(() => {});
  subscriber.start(
    ({ key, data, attributes, ack }) => {
      const signature = attributes['signature'] ?? '';
      // Our own copies come by here too.
      if (!known.has(signature) && recorded.length < MAX_RECORDED) recorded.push({ shard: key, data: Buffer.from(data), attributes });
      known.add(signature);
      ack();
    },
    { maxOutstandingMessages: 100, maxOutstandingBytes: 10_000_000 },
  );

  const stopping = new AbortController();
  const loop = (async () => {
    while (!stopping.signal.aborted) {
      await sleep(rng.int(...PAUSE_MS));
      if (recorded.length === 0) continue;
      // Just now, so that the original may still be on its way; or any, so that newer writes have been applied since.
      const pack = rng.chance(0.5) ? rng.pick(recorded.slice(-20)) : rng.pick(recorded);
      const copies = rng.int(1, 3);
      const toQueue = rng.chance(0.5);
      try {
        if (toQueue) {
          const entry = { group: pack.shard, body: pack.data.toString(), attributes: pack.attributes };
          await queue.send(Array.from({ length: copies }, () => ({ ...entry, deduplicationId: randomUUID() })));
        } else {
          const messages = Array.from({ length: copies }, () => pack);
          await publisher.publish(pack.shard, messages);
        }
      } catch (error) {
        // A process that stands still may hold the embedded file's lock for long. One duplicate less.
        if (error instanceof PortUnavailableError) continue;
        throw error;
      }
      sent[toQueue ? 'toQueue' : 'toTopic'] += copies;
    }
  })();
  // Its failure is told by stop.
  loop.catch(() => {});
  return {
    sent,
    async stop() {
      stopping.abort();
      await loop;
      await subscriber.stop(5000);
      await publisher.close();
      await queue.close();
    },
  };
}
