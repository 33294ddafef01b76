/** How a message of the SQS queue looks when Lambda has received it: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html */
import type { QueueMessage } from './port.ts';
import { sentAtOf, toReceipt } from './sqs-message.ts';

/** The fields that are read here. `SQSRecord` of `@types/aws-lambda` fits. */
export interface LambdaSqsRecord {
  readonly messageId: string;
  readonly receiptHandle: string;
  readonly body: string;
  readonly attributes: {
    readonly ApproximateReceiveCount: string;
    readonly SentTimestamp?: string | undefined;
    readonly MessageGroupId?: string | undefined;
  };
  readonly messageAttributes: Readonly<
    Record<string, { readonly stringValue?: string | undefined; readonly binaryValue?: string | undefined; readonly dataType: string }>
  >;
}

/** Of a message that came from a standard queue the group is empty. */
export function readLambdaRecord(record: LambdaSqsRecord): QueueMessage {
  const attributes: Record<string, string> = {};
  // Bytes come as base64, which is how the adapter's own receive keeps them.
  for (const [name, value] of Object.entries(record.messageAttributes)) attributes[name] = value.stringValue ?? value.binaryValue ?? '';
  return {
    group: record.attributes.MessageGroupId ?? '',
    body: record.body,
    attributes,
    receiveCount: Number(record.attributes.ApproximateReceiveCount),
    receipt: toReceipt(record.messageId, record.receiptHandle),
    ...sentAtOf(record.attributes.SentTimestamp),
  };
}
