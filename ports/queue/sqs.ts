/** The queue on Amazon SQS, FIFO: `sqs:QUEUE_URL`. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  ChangeMessageVisibilityBatchCommand,
  CreateQueueCommand,
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  QueueDoesNotExist,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SendMessageCommand,
  type BatchResultErrorEntry,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import type { Provisionable } from '../adapter.ts';
import { REQUEST_TIMEOUT_MS } from '../aws.ts';
import { type BackoffSettings, pauseMs } from '../backoff.ts';
import { PortUnavailableError } from '../errors.ts';
import { checkReceive, checkSend, checkVisibility, SQS_CAPABILITIES } from './limits.ts';
import type { DeadLetter, HoldsDeadLetters, Queue, QueueEntry, QueueMessage, ReceiveOptions, SendResult } from './port.ts';
import { makeClient, readSqsUrl, type SqsConfig } from './sqs-config.ts';
import { deadLetterAttributes, isDefiniteRefusal, readReceipt, toDeadLetter, toMessage, toMessageAttributes } from './sqs-message.ts';

/** Of one ReceiveMessage: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html */
const MAX_WAIT_SECONDS = 20;
/** How long SQS answers a repeated ReceiveRequestAttemptId with the same messages; the same page. */
const ATTEMPT_ID_LIFE_MS = 5 * 60 * 1000;
/** Rounds of DeleteMessageBatch and ChangeMessageVisibilityBatch for the entries SQS could not do. */
const BATCH_ROUNDS = 4;
const BATCH_BACKOFF: BackoffSettings = { minMs: 100, maxMs: 400 };
/** How long close waits for receives that were given up, whose answers would otherwise hide messages. */
const CLOSE_GRACE_MS = 2_000;
/** The longest that SQS keeps a message: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html */
const RETENTION_SECONDS = 14 * 24 * 60 * 60;

/** How long a visit waits for one more dead letter, and how long it hides what it was shown, each time anew until it ends. */
const VISIT_WAIT_MS = 1_000;
const VISIT_MS = 120_000;

export async function open(url: URL): Promise<Queue & Provisionable & HoldsDeadLetters> {
  const config = readSqsUrl(url);
  return new SqsQueue(config, makeClient(config));
}

/** A receive whose answer was lost: what it took is hidden, and comes again to the same attempt id alone. */
interface LostAttempt {
  readonly id: string;
  readonly maxCount: number;
  readonly visibilitySeconds: number;
  readonly until: number;
}

class SqsQueue implements Queue, Provisionable, HoldsDeadLetters {
  readonly capabilities = SQS_CAPABILITIES;
  readonly #config: SqsConfig;
  readonly #client: SQSClient;
  readonly #closing = new AbortController();
  readonly #closed = new AbortController();
  readonly #underWay = new Set<Promise<unknown>>();
  #lost: LostAttempt[] = [];

  constructor(config: SqsConfig, client: SQSClient) {
    this.#config = config;
    this.#client = client;
  }

  async send(entries: readonly QueueEntry[]): Promise<readonly SendResult[]> {
    checkSend(entries, this.capabilities);
    if (entries.length === 0) return [];
    const command = new SendMessageBatchCommand({
      QueueUrl: this.#config.queueUrl,
      Entries: entries.map((entry, index) => ({
        Id: String(index),
        MessageGroupId: entry.group,
        MessageDeduplicationId: entry.deduplicationId,
        MessageBody: entry.body,
        MessageAttributes: toMessageAttributes(entry.attributes),
      })),
    });
    try {
      const answer = await this.#track(this.#client.send(command));
      const sent = new Set(answer.Successful?.map((entry) => entry.Id));
      const failed = new Map(answer.Failed?.map((entry) => [entry.Id, entry]));
      return entries.map((_, index) => (sent.has(String(index)) ? { status: 'ok' } : toFailure(failed.get(String(index)))));
    } catch (cause) {
      const error = unavailable('send', cause);
      const status = isDefiniteRefusal(cause) ? 'failed' : 'unknown';
      return entries.map(() => ({ status, error }));
    }
  }

