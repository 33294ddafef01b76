/**
 * Wakes those who wait for rows in a SQLite file when code of the same process has written some. What another
 * process writes is seen by polling only, so a waiter always gives a time too.
 */
import type { SqliteFile } from './database.ts';

const signals = new WeakMap<SqliteFile, Map<string, Signal>>();

export class Signal {
  readonly #listeners = new Set<() => void>();

  /** The one signal of that name that all users of the file share. */
  static of(file: SqliteFile, name: string): Signal {
    const named = signals.get(file) ?? new Map<string, Signal>();
    signals.set(file, named);
    const signal = named.get(name) ?? new Signal();
    named.set(name, signal);
    return signal;
  }

  /** How many listen. */
  get size(): number {
    return this.#listeners.size;
  }

  notify(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  /** Calls `listener` at each notify until the returned function is called. */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves at the next notify, at an abort, or after `ms`. */
  wait(ms: number, abort?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        unlisten();
        abort?.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      const unlisten = this.listen(done);
      abort?.addEventListener('abort', done, { once: true });
      if (abort?.aborted) done();
    });
  }
}
