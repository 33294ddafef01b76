/**
 * The subscriber for Google's emulator: unary pulls, no nacks. The emulator (0.8.20) goes on sending to streaming pulls
 * whose connection is gone, and hands later messages of the same keys to other streams; and it puts what is nacked
 * behind later messages of the key that it has not sent yet. But while any message of a key is out, no unary pull gets
 * another one of it; and when its lease ends, it comes again with the later ones behind it. Why not everywhere:
 * docs/decisions/pubsub-pull.md.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type protos, v1 } from '@google-cloud/pubsub';
import { pauseMs } from '../backoff.ts';
import type { Delivery, Subscriber, SubscriberLimits } from './port.ts';
import { clientOptions, once, reached, unavailable, within, type PubsubConfig } from './pubsub-client.ts';
import { Deliveries, type Arrival } from './pubsub-deliveries.ts';

/** Messages of one pull, and of one request about them. An answer of the emulator has at most 100, and 10 MB. */
const MAX_BATCH = 1_000;
/**
 * Pause after a pull that found nothing. The server does not wait for messages itself, since it would give them to a
 * pull whose process has been killed meanwhile, and so hide them for a lease.
 */
const IDLE_MS = 20;
/** Acks are gathered this long for one request. */
const ACK_BATCH_MS = 10;
/** A third of the shortest lease that Pub/Sub has: the first one is the subscription's, whatever this subscriber's are. */
const EXTEND_MS = 3_000;
/** The lease of what is given back. Not 0, which is a nack. */
const GIVE_BACK_SECONDS = 1;
const CALL_TIMEOUT_MS = 5_000;
/** Pause after a call that failed, doubled at each failure in a row. */
const BACKOFF = { minMs: 100, maxMs: 5_000 };

export class PubsubPuller implements Subscriber {
  readonly #subscription: string;
  readonly #leaseSeconds: number;
  readonly #client: Promise<v1.SubscriberClient>;
  readonly #deliveries = new Deliveries();
  /** The ack ids of what has arrived and is not acked, in order. */
  readonly #leased = new Set<string>();
  #acked: string[] = [];
  #acking: Promise<void> | undefined;
  #pulling = Promise.resolve();
  #extend: NodeJS.Timeout | undefined;
  readonly #stop = new AbortController();
  #stopped: Promise<void> | undefined;

  constructor(config: PubsubConfig) {
    this.#subscription = config.subscription;
    this.#leaseSeconds = config.leaseSeconds;
    this.#client = clientOptions(config).then((options) => new v1.SubscriberClient(options));
    // Each call says so.
    this.#client.catch(() => {});
  }

  onError(listener: (error: Error) => void): void {
    this.#deliveries.report = listener;
  }

  start(handler: (delivery: Delivery) => void, limits: SubscriberLimits): void {
    this.#deliveries.start(handler, limits);
    this.#pulling = this.#pull();
    this.#extend = setInterval(() => void this.#lease([...this.#leased], this.#leaseSeconds), EXTEND_MS);
  }

  pause(): void {
    this.#deliveries.pause();
  }

  resume(): void {
    this.#deliveries.resume();
  }

  async #pull(): Promise<void> {
    const { signal } = this.#stop;
    for (let failures = 0; !signal.aborted;) {
      let waitMs = IDLE_MS;
      try {
        const arrivals = this.#deliveries.full ? [] : await this.#arrivals();
        failures = 0;
        if (arrivals.length > 0) waitMs = 0;
        this.#deliveries.arrive(arrivals);
      } catch (error) {
        this.#deliveries.report(error as Error);
        waitMs = pauseMs(BACKOFF, (failures += 1));
      }
      await sleep(waitMs, undefined, { signal }).catch(() => {});
    }
  }

  async #arrivals(): Promise<Arrival[]> {
    const request = { subscription: this.#subscription, maxMessages: MAX_BATCH, returnImmediately: true };
    const [answer] = await this.#call('pull', (client) => client.pull(request, once(CALL_TIMEOUT_MS)));
    const arrivals: Arrival[] = [];
    for (const { ackId, message, deliveryAttempt } of answer.receivedMessages ?? []) {
      if (ackId == null || message == null) continue;
      this.#leased.add(ackId);
      arrivals.push({
        key: message.orderingKey ?? '',
        data: Buffer.from((message.data ?? '') as Uint8Array),
        attributes: message.attributes ?? {},
        // 0 where the subscription has no dead-letter topic and so does not count.
        attempt: deliveryAttempt || 1,
        ...publishedAtOf(message.publishTime),
        ack: () => {
          this.#leased.delete(ackId);
          this.#acked.push(ackId);
          this.#acking ??= this.#sendAcks();
        },
      });
    }
    return arrivals;
  }

  /** An ack is tried again until it is there: before that the key gets nothing more. One that is late does no harm. */
  async #sendAcks(): Promise<void> {
    await sleep(ACK_BATCH_MS);
    for (let failures = 0; this.#acked.length > 0;) {
      const ackIds = this.#acked.slice(0, MAX_BATCH);
      const request = { subscription: this.#subscription, ackIds };
      try {
        await this.#call('ack', (client) => client.acknowledge(request, once(CALL_TIMEOUT_MS)));
        this.#acked.splice(0, ackIds.length);
        failures = 0;
      } catch (error) {
        this.#deliveries.report(error as Error);
        await sleep(pauseMs(BACKOFF, (failures += 1)));
      }
    }
    this.#acking = undefined;
  }

  /** What it does not reach comes again when its lease ends. */
  async #lease(all: readonly string[], ackDeadlineSeconds: number): Promise<void> {
    for (let at = 0; at < all.length; at += MAX_BATCH) {
      const request = { subscription: this.#subscription, ackIds: all.slice(at, at + MAX_BATCH), ackDeadlineSeconds };
      await this.#call('modifyAckDeadline', (client) => client.modifyAckDeadline(request, once(CALL_TIMEOUT_MS))).catch(
        this.#deliveries.report,
      );
    }
  }

  async #call<T>(name: string, work: (client: v1.SubscriberClient) => Promise<T>): Promise<T> {
    try {
      return await work(await this.#client);
    } catch (cause) {
      throw unavailable(name, cause);
    }
  }

  async ping(): Promise<void> {
    const request = { subscription: this.#subscription };
    await this.#call('ping', (client) => reached(client.getSubscription(request, once(CALL_TIMEOUT_MS))));
  }

  stop(deadlineMs: number): Promise<void> {
    return (this.#stopped ??= this.#end(performance.now() + deadlineMs));
  }

  async #end(deadline: number): Promise<void> {
    const leftMs = () => Math.max(0, deadline - performance.now());
    this.#deliveries.end();
    this.#stop.abort();
    clearInterval(this.#extend);
    // A pull that is under way may still bring some to give back.
    const givenBack = this.#pulling.then(() => this.#lease([...this.#leased], GIVE_BACK_SECONDS));
    await within(leftMs(), Promise.all([givenBack, this.#acking]));
    // Ends what goes on trying.
    this.#acked = [];
    await within(
      leftMs(),
      this.#client.then(
        (client) => client.close(),
        () => {},
      ),
    );
  }
}

function publishedAtOf(time: protos.google.protobuf.ITimestamp | null | undefined): Pick<Arrival, 'publishedAt'> {
  if (time?.seconds == null) return {};
  return { publishedAt: new Date(Number(time.seconds) * 1000 + Math.trunc((time.nanos ?? 0) / 1e6)).toISOString() };
}
