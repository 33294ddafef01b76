/**
 * The bridge: packs from the queue to the topic as they are, in order per shard. A message is deleted only after
 * the topic has acknowledged it, so a crash at any instruction makes duplicates and loses nothing.
 */
import type { Logger } from 'pino';
import type { Queue, QueueMessage } from '../../ports/queue/port.ts';
import type { Publisher, TopicMessage } from '../../ports/topic/port.ts';
import { correlationIdsIn, readPackAttributes } from '../../schemas/envelope/pack.ts';
import { type BackoffSettings, untilPasses } from '../backoff.ts';

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

  /** All that one receive gave, each shard in its order. */
  async function forward(messages: readonly QueueMessage[]): Promise<void> {
    const held = new Set(messages);
    const heartbeat = setInterval(() => {
      queue
        .extend([...held], settings.visibilityMs)
        .catch((err: unknown) => log.warn({ err }, 'cannot extend the visibility of messages under way'));
    }, settings.visibilityMs / 2);
    try {
      await Promise.all(
        [...Map.groupBy(messages, (m) => m.group).values()].map(async (ofShard) => {
          await forwardShard(ofShard);
          for (const message of ofShard) held.delete(message);
        }),
      );
    } finally {
      clearInterval(heartbeat);
    }
  }

  async function forwardShard(messages: readonly QueueMessage[]): Promise<void> {
    const rest = [...messages];
    try {
      while (rest.length > 0) {
        const run = nextRun(rest, publisher.capabilities);
        if (run.misfit === undefined) await publish(run.messages);
        else await park(run.messages[0] as QueueMessage, run.misfit);
        rest.splice(0, run.messages.length);
      }
    } catch (err) {
      if (!signal.aborted) log.error({ err, shard: messages[0]?.group }, 'could not forward packs; they come again');
      // Given back at once, so that whoever receives next need not wait out the visibility timeout.
      await queue.extend(rest, 0).catch((error: unknown) => log.warn({ err: error }, 'could not give messages back to the queue'));
    }
  }

  async function publish(messages: readonly QueueMessage[]): Promise<void> {
    const shard = messages[0]?.attributes['shard'] ?? '';
    const packs = messages.map((m): TopicMessage => ({ data: Buffer.from(m.body), attributes: m.attributes }));
    await untilPasses(() => publisher.publish(shard, packs), {
      signal,
      backoff: settings.backoff,
      onFailure: (err, attempt) => log.warn({ err, attempt, shard }, 'cannot publish to the topic; trying again in order'),
    });
    if (log.isLevelEnabled('info')) {
      for (const m of messages) log.info({ shard, correlationIds: correlationIdsIn(m.body), receiveCount: m.receiveCount }, 'bridged');
    }
    await queue
      .delete(messages)
      .catch((err: unknown) => log.warn({ err, shard }, 'could not delete forwarded messages; they come again as duplicates'));
  }

  async function park(message: QueueMessage, reason: string): Promise<void> {
    log.error({ group: message.group, reason }, 'a message is no pack; moving it to the dead-letter queue');
    await untilPasses(() => queue.deadLetter(message, reason), {
      signal,
      backoff: settings.backoff,
      onFailure: (err, attempt) => log.warn({ err, attempt }, 'cannot move a message to the dead-letter queue; trying again'),
    });
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

/** The longest start of `messages` that one publish takes; or the first alone, where it is no pack, with the reason. */
function nextRun(
  messages: readonly QueueMessage[],
  limits: { readonly maxBatchCount: number; readonly maxBatchBytes: number },
): { readonly messages: readonly QueueMessage[]; readonly misfit?: string } {
  const run: QueueMessage[] = [];
  let bytes = 0;
  for (const message of messages) {
    const attributes = readPackAttributes(message.attributes);
    const misfit =
      typeof attributes === 'string'
        ? attributes
        : attributes.shard === message.group
          ? undefined
          : `shard ${attributes.shard} came in group ${message.group}`;
    if (misfit !== undefined) return run.length > 0 ? { messages: run } : { messages: [message], misfit };
    bytes += Buffer.byteLength(message.body) + MESSAGE_OVERHEAD_BYTES;
    if (run.length === limits.maxBatchCount || (run.length > 0 && bytes > limits.maxBatchBytes)) break;
    run.push(message);
  }
  return { messages: run };
}

/** Attributes and framing of one message in a publish request, in bytes: more than a pack's ever take. */
const MESSAGE_OVERHEAD_BYTES = 1024;
