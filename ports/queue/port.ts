/**
 * The queue between the gateway and the bridge.
 *
 * Duties of an adapter:
 * - Order: within a group, messages are handed out in the order in which their sends were acknowledged, and while
 *   one is out (received, not deleted, not yet visible again) no later one of its group is handed to anyone else.
 *   Groups are independent.
 * - Duplicates: allowed at any time. Two sends with one `deduplicationId` within five minutes may become one.
 * - Durability: a send that was answered `ok` survives the death of every process.
 * - Partial failure: `send` answers for each entry. `unknown` means the entry may be there; the caller must assume
 *   neither. An entry of a group is never queued ahead of an earlier entry of the same call that was answered `ok`.
 * - A message not deleted within its visibility timeout comes again, with every later one of its group behind it.
 */
export interface Queue extends QueueSender {
  /** Waits up to `waitMs` for the first message; an abort ends the wait and hands out nothing. Throws PortUnavailableError. */
  receive(options: ReceiveOptions): Promise<readonly QueueMessage[]>;
  /** Removes what was received, for good. Those it could not remove come again. Throws PortUnavailableError only if all failed. */
  delete(messages: readonly QueueMessage[]): Promise<void>;
  /** Sets the time until the messages are visible again, from now; 0 gives them back at once. Throws PortUnavailableError. */
  extend(messages: readonly QueueMessage[], visibilityMs: number): Promise<void>;
  /** Moves a message that can never be forwarded to the dead-letter queue, with the reason, and deletes it. */
  deadLetter(message: QueueMessage, reason: string): Promise<void>;
}

/** The half of a queue that fills it. */
export interface QueueSender {
  readonly capabilities: QueueCapabilities;
  /** Answers in the order of the entries. Throws PortMisuseError alone (too many entries, a body over the limit). */
  send(entries: readonly QueueEntry[]): Promise<readonly SendResult[]>;
  /** Resolves when the queue can be reached, else throws PortUnavailableError. */
  ping(): Promise<void>;
  /** Waits for calls under way and lets go of connections; messages that are out come again. */
  close(): Promise<void>;
}

export interface QueueCapabilities {
  /** Entries of one `send`, and messages of one `receive`. */
  readonly maxBatchCount: number;
  /** Body and attributes of one message, in bytes. */
  readonly maxMessageBytes: number;
  /** All bodies and attributes of one `send`, in bytes. */
  readonly maxBatchBytes: number;
  readonly maxVisibilityMs: number;
}

export interface QueueEntry {
  /** The unit of order: at most 128 characters. */
  readonly group: string;
  readonly deduplicationId: string;
  /** XML's characters only: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html */
  readonly body: string;
  readonly attributes: Readonly<Record<string, string>>;
}

export type SendResult = { readonly status: 'ok' } | { readonly status: 'failed' | 'unknown'; readonly error: Error };

export interface QueueMessage {
  readonly group: string;
  readonly body: string;
  readonly attributes: Readonly<Record<string, string>>;
  /** 1 at its first delivery. */
  readonly receiveCount: number;
  /** When the queue took it, by the broker's clock: RFC 3339. Absent where the broker does not say. */
  readonly sentAt?: string;
  /** The adapter's own handle on this delivery. */
  readonly receipt: string;
}

export interface ReceiveOptions {
  readonly maxCount: number;
  readonly waitMs: number;
  readonly visibilityMs: number;
  readonly signal?: AbortSignal;
}

/** Of an adapter whose dead letters can be read: for operators. */
export interface HoldsDeadLetters {
  /**
   * Shows the dead letters, those of a group in their order, a few at a time; `judge` says of each whether it is done
   * with, and then it is removed. The others stay. SQS hides what is shown while the visit lasts, and of a group shows
   * no more than ten that stay. Throws PortUnavailableError; what was judged before is removed or comes again.
   */
  visitDeadLetters(judge: (letters: readonly DeadLetter[]) => Promise<readonly boolean[]>): Promise<void>;
}

/** A message that `deadLetter` moved. */
export interface DeadLetter {
  /** Stable while the message is there. */
  readonly id: string;
  readonly group: string;
  readonly body: string;
  /** As they were on the queue. */
  readonly attributes: Readonly<Record<string, string>>;
  readonly reason: string;
  /** When it was moved, by the broker's clock; RFC 3339. */
  readonly deadAt: string;
}
