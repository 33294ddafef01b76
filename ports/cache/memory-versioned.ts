/** Values with versions in this thread's memory. Like the others, the least recently used goes first. */
import { LRUCache } from 'lru-cache';
import type { OutdatedValue, VersionedValues } from './port.ts';

interface Entry {
  readonly version: number;
  /** Undefined: outdated. */
  readonly value: string | undefined;
  readonly expiresAt: number;
}

export class MemoryVersionedValues implements VersionedValues {
  readonly #entries: LRUCache<string, Entry>;
  readonly #now: () => number;
  readonly #tellOthers: (outdated: readonly OutdatedValue[], ttlMs: number) => void;

  /** `now`: milliseconds. `tellOthers` may throw. */
  constructor(maxEntries: number, now: () => number, tellOthers: (outdated: readonly OutdatedValue[], ttlMs: number) => void) {
    this.#entries = new LRUCache({ max: maxEntries });
    this.#now = now;
    this.#tellOthers = tellOthers;
  }

  get(key: string): Promise<string | undefined> {
    return Promise.resolve(this.getNow(key));
  }

  getNow(key: string): string | undefined {
    const entry = this.#entries.get(key);
    return entry && entry.expiresAt > this.#now() ? entry.value : undefined;
  }

  put(key: string, value: string, version: number, ttlMs: number): Promise<void> {
    const entry = this.#there(key);
    if (!entry || entry.version <= version) this.#entries.set(key, { version, value, expiresAt: this.#now() + ttlMs });
    return Promise.resolve();
  }

  async outdate(outdated: readonly OutdatedValue[], ttlMs: number): Promise<void> {
    this.outdateHere(outdated, ttlMs);
    this.#tellOthers(outdated, ttlMs);
  }

  outdateHere(outdated: readonly OutdatedValue[], ttlMs: number): void {
    for (const { key, version } of outdated) {
      const entry = this.#there(key);
      if (!entry || entry.version < version) this.#entries.set(key, { version, value: undefined, expiresAt: this.#now() + ttlMs });
    }
  }

  clear(): void {
    this.#entries.clear();
  }

  #there(key: string): Entry | undefined {
    const entry = this.#entries.peek(key);
    return entry && entry.expiresAt > this.#now() ? entry : undefined;
  }
}
