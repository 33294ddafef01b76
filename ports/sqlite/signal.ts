/**
 * Wakes those who wait for rows in a SQLite file when code of the same process, in this thread or another, has written
 * some. What another process writes is seen by polling only, so a waiter always gives a time too.
 */
import { BroadcastChannel } from 'node:worker_threads';
import type { SqliteFile } from './database.ts';

export class Signal {
  readonly #listeners = new Set<() => void>();
  readonly #otherThreads: BroadcastChannel;

  private constructor(name: string) {
    this.#otherThreads = new BroadcastChannel(name);
    this.#otherThreads.onmessage = () => this.#wake();
    this.#otherThreads.unref();
  }

  /** The one signal of that name that all users of the file share. */
  static of(file: SqliteFile, name: string): Signal {
    let signal = file.signals.get(name);
    if (!signal) {
      signal = new Signal(`spanway ${file.path} ${name}`);
      file.signals.set(name, signal);
    }
    return signal;
  }

  /** How many listen in this thread. */
  get size(): number {
    return this.#listeners.size;
  }

  notify(): void {
    this.#wake();
    this.#otherThreads.postMessage(null);
  }

  #wake(): void {
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

  /** Nothing wakes its waiters any more. */
  close(): void {
    this.#otherThreads.close();
  }
}