  async receive(options: ReceiveOptions): Promise<readonly QueueMessage[]> {
    checkReceive(options, this.capabilities);
    const signal = options.signal ? AbortSignal.any([options.signal, this.#closing.signal]) : this.#closing.signal;
    const deadline = performance.now() + options.waitMs;
    for (;;) {
      if (signal.aborted) return [];
      // SQS waits whole seconds. A wait of none asks only some of its servers and may miss a message, so it rounds up.
      const leftSeconds = Math.max(0, Math.ceil((deadline - performance.now()) / 1000));
      const messages = await this.#receiveOnce(options, Math.min(leftSeconds, MAX_WAIT_SECONDS), signal);
      if (messages.length > 0 || leftSeconds <= MAX_WAIT_SECONDS) return messages;
    }
  }

  async #receiveOnce(options: ReceiveOptions, waitSeconds: number, signal: AbortSignal): Promise<readonly QueueMessage[]> {
    const attempt = this.#nextAttempt(options.maxCount, toSeconds(options.visibilityMs));
    const call = this.#track(
      this.#client.send(
        new ReceiveMessageCommand({
          QueueUrl: this.#config.queueUrl,
          MaxNumberOfMessages: options.maxCount,
          WaitTimeSeconds: waitSeconds,
          VisibilityTimeout: attempt.visibilitySeconds,
          // The SDK's own retries send it again, and so does the next receive after a lost answer.
          ReceiveRequestAttemptId: attempt.id,
          MessageAttributeNames: ['All'],
          MessageSystemAttributeNames: ['ApproximateReceiveCount', 'MessageGroupId', 'SentTimestamp'],
        }),
        { requestTimeout: waitSeconds * 1000 + REQUEST_TIMEOUT_MS, abortSignal: this.#closed.signal },
      ),
    ).then(
      (answer) => (answer.Messages ?? []).map(toMessage),
      (cause: unknown) => {
        if (!isDefiniteRefusal(cause)) this.#lost.push(attempt);
        throw unavailable('receive', cause);
      },
    );
    const aborted = whenAborted(signal);
    try {
      const messages = await Promise.race([call, aborted.promise]);
      if (messages) return messages;
    } finally {
      aborted.release();
    }
    // Tearing the request down would hide what SQS is about to answer until it is visible again. So the answer is
    // awaited in the background, and given back.
    void this.#track(call.then((messages) => (messages.length > 0 ? this.extend(messages, 0) : undefined))).catch(() => {});
    return [];
  }

