/** One Redis connection that listens for all: a channel is subscribed to while anybody here listens to it. */
import type { Redis } from 'ioredis';
import { Waiter } from './waiter.ts';

interface Channel {
  readonly waiters: Set<Waiter>;
  /** Resolves when the server has confirmed it; undefined while the connection is away. */
  subscribed: Promise<unknown> | undefined;
}

export class Subscriptions {
  readonly #redis: Redis;
  readonly #channels = new Map<string, Channel>();

  constructor(redis: Redis) {
    this.#redis = redis;
    redis.on('message', (name: string) => {
      for (const waiter of this.#channels.get(name)?.waiters ?? []) waiter.wake();
    });
    redis.on('close', () => {
      for (const channel of this.#channels.values()) channel.subscribed = undefined;
    });
    redis.on('ready', () => {
      for (const [name, channel] of this.#channels) this.#subscribe(name, channel).catch(() => {});
    });
  }

  /** Rejects as ioredis does. */
  async listen(name: string): Promise<Waiter> {
    const channel = this.#channels.get(name) ?? { waiters: new Set(), subscribed: undefined };
    this.#channels.set(name, channel);
    const waiter = new Waiter(() => this.#leave(name, channel, waiter));
    channel.waiters.add(waiter);
    try {
      await (channel.subscribed ?? this.#subscribe(name, channel));
      return waiter;
    } catch (error) {
      waiter.close();
      throw error;
    }
  }

  close(): void {
    for (const { waiters } of [...this.#channels.values()]) for (const waiter of [...waiters]) waiter.close();
  }

  #subscribe(name: string, channel: Channel): Promise<unknown> {
    const subscribed = this.#redis.subscribe(name);
    channel.subscribed = subscribed;
    subscribed.catch(() => {
      // The next one to listen asks again.
      if (channel.subscribed === subscribed) channel.subscribed = undefined;
    });
    return subscribed;
  }

  #leave(name: string, channel: Channel, waiter: Waiter): void {
    channel.waiters.delete(waiter);
    if (channel.waiters.size > 0) return;
    this.#channels.delete(name);
    // If this fails the connection is away, and the channel with it. A `listen` that follows is behind it on the wire.
    if (channel.subscribed) this.#redis.unsubscribe(name).catch(() => {});
  }
}
