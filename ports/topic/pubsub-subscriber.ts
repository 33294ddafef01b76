/** The subscriber on Pub/Sub: streaming pull, with the port's own flow control and order on top of the client's. */
import { Duration, SubscriptionCloseBehaviors, type Message, type PubSub, type Subscription } from '@google-cloud/pubsub';
import { pauseMs } from '../backoff.ts';
import type { Delivery, Subscriber, SubscriberLimits } from './port.ts';
import { once, reached, unavailable, within, type PubsubConfig } from './pubsub-client.ts';
import { Deliveries, type Arrival } from './pubsub-deliveries.ts';

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
const REOPEN = { minMs: 500, maxMs: 30_000 };
/** Of what is left of stop's deadline, the part the client's own close gets. */
const CLOSE_SHARE = 0.8;
const PING_TIMEOUT_MS = 10_000;
/** Statuses that end a stream in the normal course: DEADLINE_EXCEEDED, CANCELLED, OK. */
const ROUTINE_CODES = new Set<unknown>([0, 1, 4]);

export class PubsubSubscriber implements Subscriber {
  readonly #pubsub: PubSub;
  readonly #config: PubsubConfig;
  readonly #deliveries = new Deliveries();
  #subscription: Subscription | undefined;
  #failures = 0;
  #reopen: NodeJS.Timeout | undefined;
  #stopping: Promise<void> | undefined;

  constructor(pubsub: PubSub, config: PubsubConfig) {
    this.#pubsub = pubsub;
    this.#config = config;
  }

  onError(listener: (error: Error) => void): void {
    this.#deliveries.report = listener;
  }

  start(handler: (delivery: Delivery) => void, limits: SubscriberLimits): void {
    this.#deliveries.start(handler, limits);
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
    subscription.on('message', (message: Message) => {
      this.#failures = 0;
      this.#deliveries.arrive([arrivalOf(message)]);
    });
    subscription.on('error', (error) => {
      if (this.#subscription === subscription) this.#deliveries.report(unavailable('pull', error));
    });
    subscription.on('debug', (note) => {
      // Here the client tells of lost acks, and of streams that ended and that it opens again.
      const { error } = note;
      if (error && !ROUTINE_CODES.has((error as { code?: unknown }).code)) this.#deliveries.report(unavailable('pull', error));
    });
    // The client gives up for good on what it thinks will not pass (NOT_FOUND, PERMISSION_DENIED, no connection).
    subscription.on('close', () => {
      if (this.#subscription === subscription && !this.#stopping) this.#pullAgain(limits);
    });
  }

  #pullAgain(limits: SubscriberLimits): void {
    // The client has nacked what it delivered. What was handed out stays with its handler and comes again besides.
    this.#subscription?.removeAllListeners('message');
    this.#deliveries.dropWaiting();
    this.#failures += 1;
    this.#reopen = setTimeout(() => this.#pull(limits), pauseMs(REOPEN, this.#failures));
  }

  pause(): void {
    this.#deliveries.pause();
  }

  resume(): void {
    this.#deliveries.resume();
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
    this.#deliveries.end();
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
    await within(leftMs(), this.#pubsub.close());
  }
}

function arrivalOf(message: Message): Arrival {
  return {
    key: message.orderingKey ?? '',
    data: message.data,
    attributes: message.attributes,
    // 0 where the subscription has no dead-letter topic and so does not count.
    attempt: message.deliveryAttempt || 1,
    publishedAt: message.publishTime.toISOString(),
    ack: () => message.ack(),
  };
}