  #nextAttempt(maxCount: number, visibilitySeconds: number): LostAttempt {
    const now = Date.now();
    this.#lost = this.#lost.filter((lost) => lost.until > now);
    const again = this.#lost.findIndex((lost) => lost.maxCount === maxCount && lost.visibilitySeconds === visibilitySeconds);
    const [lost] = again < 0 ? [] : this.#lost.splice(again, 1);
    // The id's life starts with its first use and is not renewed. After the visibility timeout the messages are
    // anybody's, and the id is refused.
    return lost ?? { id: randomUUID(), maxCount, visibilitySeconds, until: now + Math.min(ATTEMPT_ID_LIFE_MS, visibilitySeconds * 1000) };
  }

  async delete(messages: readonly QueueMessage[]): Promise<void> {
    const failed = await this.#inBatches('delete', messages, (batch) =>
      this.#client.send(
        new DeleteMessageBatchCommand({
          QueueUrl: this.#config.queueUrl,
          Entries: batch.map((message, index) => ({ Id: String(index), ReceiptHandle: readReceipt(message).handle })),
        }),
      ),
    );
    const [first] = failed;
    if (first && failed.length === messages.length) throw first;
  }

  async extend(messages: readonly QueueMessage[], visibilityMs: number): Promise<void> {
    checkVisibility(visibilityMs, this.capabilities);
    const failed = await this.#inBatches('extend', messages, (batch) =>
      this.#client.send(
        new ChangeMessageVisibilityBatchCommand({
          QueueUrl: this.#config.queueUrl,
          Entries: batch.map((message, index) => ({
            Id: String(index),
            ReceiptHandle: readReceipt(message).handle,
            VisibilityTimeout: toSeconds(visibilityMs),
          })),
        }),
      ),
    );
    const [first] = failed;
    if (first) throw first;
  }

  /**
   * Calls for ten messages at a time, and again for the entries SQS could not do. Answers an error per message that
   * was left over. A sender's fault is no error: such a message was deleted, or its visibility ran out and its receipt
   * with it, so there is nothing left to do here and it comes again if it is there.
   */
  async #inBatches(
    call: string,
    messages: readonly QueueMessage[],
    request: (batch: readonly QueueMessage[]) => Promise<{ Failed?: BatchResultErrorEntry[] | undefined }>,
  ): Promise<PortUnavailableError[]> {
    const batches: (readonly QueueMessage[])[] = [];
    for (let at = 0; at < messages.length; at += SQS_CAPABILITIES.maxBatchCount)
      batches.push(messages.slice(at, at + SQS_CAPABILITIES.maxBatchCount));
    const one = async (batch: readonly QueueMessage[]): Promise<PortUnavailableError[]> => {
      let left = batch;
      for (let round = 1; ; round += 1) {
        let error: PortUnavailableError;
        try {
          const failed = ((await request(left)).Failed ?? []).filter((entry) => entry.SenderFault !== true);
          if (failed.length === 0) return [];
          error = unavailable(call, new Error(`${failed[0]?.Code ?? 'no code'}: ${failed[0]?.Message ?? 'no message'}`));
          left = left.filter((_, index) => failed.some((entry) => entry.Id === String(index)));
        } catch (cause) {
          // The SDK has tried a whole call several times already.
          return left.map(() => unavailable(call, cause));
        }
        if (round === BATCH_ROUNDS) return left.map(() => error);
        await sleep(pauseMs(BATCH_BACKOFF, round));
      }
    };
    return (await this.#track(Promise.all(batches.map(one)))).flat();
  }

  async deadLetter(message: QueueMessage, reason: string): Promise<void> {
    try {
      await this.#track(
        this.#client.send(
          new SendMessageCommand({
            QueueUrl: this.#config.deadLetterUrl,
            MessageGroupId: message.group,
            // The same at every try, so that one message is parked once.
            MessageDeduplicationId: readReceipt(message).id,
            MessageBody: message.body,
            MessageAttributes: toMessageAttributes(deadLetterAttributes(message, reason)),
          }),
        ),
      );
    } catch (cause) {
      throw unavailable('deadLetter', cause);
    }
    await this.delete([message]);
  }

  async visitDeadLetters(judge: (letters: readonly DeadLetter[]) => Promise<readonly boolean[]>): Promise<void> {
    const letters = new SqsQueue({ ...this.#config, queueUrl: this.#config.deadLetterUrl }, this.#client);
    /** What is being judged or was kept, by id, under its last receipt. */
    const held = new Map<string, QueueMessage>();
    const extend = (visibilityMs: number): void => {
      if (held.size > 0) underWay = underWay.then(() => letters.extend([...held.values()], visibilityMs)).catch(() => undefined);
    };
    let underWay = Promise.resolve();
    const timer = setInterval(extend, VISIT_MS / 2, VISIT_MS);
    try {
      for (;;) {
        const messages = await letters.receive({ maxCount: 10, waitMs: VISIT_WAIT_MS, visibilityMs: VISIT_MS });
        if (messages.length === 0) return;
        const unseen = messages.filter((message) => !held.has(readReceipt(message).id));
        for (const message of messages) held.set(readReceipt(message).id, message);
        // One that was not extended in time comes again: it has been judged.
        if (unseen.length === 0) continue;
        const done = await judge(unseen.map(toDeadLetter));
        const gone = unseen.filter((_, i) => done[i] === true);
        for (const message of gone) held.delete(readReceipt(message).id);
        if (gone.length > 0) await letters.delete(gone);
      }
    } finally {
      clearInterval(timer);
      // What was kept would come into view by itself when its time is over.
      extend(0);
      await underWay;
    }
  }

  async ping(): Promise<void> {
    try {
      await this.#track(
        this.#client.send(new GetQueueAttributesCommand({ QueueUrl: this.#config.queueUrl, AttributeNames: ['QueueArn'] })),
      );
    } catch (cause) {
      throw unavailable('ping', cause);
    }
  }

  /**
   * High-throughput FIFO: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/high-throughput-fifo.html
   *
   * There is no redrive policy on purpose. SQS would move a message after so many receives whatever the cause, so an
   * outage of the topic would move ordered traffic out of its order. Only `deadLetter` parks, for what can never be
   * forwarded.
   */
  async provision(): Promise<void> {
    await this.#provisionQueue(this.#config.deadLetterUrl, this.#config.deadLetterName);
    await this.#provisionQueue(this.#config.queueUrl, this.#config.queueName);
  }

  async #provisionQueue(url: string, name: string): Promise<void> {
    try {
      await this.#client.send(new GetQueueAttributesCommand({ QueueUrl: url, AttributeNames: ['QueueArn'] }));
      return;
    } catch (cause) {
      if (!(cause instanceof QueueDoesNotExist)) throw unavailable('provision', cause);
    }
    try {
      await this.#client.send(
        new CreateQueueCommand({
          QueueName: name,
          Attributes: {
            FifoQueue: 'true',
            DeduplicationScope: 'messageGroup',
            FifoThroughputLimit: 'perMessageGroupId',
            MessageRetentionPeriod: String(RETENTION_SECONDS),
          },
        }),
      );
    } catch (cause) {
      throw unavailable('provision', cause);
    }
  }

  async close(): Promise<void> {
    this.#closing.abort();
    const grace = new AbortController();
    await Promise.race([Promise.allSettled(this.#underWay), sleep(CLOSE_GRACE_MS, undefined, { signal: grace.signal }).catch(() => {})]);
    grace.abort();
    // Without it the SDK would take the broken connections of the last receives for lost ones, and send them again.
    this.#closed.abort();
    this.#client.destroy();
  }

  #track<T>(call: Promise<T>): Promise<T> {
    const tracked = call.finally(() => this.#underWay.delete(tracked));
    this.#underWay.add(tracked);
    return tracked;
  }
}

/** SQS counts visibility in whole seconds; rounded up, so that a message never comes again too early. */
function toSeconds(ms: number): number {
  return Math.ceil(ms / 1000);
}

function toFailure(entry: BatchResultErrorEntry | undefined): SendResult {
  const error = new PortUnavailableError(
    'queue',
    `send: the entry failed: ${entry?.Code ?? 'no code'}: ${entry?.Message ?? 'no answer for it'}`,
  );
  return { status: entry?.SenderFault === true ? 'failed' : 'unknown', error };
}

function whenAborted(signal: AbortSignal): { promise: Promise<undefined>; release: () => void } {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const listener = () => resolve(undefined);
  signal.addEventListener('abort', listener, { once: true });
  return { promise, release: () => signal.removeEventListener('abort', listener) };
}

function unavailable(call: string, cause: unknown): PortUnavailableError {
  return new PortUnavailableError('queue', `${call} failed: ${(cause as Error).name}: ${(cause as Error).message}`, { cause });
}
