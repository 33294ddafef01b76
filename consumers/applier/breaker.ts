/** A circuit breaker: while the store is down nothing more is pulled, and what is there is tried again in place. */

/** Failures in a row, of one call, before the store counts as down. */
const FAILURES = 3;

export class Breaker {
  readonly #opened: () => void;
  readonly #closed: () => void;
  #open = false;

  constructor(parts: { opened: () => void; closed: () => void }) {
    this.#opened = parts.opened;
    this.#closed = parts.closed;
  }

  /** A call has failed this many times in a row, for a reason that passes. */
  failed(attempts: number): void {
    if (this.#open || attempts < FAILURES) return;
    this.#open = true;
    this.#opened();
  }

  /** A call got its answer, whatever it was. */
  answered(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#closed();
  }
}
