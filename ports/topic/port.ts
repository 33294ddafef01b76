/**
 * The topic between the bridge and the applier.
 *
 * Duties of an adapter:
 * - `publish` sends the messages of one key as one request: they are all there, in order, or the call throws. After
 *   a throw some may be there. A caller has at most one publish of a key under way, and publishes the failed ones
 *   again before later ones of the key; then a subscriber sees each key in order, with duplicates at most.
 * - A subscription hands out the messages of a key in order. A message that was nacked, or whose lease ran out,
 *   comes again with every later one of its key behind it.
 * - Duplicates: allowed at any time.
 * - An ack is final once `stop` resolves; before that it may be lost, and the message comes again.
 */
export interface Publisher {
  readonly capabilities: TopicCapabilities;
  /** @throws PortUnavailableError; PortMisuseError for what breaks a limit. */
  publish(key: string, messages: readonly TopicMessage[]): Promise<void>;
  ping(): Promise<void>;
  /** Waits for publishes under way. */
  close(): Promise<void>;
}

export interface TopicCapabilities {
  /** Messages of one `publish`. */
  readonly maxBatchCount: number;
  /** Data and attributes of one `publish`, in bytes. */
  readonly maxBatchBytes: number;
  /** Of one attribute's value, in bytes. */
  readonly maxAttributeBytes: number;
}

export interface TopicMessage {
  readonly data: Buffer;
  readonly attributes: Readonly<Record<string, string>>;
}

export interface Subscriber {
  /**
   * Starts to hand out messages, never more than the limits say that are neither acked nor nacked. The handler
   * must not throw. Leases are extended until the handler acks or nacks.
   */
  start(handler: (delivery: Delivery) => void, limits: SubscriberLimits): void;
  /** Called with what went wrong while pulling; the adapter goes on trying by itself. Set before `start`. */
  onError(listener: (error: Error) => void): void;
  /** Hands out nothing more until `resume`, and pulls no more than its limits hold. What is out stays out, its lease extended. */
  pause(): void;
  resume(): void;
  ping(): Promise<void>;
  /**
   * Hands out nothing more, gives back what is out and neither acked nor nacked, so that it comes again to whoever pulls,
   * and resolves when acks given so far are sent, at the latest after `deadlineMs`.
   */
  stop(deadlineMs: number): Promise<void>;
}

export interface SubscriberLimits {
  readonly maxOutstandingMessages: number;
  readonly maxOutstandingBytes: number;
}

export interface Delivery {
  readonly key: string;
  readonly data: Buffer;
  readonly attributes: Readonly<Record<string, string>>;
  /** 1 at first; may be 1 again where the adapter does not count. */
  readonly attempt: number;
  /** When the topic took it, by the broker's clock: RFC 3339. Absent where the broker does not say. */
  readonly publishedAt?: string;
  /** Once, either of them. Later calls do nothing. */
  ack(): void;
  nack(): void;
}

/** One topic and the subscription that the appliers share. */
export interface Topic {
  publisher(): Publisher;
  subscriber(): Subscriber;
  /** Makes the topic and subscription if they are missing; changes nothing that is there. */
  provision(): Promise<void>;
}
