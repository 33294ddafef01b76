/**
 * The bridge: packs from the queue to the topic as they are, in order per shard. A message is deleted only after
 * the topic has acknowledged it, so a crash at any instruction makes duplicates and loses nothing.
 */
import type { Logger } from 'pino';
import type { Queue, QueueMessage } from '../../ports/queue/port.ts';
import type { Publisher } from '../../ports/topic/port.ts';
import { type BackoffSettings, untilPasses } from '../../ports/backoff.ts';
import { Deletes } from './deletes.ts';
import { byShard, type Forwarding, forwardShard } from './forward.ts';

/** How long a receive leaves messages to gather while others are being forwarded. */
const GATHER_MS = 10;

export interface BridgeSettings {
  /** Batches at once, each from its receive until it is forwarded. In flight are at most this many times the queue's batch. */
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

  /** Whether a receive is under way; and how many batches are, from their receive until they are forwarded. */
  let isReceiving = false;
  let busy = 0;
  /** The last receive was full, so there is more. */
  let more = false;
  /** What came since the last receive has had its time to gather. */
  let gathered = true;
  let failed = false;
  const rounds = new Set<Promise<void>>();

  /**
   * One receive at a time, and beside what is being forwarded only where there is more, or some may have gathered: small
   * ones cost as much as full ones.
   */
  function receiveMore(): void {
    const isDue = !isReceiving && (busy === 0 || gathered || more);
    if (signal.aborted || failed || !isDue || busy >= settings.receivers) return;
    const round = receiveAndForward()
      .catch((error: unknown) => {
        failed = true;
        onFatal(error);
      })
      .finally(() => {
        busy -= 1;
        rounds.delete(round);
        receiveMore();
      });
    rounds.add(round);
  }

  async function receiveAndForward(): Promise<void> {
    busy += 1;
    isReceiving = true;
    const messages = await receive().finally(() => (isReceiving = false));
    more = messages.length === queue.capabilities.maxBatchCount;
    if (messages.length === 0) return;
    gathered = false;
    // A shard that has to wait for the topic holds up no other.
    setTimeout(() => {
      gathered = true;
      receiveMore();
    }, GATHER_MS);
    receiveMore();
    await forward(messages);
  }

  function receive(): Promise<readonly QueueMessage[]> {
    return untilPasses(
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

  receiveMore();
  return {
    async stop() {
      stopping.abort(new Error('the bridge is stopping'));
      await Promise.all(rounds);
      await publisher.close();
    },
  };
}
