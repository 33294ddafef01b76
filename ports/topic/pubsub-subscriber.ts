/** The subscriber on Pub/Sub: streaming pull, with the port's own flow control and order on top of the client's. */
import { Duration, SubscriptionCloseBehaviors, type Message, type PubSub, type Subscription } from '@google-cloud/pubsub';
import { Outstanding } from './limits.ts';
import type { Delivery, Subscriber, SubscriberLimits } from './port.ts';
import { once, reached, unavailable, within, type PubsubConfig } from './pubsub-client.ts';

/**
 * Streams of one subscriber, 10 MB/s each (https://cloud.google.com/pubsub/quotas). Pub/Sub keeps a key on one stream
 * while any message of it is out. Measured on the emulator, 16 keys, received and acked a second: 1 stream 1,750,
 * 2 streams 2,900, 5 streams 5,600, 10 streams 8,500.
 */
const STREAMS = 10;
/** The client stops extending a lease after this long; the handler acks or nacks long before. */
const MAX_EXTENSION_HOURS = 24;
/** Acks are gathered this long for one request. */
const ACK_BATCH_MS = 10;
/** Pause before pulling again after the client has given up a stream, doubled at each failure in a row. */
const REOPEN_MS = 500;
const MAX_REOPEN_MS = 30_000;
/** How long a nacked message's key waits for it to come again before it goes on without it: another subscriber has it. */
const HOLD_MS = 10_000;
/** Of what is left of stop's deadline, the part the client's own close gets. */
const CLOSE_SHARE = 0.8;
const PING_TIMEOUT_MS = 10_000;
/** Statuses that end a stream in the normal course: DEADLINE_EXCEEDED, CANCELLED, OK. */
const ROUTINE_CODES = new Set<unknown>([0, 1, 4]);

/** A message that Pub/Sub has delivered here. `settled` once it is acked or nacked. */
interface Out {
  readonly message: Message;
  readonly key: string;
  readonly bytes: number;
  settled: boolean;
}

export class PubsubSubscriber implements Subscriber {
  readonly #pubsub: PubSub;
  readonly #config: PubsubConfig;
  /** Handed out and not settled, by key, in order. */
  readonly #out = new Map<string, Set<Out>>();
  /** Arrived, and waiting for room, in order. */
  #waiting: Out[] = [];
  /** By key, the message that was nacked and must come again first, and until when. */
  readonly #held = new Map<string, { id: string; until: number }>();
  #subscription: Subscription | undefined;
  #outstanding: Outstanding | undefined;
  #handler: ((delivery: Delivery) => void) | undefined;
  #report: (error: Error) => void = () => {};
  #failures = 0;
  #paused = false;
  #reopen: NodeJS.Timeout | undefined;
  #stopping: Promise<void> | undefined;

  constructor(pubsub: PubSub, config: PubsubConfig) {
    this.#pubsub = pubsub;
    this.#config = config;
  }

  onError(listener: (error: Error) => void): void {
    this.#report = listener;
  }

