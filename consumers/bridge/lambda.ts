/**
 * The bridge as an AWS Lambda function on the queue's event source mapping: Lambda receives and deletes, this
 * publishes. It needs `ReportBatchItemFailures`, so that Lambda deletes what was published and nothing else:
 * https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting
 *
 * A message that failed fails what comes behind it in its group, and no other group: that keeps each shard's order.
 */
import type { QueueMessage } from '../../ports/queue/port.ts';
import { SpanwayError } from '../../schemas/errors.ts';
import { byShard, type Forwarding, forwardShard } from './forward.ts';

/** How much of the time Lambda gives is kept for the answer: what is not published by then is reported as failed. */
const ANSWER_MARGIN_MS = 1_000;

export interface BridgeHandlerParts<LambdaRecord extends IdentifiedRecord> extends Forwarding {
  /** How a record of the event reads as a message of the queue: of SQS, `readLambdaRecord`. */
  readonly readRecord: (record: LambdaRecord) => QueueMessage;
}

export interface IdentifiedRecord {
  readonly messageId: string;
}

/** The part of Lambda's context that counts here: https://docs.aws.amazon.com/lambda/latest/dg/nodejs-context.html */
export interface LambdaContext {
  getRemainingTimeInMillis(): number;
}

export interface BatchResponse {
  batchItemFailures: { itemIdentifier: string }[];
}

export type BridgeHandler<LambdaRecord extends IdentifiedRecord> = (
  event: { readonly Records: readonly LambdaRecord[] },
  context: LambdaContext,
) => Promise<BatchResponse>;

/** The function is wired to what is no FIFO queue: nothing was done, and Lambda gives the whole batch back. */
export class BridgeEventError extends SpanwayError {
  override readonly name = 'BridgeEventError';
  constructor(message: string, context: Record<string, unknown>) {
    super('bridge_event', message, { context });
  }
}

export function createBridgeHandler<LambdaRecord extends IdentifiedRecord>(
  parts: BridgeHandlerParts<LambdaRecord>,
): BridgeHandler<LambdaRecord> {
  const { readRecord, log } = parts;

  return async ({ Records: records }, context) => {
    const ids = new Map<QueueMessage, string>();
    for (const record of records) {
      const message = readRecord(record);
      // Else a standard queue's messages, which have no group, would all be taken for misfits and parked.
      if (message.group === '')
        throw new BridgeEventError('a message without a group: the event source must be the FIFO queue', { messageId: record.messageId });
      ids.set(message, record.messageId);
    }
    const pending = new Set(ids.keys());
    const settle = (messages: readonly QueueMessage[]): void => {
      for (const message of messages) pending.delete(message);
    };

    const timesUp = new AbortController();
    const { signal } = timesUp;
    const ended = Promise.withResolvers<undefined>();
    const end = (): void => {
      timesUp.abort(new Error("Lambda's time is running out"));
      ended.resolve(undefined);
    };
    const timer = setTimeout(end, Math.max(0, context.getRemainingTimeInMillis() - ANSWER_MARGIN_MS));
    const shards = byShard([...ids.keys()]).map((messages) =>
      forwardShard(parts, messages, { signal, published: settle, parked: (message) => settle([message]) }),
    );
    // The race is for a call that hangs: a late answer must not cost the whole batch.
    await Promise.race([Promise.all(shards), ended.promise]);
    clearTimeout(timer);
    if (signal.aborted) log.warn({ failed: pending.size }, 'out of time; what is not published comes again');
    return { batchItemFailures: [...pending].map((message) => ({ itemIdentifier: ids.get(message) ?? '' })) };
  };
}
