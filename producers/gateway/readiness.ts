/** Whether the queue and the database answer. Anybody may ask, so all who ask at about the same time share a check. */
import type { FastifyBaseLogger } from 'fastify';

export interface Readiness {
  readonly status: 'ready' | 'degraded' | 'unavailable';
  readonly checks: { readonly queue: string; readonly store: string };
}

interface Pinged {
  ping(): Promise<void>;
}

/** How long a check may take. */
const CHECK_MS = 2000;
/** How long the answer of a check that has ended is given to others. */
const SHARED_MS = 1000;

export class ReadinessCheck {
  readonly #queue: Pinged;
  readonly #store: Pinged;
  readonly #log: FastifyBaseLogger;
  #latest: Promise<Readiness> | undefined;

  constructor(parts: { queue: Pinged; store: Pinged; log: FastifyBaseLogger }) {
    this.#queue = parts.queue;
    this.#store = parts.store;
    this.#log = parts.log;
  }

  /** Of the check that is under way or has ended within the last second, or else of a new one. Never rejects. */
  now(): Promise<Readiness> {
    this.#latest ??= this.#check().finally(() => {
      setTimeout(() => (this.#latest = undefined), SHARED_MS).unref();
    });
    return this.#latest;
  }

  async #check(): Promise<Readiness> {
    const [queue, store] = await Promise.all([this.#answer('queue', this.#queue), this.#answer('store', this.#store)]);
    // Without the database, writes are still accepted; to take the gateways out would make a part's outage the whole's.
    const status = queue !== 'ok' ? 'unavailable' : store !== 'ok' ? 'degraded' : 'ready';
    return { status, checks: { queue, store } };
  }

  /** No word of why: anybody can ask, and errors name hosts and accounts. The log has it. */
  #answer(check: keyof Readiness['checks'], port: Pinged): Promise<string> {
    return new Promise((resolve) => {
      const late = `no answer in ${CHECK_MS} ms`;
      const timer = setTimeout(() => {
        this.#log.warn({ check }, `a readiness check had ${late}`);
        resolve(late);
      }, CHECK_MS).unref();
      port
        .ping()
        .then(
          () => resolve('ok'),
          (err: unknown) => {
            this.#log.warn({ err, check }, 'a readiness check failed');
            resolve('failed');
          },
        )
        .finally(() => clearTimeout(timer));
    });
  }
}