  start(handler: (delivery: Delivery) => void, limits: SubscriberLimits): void {
    if (this.#handler || this.#stopping) throw new Error('a subscriber is started once');
    this.#handler = handler;
    this.#outstanding = new Outstanding(limits);
    this.#pull(limits);
  }

  #pull(limits: SubscriberLimits): void {
    const lease = Duration.from({ seconds: this.#config.leaseSeconds });
    const subscription = this.#pubsub.subscription(this.#config.subscription, {
      // The server keeps to these by stream, and the client stops reading when it has so much. What comes beyond waits
      // here, not in the client: there, a message that arrives just as room appears overtakes those that wait
      // (lease-manager.js of 6.3.0, `remove`).
      flowControl: { maxMessages: limits.maxOutstandingMessages, maxBytes: limits.maxOutstandingBytes, allowExcessMessages: true },
      streamingOptions: { maxStreams: STREAMS },
      minAckDeadline: lease,
      maxAckDeadline: lease,
      maxExtensionTime: Duration.from({ hours: MAX_EXTENSION_HOURS }),
      batching: { maxMilliseconds: ACK_BATCH_MS },
      closeOptions: { behavior: SubscriptionCloseBehaviors.NackImmediately, timeout: Duration.from({ seconds: 1 }) },
    });
    this.#subscription = subscription;
    subscription.on('message', (message: Message) => this.#arrive(message));
    subscription.on('error', (error) => {
      if (this.#subscription === subscription) this.#report(unavailable('pull', error));
    });
    subscription.on('debug', (note) => {
      // Here the client tells of lost acks, and of streams that ended and that it opens again.
      const { error } = note;
      if (error && !ROUTINE_CODES.has((error as { code?: unknown }).code)) this.#report(unavailable('pull', error));
    });
    // The client gives up for good on what it thinks will not pass (NOT_FOUND, PERMISSION_DENIED, no connection).
    subscription.on('close', () => {
      if (this.#subscription === subscription && !this.#stopping) this.#pullAgain(limits);
    });
  }

  #pullAgain(limits: SubscriberLimits): void {
    // The client has nacked what it delivered. What was handed out stays with its handler and comes again besides.
    this.#subscription?.removeAllListeners('message');
    this.#waiting = [];
    this.#held.clear();
    const pauseMs = Math.min(REOPEN_MS * 2 ** this.#failures, MAX_REOPEN_MS) * (0.5 + Math.random() / 2);
    this.#failures += 1;
    this.#reopen = setTimeout(() => this.#pull(limits), pauseMs);
  }

  #arrive(message: Message): void {
    this.#failures = 0;
    const key = message.orderingKey ?? '';
    const held = this.#held.get(key);
    if (held) {
      // Sent before the server knew of the nack: it comes again behind the nacked one.
      if (held.id !== message.id && Date.now() < held.until) return message.nack();
      this.#held.delete(key);
    }
    let bytes = message.length;
    for (const [name, value] of Object.entries(message.attributes)) bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
    this.#waiting.push({ message, key, bytes, settled: false });
    this.#handOutWaiting();
  }

  #handOutWaiting(): void {
    for (;;) {
      const [out] = this.#waiting;
      if (!out || this.#paused || this.#stopping || !this.#outstanding?.hasRoom(out.bytes)) return;
      this.#waiting.shift();
      this.#outstanding.add(out.bytes);
      const ofKey = this.#out.get(out.key) ?? new Set<Out>();
      this.#out.set(out.key, ofKey.add(out));
      this.#handOut(out);
    }
  }

  #handOut(out: Out): void {
    const { message, key } = out;
    const delivery: Delivery = {
      key,
      data: message.data,
      attributes: message.attributes,
      // 0 where the subscription has no dead-letter topic and so does not count.
      attempt: message.deliveryAttempt || 1,
      ack: () => {
        if (out.settled) return;
        this.#settle(out);
        message.ack();
        this.#handOutWaiting();
      },
      nack: () => this.#nack(out),
    };
    try {
      this.#handler?.(delivery);
    } catch (error) {
      this.#report(error as Error);
      this.#nack(out);
    }
  }

  /** The key's later ones come again behind it, so an ack for one of them no longer counts. */
  #nack(out: Out): void {
    if (out.settled) return;
    let later = false;
    for (const other of [...(this.#out.get(out.key) ?? [])]) {
      later ||= other === out;
      if (!later) continue;
      this.#settle(other);
      other.message.nack();
    }
    this.#waiting = this.#waiting.filter((other) => {
      if (other.key === out.key) other.message.nack();
      return other.key !== out.key;
    });
    this.#held.set(out.key, { id: out.message.id, until: Date.now() + HOLD_MS });
    this.#handOutWaiting();
  }

  #settle(out: Out): void {
    out.settled = true;
    this.#outstanding?.remove(out.bytes);
    const ofKey = this.#out.get(out.key);
    ofKey?.delete(out);
    if (ofKey?.size === 0) this.#out.delete(out.key);
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#handOutWaiting();
  }

  async ping(): Promise<void> {
    try {
      const subscription = this.#pubsub.subscription(this.#config.subscription);
      await reached(subscription.getMetadata(once(PING_TIMEOUT_MS)));
    } catch (cause) {
      throw unavailable('ping', cause);
    }
  }

  stop(deadlineMs: number): Promise<void> {
    return (this.#stopping ??= this.#stop(performance.now() + deadlineMs));
  }

  async #stop(deadline: number): Promise<void> {
    const leftMs = () => Math.max(0, deadline - performance.now());
    clearTimeout(this.#reopen);
    const subscription = this.#subscription;
    this.#subscription = undefined;
    if (subscription) {
      // The client's close nacks what is out, and sends what was acked; by default it may take an hour, and hangs are
      // reported (https://github.com/googleapis/google-cloud-node/issues/8330).
      subscription.setOptions({
        closeOptions: {
          behavior: SubscriptionCloseBehaviors.NackImmediately,
          timeout: Duration.from({ milliseconds: Math.max(1, leftMs() * CLOSE_SHARE) }),
        },
      });
      await within(leftMs(), subscription.close());
    }
    await Promise.resolve();
    for (const ofKey of [...this.#out.values()]) for (const out of [...ofKey]) this.#settle(out);
    this.#waiting = [];
    await within(leftMs(), this.#pubsub.close());
  }
}
