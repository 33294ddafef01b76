/**
 * What the bridge does with messages, however they reach it (a process that receives, a Lambda that is invoked):
 * packs go to the topic as they are, each shard in its order, and what is no pack goes to the dead-letter queue.
 * Whoever calls deletes what was published, and only that.
 */
import type { Logger } from 'pino';
import type { QueueMessage } from '../../ports/queue/port.ts';
import type { Publisher, TopicCapabilities, TopicMessage } from '../../ports/topic/port.ts';
import { correlationIdsIn, QUEUED_AT, readPackAttributes } from '../../schemas/envelope/pack.ts';
import { type BackoffSettings, untilPasses } from '../../ports/backoff.ts';
import { PortMisuseError } from '../../ports/errors.ts';

export interface Forwarding {
  readonly publisher: Publisher;
  /** Moves a message that can never be forwarded to where people find it, with the reason, and deletes it. */
  readonly deadLetter: (message: QueueMessage, reason: string) => Promise<void>;
  readonly log: Logger;
  readonly backoff: BackoffSettings;
}

export interface Progress {
  /** Ends the retries. What is under way then still counts if it passes. */
  readonly signal: AbortSignal;
  /** The topic has them, so they may be deleted now. */
  readonly published: (messages: readonly QueueMessage[]) => void;
  /** The dead-letter queue has it, and the queue no longer. */
  readonly parked: (message: QueueMessage) => void;
}

/** The messages of one receive by shard, each in its order. */
export function byShard(messages: readonly QueueMessage[]): readonly (readonly QueueMessage[])[] {
  return [...Map.groupBy(messages, (message) => message.group).values()];
}

/**
 * Forwards one shard's messages in order. Answers what did not get through: nothing, or the message that failed and
 * every later one, since none may overtake it.
 */
export async function forwardShard(
  parts: Forwarding,
  messages: readonly QueueMessage[],
  { signal, published, parked }: Progress,
): Promise<readonly QueueMessage[]> {
  const { publisher, log } = parts;
  let left = messages;
  let maxRun = publisher.capabilities.maxBatchCount;
  try {
    while (left.length > 0) {
      const run = nextRun(left, maxRun, publisher.capabilities.maxBatchBytes);
      const refusal = run.misfit ?? (await publish(parts, run.messages, signal));
      if (refusal === undefined) {
        published(run.messages);
      } else if (run.messages.length > 1) {
        // One of several that no topic takes: found by publishing them one by one.
        maxRun = 1;
        continue;
      } else {
        const message = run.messages[0] as QueueMessage;
        await park(parts, message, refusal, signal);
        parked(message);
      }
      left = left.slice(run.messages.length);
    }
  } catch (err) {
    if (!signal.aborted) log.error({ err, shard: left[0]?.group }, 'could not forward packs; they come again');
  }
  return left;
}

/** Tries until the topic has them all. Answers why no topic will ever take them, if that is so. */
async function publish(
  { publisher, log, backoff }: Forwarding,
  messages: readonly QueueMessage[],
  signal: AbortSignal,
): Promise<string | undefined> {
  const shard = messages[0]?.group ?? '';
  const packs = messages.map(({ body, attributes, sentAt }): TopicMessage => ({
    data: Buffer.from(body),
    attributes: sentAt === undefined ? attributes : { ...attributes, [QUEUED_AT]: sentAt },
  }));
  let passed = false as boolean;
  const attempt = async (): Promise<void> => {
    await publisher.publish(shard, packs);
    passed = true;
  };
  try {
    await untilPasses(attempt, {
      signal,
      backoff,
      when: (error) => !(error instanceof PortMisuseError),
      onFailure: (err, count) => log.warn({ err, attempt: count, shard }, 'cannot publish to the topic; trying again in order'),
    });
  } catch (error) {
    if (error instanceof PortMisuseError) return error.message;
    // An end that comes with the answer does not unpublish: left undeleted, they would only come again as duplicates.
    if (!passed) throw error;
  }
  if (log.isLevelEnabled('info')) {
    for (const m of messages) log.info({ shard, correlationIds: correlationIdsIn(m.body), receiveCount: m.receiveCount }, 'bridged');
  }
  return undefined;
}

async function park({ deadLetter, log, backoff }: Forwarding, message: QueueMessage, reason: string, signal: AbortSignal): Promise<void> {
  log.error({ group: message.group, reason }, 'a message cannot be forwarded; moving it to the dead-letter queue');
  await untilPasses(() => deadLetter(message, reason), {
    signal,
    backoff,
    onFailure: (err, attempt) => log.warn({ err, attempt }, 'cannot move a message to the dead-letter queue; trying again'),
  });
}

/** The longest start of `messages` that one publish takes; or the first alone, where it is no pack, with the reason. */
function nextRun(
  messages: readonly QueueMessage[],
  maxCount: number,
  maxBytes: TopicCapabilities['maxBatchBytes'],
): { readonly messages: readonly QueueMessage[]; readonly misfit?: string } {
  let count = 0;
  let bytes = 0;
  for (const message of messages) {
    const misfit = misfitOf(message);
    if (misfit !== undefined && count === 0) return { messages: [message], misfit };
    bytes += Buffer.byteLength(message.body) + MESSAGE_OVERHEAD_BYTES;
    if (misfit !== undefined || count === maxCount || (count > 0 && bytes > maxBytes)) break;
    count += 1;
  }
  return { messages: messages.slice(0, count) };
}

function misfitOf(message: QueueMessage): string | undefined {
  const attributes = readPackAttributes(message.attributes);
  if (typeof attributes === 'string') return attributes;
  return attributes.shard === message.group ? undefined : `shard ${attributes.shard} came in group ${message.group}`;
}

/** Attributes and framing of one message in a publish request, in bytes: more than a pack's ever take. */
const MESSAGE_OVERHEAD_BYTES = 1024;
