/**
 * What Pub/Sub takes. The embedded topic has the same limits, so that nothing runs on a laptop that the cloud would refuse.
 * Figures: https://cloud.google.com/pubsub/quotas#resource_limits
 */
import { PortMisuseError } from '../errors.ts';
import type { SubscriberLimits, TopicCapabilities, TopicMessage } from './port.ts';

export const PUBSUB_CAPABILITIES: TopicCapabilities = Object.freeze({
  maxBatchCount: 1_000,
  // A request may have 10 MB. 9 MiB, where the Node client stops too, leaves room for what each message adds to it:
  // its key and its fields' tags.
  maxBatchBytes: 9 * 1024 * 1024,
  maxAttributeBytes: 1_024,
});

const MAX_KEY_BYTES = 1_024;
const MAX_ATTRIBUTES = 100;
const MAX_ATTRIBUTE_NAME_BYTES = 256;

export function messageBytes(message: TopicMessage): number {
  let bytes = message.data.length;
  for (const [name, value] of Object.entries(message.attributes)) bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  return bytes;
}

/** @throws PortMisuseError when a publish or a message of it breaks a limit. */
export function checkPublish(key: string, messages: readonly TopicMessage[], limits: TopicCapabilities): void {
  if (key === '' || Buffer.byteLength(key) > MAX_KEY_BYTES)
    throw new PortMisuseError(`a key of ${Buffer.byteLength(key)} bytes; expected 1 to ${MAX_KEY_BYTES}`);
  if (messages.length > limits.maxBatchCount)
    throw new PortMisuseError(`${messages.length} messages in one publish; at most ${limits.maxBatchCount} are allowed`, { key });
  let total = 0;
  for (const message of messages) {
    total += messageBytes(message);
    checkAttributes(message, key, limits);
  }
  if (total > limits.maxBatchBytes)
    throw new PortMisuseError(`a publish of ${total} bytes; at most ${limits.maxBatchBytes} are allowed`, { key });
}

function checkAttributes(message: TopicMessage, key: string, limits: TopicCapabilities): void {
  const attributes = Object.entries(message.attributes);
  // https://cloud.google.com/pubsub/docs/reference/rest/v1/PubsubMessage
  if (message.data.length === 0 && attributes.length === 0)
    throw new PortMisuseError('a message with neither data nor attributes', { key });
  if (attributes.length > MAX_ATTRIBUTES)
    throw new PortMisuseError(`a message with ${attributes.length} attributes; at most ${MAX_ATTRIBUTES} are allowed`, { key });
  for (const [name, value] of attributes) {
    const nameBytes = Buffer.byteLength(name);
    if (nameBytes === 0 || nameBytes > MAX_ATTRIBUTE_NAME_BYTES || name.startsWith('goog'))
      throw new PortMisuseError(`${JSON.stringify(name.slice(0, 300))} cannot be an attribute's name`, { key });
    if (Buffer.byteLength(value) > limits.maxAttributeBytes)
      throw new PortMisuseError(
        `attribute ${name} has ${Buffer.byteLength(value)} bytes; at most ${limits.maxAttributeBytes} are allowed`,
        { key },
      );
  }
}

/** How much a subscriber has handed out that is neither acked nor nacked. */
export class Outstanding {
  readonly #limits: SubscriberLimits;
  #messages = 0;
  #bytes = 0;

  constructor(limits: SubscriberLimits) {
    this.#limits = limits;
  }

  get messages(): number {
    return this.#messages;
  }

  /** A message larger than the byte limit goes out when it is the only one, for else it never would. */
  hasRoom(bytes: number): boolean {
    if (this.#messages === 0) return true;
    return this.#messages < this.#limits.maxOutstandingMessages && this.#bytes + bytes <= this.#limits.maxOutstandingBytes;
  }

  add(bytes: number): void {
    this.#messages += 1;
    this.#bytes += bytes;
  }

  remove(bytes: number): void {
    this.#messages -= 1;
    this.#bytes -= bytes;
  }
}
