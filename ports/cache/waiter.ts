/** A listener that a signal wakes: the same for every cache. */
import type { Listener } from './port.ts';

export class Waiter implements Listener {
  readonly #onClose: (waiter: Waiter) => void;
  readonly #waits = new Set<() => void>();
  #signalled = false;
  #closed = false;

  /** `onClose` is called once. */
  constructor(onClose: (waiter: Waiter) => void) {
    this.#onClose = onClose;
  }

  /** To be called when the signal comes. */
  wake(): void {
    this.#signalled = true;
    for (const settle of this.#waits) settle();
  }

  wait(timeoutMs: number, signal?: AbortSignal): Promise<boolean> {
    if (this.#signalled || this.#closed || signal?.aborted === true || timeoutMs <= 0) return Promise.resolve(this.#signalled);
    return new Promise((resolve) => {
      const settle = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', settle);
        this.#waits.delete(settle);
        resolve(this.#signalled);
      };
      const timer = setTimeout(settle, timeoutMs);
      signal?.addEventListener('abort', settle, { once: true });
      this.#waits.add(settle);
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const settle of this.#waits) settle();
    this.#onClose(this);
  }
}
