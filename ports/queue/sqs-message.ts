/** Between a queue message and what SQS calls one; and what its errors mean. */
import type { Message, MessageAttributeValue } from '@aws-sdk/client-sqs';
import { entryBytes, MAX_ATTRIBUTES, SQS_CAPABILITIES } from './limits.ts';
import type { DeadLetter, QueueMessage } from './port.ts';

/** Attributes that a dead-lettered message has besides its own. */
const REASON_ATTRIBUTE = 'spanwayReason';
/** A foreign message's attributes that found no room of their own, as JSON. */
const OTHERS_ATTRIBUTE = 'spanwayOtherAttributes';
const MAX_REASON_LENGTH = 2_000;

export function toMessageAttributes(attributes: Readonly<Record<string, string>>): Record<string, MessageAttributeValue> {
  return Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, { DataType: 'String', StringValue: value }]));
}

export function toMessage(message: Message): QueueMessage {
  const attributes: Record<string, string> = {};
  for (const [name, value] of Object.entries(message.MessageAttributes ?? {})) {
    // Spanway sends text only; what another sender put as bytes is kept readable for the dead-letter queue.
    attributes[name] = value.StringValue ?? Buffer.from(value.BinaryValue ?? []).toString('base64');
  }
  return {
    group: message.Attributes?.MessageGroupId ?? '',
    body: message.Body ?? '',
    attributes,
    receiveCount: Number(message.Attributes?.ApproximateReceiveCount ?? 1),
    receipt: toReceipt(message.MessageId ?? '', message.ReceiptHandle ?? ''),
    ...sentAtOf(message.Attributes?.SentTimestamp),
  };
}

/** From `SentTimestamp`: milliseconds since 1970, of the queue that the message is in. */
export function sentAtOf(timestamp: string | undefined): Pick<QueueMessage, 'sentAt'> {
  return timestamp === undefined ? {} : { sentAt: new Date(Number(timestamp)).toISOString() };
}

export function toReceipt(id: string, handle: string): string {
  return `${id} ${handle}`;
}

export function readReceipt(message: QueueMessage): { id: string; handle: string } {
  const space = message.receipt.indexOf(' ');
  return { id: message.receipt.slice(0, space), handle: message.receipt.slice(space + 1) };
}

/** The message's own attributes and the reason, within SQS's ten; the body must fit too, so the least needed goes first. */
export function deadLetterAttributes(message: QueueMessage, reason: string): Record<string, string> {
  // SQS takes no empty value and XML's characters only.
  const text = reason.replace(/[^\t\n\r -~]/g, '?').slice(0, MAX_REASON_LENGTH) || 'none given';
  const own = Object.entries(message.attributes);
  const entries = [...own, [REASON_ATTRIBUTE, text] as const];
  if (entries.length > MAX_ATTRIBUTES) {
    const others = entries.splice(MAX_ATTRIBUTES - 2, own.length - (MAX_ATTRIBUTES - 2));
    entries.push([OTHERS_ATTRIBUTE, JSON.stringify(Object.fromEntries(others))]);
  }
  // A foreign message may fill SQS's limit by itself: its body matters most, then the reason, then its attributes.
  const fits = () => entryBytes({ body: message.body, attributes: Object.fromEntries(entries) }) <= SQS_CAPABILITIES.maxMessageBytes;
  while (entries.length > 0 && !fits()) {
    const expendable = entries.findLastIndex(([name]) => name !== REASON_ATTRIBUTE);
    entries.splice(Math.max(expendable, 0), 1);
  }
  return Object.fromEntries(entries);
}

/** A message of the dead-letter queue, with what `deadLetterAttributes` made read back. */
export function toDeadLetter(message: QueueMessage): DeadLetter {
  const { [REASON_ATTRIBUTE]: reason = 'none given', [OTHERS_ATTRIBUTE]: others, ...attributes } = message.attributes;
  return {
    id: readReceipt(message).id,
    group: message.group,
    body: message.body,
    attributes: { ...attributes, ...(others === undefined ? {} : (JSON.parse(others) as Record<string, string>)) },
    reason,
    deadAt: message.sentAt ?? new Date(0).toISOString(),
  };
}

/**
 * Whether an error of the SDK says for certain that nothing was done: SQS answered a 4xx to the only try. A time-out, a
 * lost connection, a 5xx, or a refusal that followed another try say nothing of the kind.
 * https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html
 */
export function isDefiniteRefusal(cause: unknown): boolean {
  const metadata = (cause as { $metadata?: { httpStatusCode?: number; attempts?: number } }).$metadata;
  const status = metadata?.httpStatusCode;
  return status !== undefined && status >= 400 && status < 500 && status !== 408 && (metadata?.attempts ?? 1) === 1;
}
