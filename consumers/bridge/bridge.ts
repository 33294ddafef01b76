/**
 * The bridge: packs from the queue to the topic as they are, in order per shard. A message is deleted only after
 * the topic has acknowledged it, so a crash at any instruction makes duplicates and loses nothing.
 */
import type { Logger } from 'pino';
import type { Queue, QueueMessage } from '../../ports/queue/port.ts';
import type { Publisher } from '../../ports/topic/port.ts';
import { type BackoffSettings, untilPasses } from '../backoff.ts';
import { Deletes } from './deletes.ts';
import { byShard, type Forwarding, forwardShard } from './forward.ts';

export interface BridgeSettings {
  /** Receives under way at once. In flight are at most this many times the queue's batch. */
  readonly receivers: number;
  /** How long one receive waits for a first message. */
  readonly receiveWaitMs: number;
  /** How long a received message stays hidden; it is extended at half of that while it is being forwarded. */
  readonly visibilityMs: number;
  readonly backoff: BackoffSettings;
}

export interface Bridge {
  /** Receives nothing more, finishes or gives back what it holds, and resolves. */
  stop(): Promise<void>;
}

export interface BridgeParts {
  readonly queue: Queue;
  readonly publisher: Publisher;
  readonly log: Logger;
  readonly settings: BridgeSettings;
  /** Hears of a fault that ended the work: stop and start anew. */
  readonly onFatal: (error: unknown) => void;
}

export function startBridge({ queue, publisher, log, settings, onFatal }: BridgeParts): Bridge {
  const stopping = new AbortController();
  const { signal } = stopping;
  const forwarding: Forwarding = {
    publisher,
    deadLetter: (message, reason) => queue.deadLetter(message, reason),
    log,
    backoff: settings.backoff,
  };

  async function receiveLoop(): Promise<void> {
    while (!signal.aborted) {
      const messages = await untilPasses(
        () =>
          queue.receive({
            maxCount: queue.capabilities.maxBatchCount,
            waitMs: settings.receiveWaitMs,
            visibilityMs: settings.visibilityMs,
            signal,
          }),
        {
          signal,
          backoff: settings.backoff,
          onFailure: (err, attempt) => log.warn({ err, attempt }, 'cannot receive from the queue; trying again'),
        },
      ).catch((error: unknown) => {
        if (signal.aborted) return [];
        throw error;
      });
      if (messages.length > 0) await forward(messages);
    }
  }

  /** All that one receive gave: the shards side by side, each in its order, and their deletes in as few calls as can be. */
  async function forward(messages: readonly QueueMessage[]): Promise<void> {
    const held = new Set(messages);
    const letGo = (gone: readonly QueueMessage[]): void => {
      for (const message of gone) held.delete(message);
    };
    const heartbeat = setInterval(() => {
      queue
        .extend([...held], settings.visibilityMs)
        .catch((err: unknown) => log.warn({ err }, 'cannot extend the visibility of messages under way'));
    }, settings.visibilityMs / 2);
    const deletes = new Deletes(queue.capabilities.maxBatchCount, async (batch) => {
      await queue
        .delete(batch)
        .catch((err: unknown) => log.warn({ err }, 'could not delete forwarded messages; they come again as duplicates'));
      letGo(batch);
    });
    try {
      await Promise.all(
        byShard(messages).map(async (ofShard) => {
          const left = await forwardShard(forwarding, ofShard, {
            signal,
            published: (run) => deletes.add(run),
            parked: (message) => letGo([message]),
          });
          letGo(left);
          // Given back at once, so that whoever receives next need not wait out the visibility timeout.
          if (left.length > 0)
            await queue.extend(left, 0).catch((err: unknown) => log.warn({ err }, 'could not give messages back to the queue'));
        }),
      );
      await deletes.flush();
    } finally {
      clearInterval(heartbeat);
    }
  }

  const loops = Array.from({ length: settings.receivers }, () => receiveLoop().catch(onFatal));
  return {
    async stop() {
      stopping.abort(new Error('the bridge is stopping'));
      await Promise.all(loops);
      await publisher.close();
    },
  };
}
