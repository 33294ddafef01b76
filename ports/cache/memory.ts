/**
 * A cache in this thread: `memory:`. Its values are for those who share the instance; its signals, and what is outdated,
 * reach the whole process.
 */
import { BroadcastChannel } from 'node:worker_threads';
import { LRUCache } from 'lru-cache';
import { AdapterConfigError, PortUnavailableError } from '../errors.ts';
import { LocalBuckets } from './buckets.ts';
import { MemoryVersionedValues } from './memory-versioned.ts';
import type { Bucket, Cache, Listener, OutdatedValue, Taken } from './port.ts';
import { Waiter } from './waiter.ts';

/** Entries kept, and as many buckets, unless `maxEntries` in the URL says otherwise; the least recently used goes first. */
const DEFAULT_MAX_ENTRIES = 10_000;

export interface MemoryCacheOptions {
  /** Whose signals it hears. */
  readonly namespace?: string;
  readonly maxEntries?: number;
  /** Milliseconds that only go forward, so that no value outlives its TTL when the clock is set back. */
  readonly now?: () => number;
}

/** What the URL may ask for: the slots of all entries are allocated at once. */
const MAX_ENTRIES_DIGITS = 7;

/** `memory:`, or `memory:?maxEntries=N`. */
export function openMemoryCache(url: URL, namespace: string): MemoryCache {
  const text = url.searchParams.get('maxEntries');
  if (text === null) return new MemoryCache({ namespace });
  if (!/^[1-9]\d*$/.test(text) || text.length > MAX_ENTRIES_DIGITS)
    throw new AdapterConfigError(
      `cache: maxEntries=${text} in ${JSON.stringify(url.href)}; expected 1 to ${'9'.repeat(MAX_ENTRIES_DIGITS)}`,
    );
  return new MemoryCache({ namespace, maxEntries: Number(text) });
}

/** What threads tell each other. */
type Message = { readonly channels: readonly string[] } | { readonly outdated: readonly OutdatedValue[]; readonly ttlMs: number };

export class MemoryCache implements Cache {
  readonly #now: () => number;
  readonly #entries: LRUCache<string, { readonly value: string; readonly expiresAt: number }>;
  readonly #buckets: LocalBuckets;
  readonly versioned: MemoryVersionedValues;
  readonly #waiters = new Map<string, Set<Waiter>>();
  readonly #others: BroadcastChannel;
  #closed = false;

  constructor(options: MemoryCacheOptions = {}) {
    const { namespace = '', maxEntries: max = DEFAULT_MAX_ENTRIES, now = () => performance.now() } = options;
    this.#now = now;
    this.#entries = new LRUCache({ max });
    this.#buckets = new LocalBuckets(max, now);
    this.versioned = new MemoryVersionedValues(max, now, (outdated, ttlMs) => {
      if (outdated.length > 0) this.#others.postMessage({ outdated, ttlMs } satisfies Message);
    });
    this.#others = new BroadcastChannel(`spanway memory cache ${namespace}`);
    this.#others.onmessage = ({ data }) => {
      const message = data as Message;
      if ('channels' in message) this.#wake(message.channels);
      else this.versioned.outdateHere(message.outdated, message.ttlMs);
    };
    this.#others.unref();
  }

  async get(key: string): Promise<string | undefined> {
    await this.ping();
    const entry = this.#entries.get(key);
    if (!entry) return undefined;
    if (entry.expiresAt > this.#now()) return entry.value;
    this.#entries.delete(key);
    return undefined;
  }

  async add(key: string, value: string, ttlMs: number): Promise<void> {
    await this.ping();
    if (ttlMs < 1) return;
    const now = this.#now();
    const entry = this.#entries.peek(key);
    if (!entry || entry.expiresAt <= now) this.#entries.set(key, { value, expiresAt: now + ttlMs });
  }

  async signal(channels: readonly string[]): Promise<void> {
    await this.ping();
    this.#wake(channels);
    this.#others.postMessage({ channels } satisfies Message);
  }

  #wake(channels: readonly string[]): void {
    for (const channel of channels) for (const waiter of this.#waiters.get(channel) ?? []) waiter.wake();
  }

  async listen(channel: string): Promise<Listener> {
    await this.ping();
    const waiters = this.#waiters.get(channel) ?? new Set();
    const waiter = new Waiter(() => {
      waiters.delete(waiter);
      if (waiters.size === 0 && this.#waiters.get(channel) === waiters) this.#waiters.delete(channel);
    });
    this.#waiters.set(channel, waiters.add(waiter));
    return waiter;
  }

  async take(buckets: readonly Bucket[]): Promise<Taken> {
    await this.ping();
    return this.#buckets.take(buckets);
  }

  ping(): Promise<void> {
    return this.#closed ? Promise.reject(new PortUnavailableError('cache', 'it is closed')) : Promise.resolve();
  }

  close(): Promise<void> {
    if (!this.#closed) this.#others.close();
    this.#closed = true;
    this.#entries.clear();
    this.versioned.clear();
    for (const waiters of [...this.#waiters.values()]) for (const waiter of [...waiters]) waiter.close();
    return Promise.resolve();
  }
}
