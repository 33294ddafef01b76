/**
 * A topic that misbehaves as its port allows: answers of publishes are lost, messages come twice, keys come in another
 * order, leases run out while their messages are being worked on.
 */
import { PortUnavailableError } from '../errors.ts';
import type { Faults } from '../faults.ts';
import type { Delivery, Publisher, Subscriber, SubscriberLimits, Topic, TopicMessage } from './port.ts';

/** A key is held back, or its lease runs out, within so many milliseconds. */
const SOON_MS = 30;

export class FaultyTopic implements Topic {
  readonly #topic: Topic;
  readonly #faults: Faults;

  constructor(topic: Topic, faults: Faults) {
    this.#topic = topic;
    this.#faults = faults;
  }

  publisher = (): Publisher => new FaultyPublisher(this.#topic.publisher(), this.#faults);
  subscriber = (): Subscriber => new FaultySubscriber(this.#topic.subscriber(), this.#faults);
  provision = (): Promise<void> => this.#topic.provision();
}

class FaultyPublisher implements Publisher {
  readonly #publisher: Publisher;
  readonly #faults: Faults;

  constructor(publisher: Publisher, faults: Faults) {
    this.#publisher = publisher;
    this.#faults = faults;
  }

  get capabilities(): Publisher['capabilities'] {
    return this.#publisher.capabilities;
  }

  async publish(key: string, messages: readonly TopicMessage[]): Promise<void> {
    if (this.#faults.happens('publish refused')) throw broken();
    await this.#publisher.publish(key, messages);
    if (this.#faults.happens('published twice')) await this.#publisher.publish(key, messages);
    if (this.#faults.happens('publish answer lost')) throw broken();
  }

  ping = (): Promise<void> => this.#publisher.ping();
  close = (): Promise<void> => this.#publisher.close();
}

class FaultySubscriber implements Subscriber {
  readonly #subscriber: Subscriber;
  readonly #faults: Faults;
  /** By key, what is held back, in order. */
  readonly #held = new Map<string, Delivery[]>();
  readonly #timers = new Set<NodeJS.Timeout>();

  constructor(subscriber: Subscriber, faults: Faults) {
    this.#subscriber = subscriber;
    this.#faults = faults;
  }

  start(handler: (delivery: Delivery) => void, limits: SubscriberLimits): void {
    const handOut = (delivery: Delivery): void => {
      if (!this.#faults.happens('lease ran out')) return handler(delivery);
      this.#later(() => delivery.nack());
      // The handler's word comes too late.
      handler({ ...delivery, ack: () => undefined, nack: () => undefined });
    };
    this.#subscriber.start((delivery) => {
      const held = this.#held.get(delivery.key);
      if (held) held.push(delivery);
      else if (this.#faults.happens('key held back')) {
        const behind = [delivery];
        this.#held.set(delivery.key, behind);
        this.#later(() => {
          this.#held.delete(delivery.key);
          for (const one of behind) handOut(one);
        });
      } else handOut(delivery);
    }, limits);
  }

  #later(work: () => void): void {
    const timer = setTimeout(
      () => {
        this.#timers.delete(timer);
        work();
      },
      this.#faults.rng.int(1, SOON_MS),
    );
    this.#timers.add(timer);
  }

  onError = (listener: (error: Error) => void): void => this.#subscriber.onError(listener);
  pause = (): void => this.#subscriber.pause();
  resume = (): void => this.#subscriber.resume();
  ping = (): Promise<void> => this.#subscriber.ping();

  stop(deadlineMs: number): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#held.clear();
    return this.#subscriber.stop(deadlineMs);
  }
}

function broken(): PortUnavailableError {
  return new PortUnavailableError('topic', 'publish failed: a fault that was asked for');
}
