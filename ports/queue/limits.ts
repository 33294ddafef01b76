/**
 * What SQS takes. The embedded queue has the same limits, so that nothing runs on a laptop that the cloud would refuse.
 * Figures: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
 */
import { PortMisuseError } from '../errors.ts';
import type { QueueCapabilities, QueueEntry } from './port.ts';

const MEBIBYTE = 1024 * 1024;

export const SQS_CAPABILITIES: QueueCapabilities = Object.freeze({
  maxBatchCount: 10,
  // 1 MiB for one message and for a whole batch, since August 2025:
  // https://aws.amazon.com/about-aws/whats-new/2025/08/amazon-sqs-max-payload-size-1mib/
  maxMessageBytes: MEBIBYTE,
  maxBatchBytes: MEBIBYTE,
  maxVisibilityMs: 12 * 60 * 60 * 1000,
});

/** https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html */
export const MAX_ATTRIBUTES = 10;
/** A group id and a deduplication id: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html */
const ID_PATTERN = /^[\x21-\x7e]{1,128}$/;
const ATTRIBUTE_NAME_PATTERN = /^[A-Za-z0-9_.-]{1,256}$/;
/** Of an attribute that is text: its type's name counts towards the size. */
const ATTRIBUTE_TYPE = 'String';
/** Everything that XML 1.0 does not allow, a lone surrogate included. */
const NOT_XML = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u;

/** A message's size as SQS counts it: the body, and each attribute's name, type and value. */
export function entryBytes(entry: Pick<QueueEntry, 'body' | 'attributes'>): number {
  let bytes = Buffer.byteLength(entry.body);
  for (const [name, value] of Object.entries(entry.attributes)) bytes += name.length + ATTRIBUTE_TYPE.length + Buffer.byteLength(value);
  return bytes;
}

/** Why SQS refuses a body, as it would say it; undefined if it takes it. */
export function bodyFault(body: string): string | undefined {
  if (body.length === 0) return 'the body is empty';
  const found = NOT_XML.exec(body);
  if (!found) return undefined;
  const code = (found[0].codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');
  return `the body holds U+${code} at ${found.index}, which is none of XML's characters`;
}

/** @throws PortMisuseError when a call or an entry of it breaks a limit. */
export function checkSend(entries: readonly QueueEntry[], limits: QueueCapabilities): void {
  if (entries.length > limits.maxBatchCount)
    throw new PortMisuseError(`${entries.length} entries in one send; at most ${limits.maxBatchCount} are allowed`);
  let total = 0;
  for (const entry of entries) {
    const bytes = entryBytes(entry);
    total += bytes;
    if (bytes > limits.maxMessageBytes)
      throw new PortMisuseError(`a message of ${bytes} bytes; at most ${limits.maxMessageBytes} are allowed`, {
        group: entry.group,
        deduplicationId: entry.deduplicationId,
      });
    checkNames(entry);
  }
  if (total > limits.maxBatchBytes) throw new PortMisuseError(`a send of ${total} bytes; at most ${limits.maxBatchBytes} are allowed`);
}

function checkNames(entry: QueueEntry): void {
  for (const [name, id] of [
    ['group', entry.group],
    ['deduplicationId', entry.deduplicationId],
  ] as const) {
    if (!ID_PATTERN.test(id))
      throw new PortMisuseError(`${name} ${JSON.stringify(id.slice(0, 200))} is not 1 to 128 printable ASCII characters without spaces`);
  }
  const attributes = Object.entries(entry.attributes);
  if (attributes.length > MAX_ATTRIBUTES)
    throw new PortMisuseError(`a message with ${attributes.length} attributes; at most ${MAX_ATTRIBUTES} are allowed`);
  for (const [name, value] of attributes) {
    if (!ATTRIBUTE_NAME_PATTERN.test(name)) throw new PortMisuseError(`${JSON.stringify(name)} cannot be an attribute's name`);
    if (value === '' || NOT_XML.test(value))
      throw new PortMisuseError(`attribute ${name} is empty or holds a character that XML does not allow`);
  }
}

/** @throws PortMisuseError */
export function checkReceive(options: { maxCount: number; visibilityMs: number }, limits: QueueCapabilities): void {
  const { maxCount, visibilityMs } = options;
  if (!Number.isInteger(maxCount) || maxCount < 1 || maxCount > limits.maxBatchCount)
    throw new PortMisuseError(`receive of ${maxCount} messages; expected 1 to ${limits.maxBatchCount}`);
  checkVisibility(visibilityMs, limits);
}

/** @throws PortMisuseError */
export function checkVisibility(visibilityMs: number, limits: QueueCapabilities): void {
  if (!(visibilityMs >= 0 && visibilityMs <= limits.maxVisibilityMs))
    throw new PortMisuseError(`a visibility of ${visibilityMs} ms; expected 0 to ${limits.maxVisibilityMs}`);
}
