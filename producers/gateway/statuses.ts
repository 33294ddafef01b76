/** What became of a submission: from the ledger, with signals from the cache to wait on. */
import type { IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cache, Listener } from '../../ports/cache/port.ts';
import type { Store } from '../../ports/store/port.ts';
import type { ReceiptId } from '../../schemas/envelope/ids.ts';
import { LEDGER, LEDGER_ENTRY_COLUMNS, type Outcome, readLedgerEntry, type Reason } from '../../schemas/envelope/ledger.ts';
import { outcomeChannel } from '../../schemas/envelope/signals.ts';
import type { ResourceSource } from '../../schemas/resource/registry.ts';
import { withDeadline } from './deadline.ts';
import { shownKey, type Receipts } from './receipts.ts';

/** The status document. */
export interface Status {
  readonly id: string;
  readonly status: 'accepted' | Outcome;
  readonly reason?: Reason;
  readonly detail?: string;
  readonly commitTimestamp?: string;
  readonly resource?: string;
  readonly key?: readonly unknown[];
  readonly correlationId?: string;
  readonly acceptedAt?: string;
}

export interface StatusSettings {
  /** Requests that wait for an outcome at once. */
  readonly maxWaiters: number;
  /** How long a look into the ledger may take. */
  readonly readTimeoutMs: number;
}

/** Time passes, and nothing is heard. */
const NO_SIGNALS: Listener = {
  wait: (timeoutMs, signal) => sleep(Math.max(0, timeoutMs), false, signal ? { signal } : {}).catch(() => false),
  close: () => undefined,
};

/** How long a wait relies on the signal alone at first. */
const FIRST_LOOK_MS = 1000;

export class Statuses {
  readonly #store: Store;
  readonly #cache: Cache;
  readonly #resources: ResourceSource;
  readonly #receipts: Receipts;
  readonly #maxWaiters: number;
  readonly #readTimeoutMs: number;
  readonly #stopping = new AbortController();
  #waiters = 0;

  constructor(parts: { store: Store; cache: Cache; receipts: Receipts; resources: ResourceSource; settings: StatusSettings }) {
    this.#receipts = parts.receipts;
    this.#store = parts.store;
    this.#cache = parts.cache;
    this.#resources = parts.resources;
    this.#maxWaiters = parts.settings.maxWaiters;
    this.#readTimeoutMs = parts.settings.readTimeoutMs;
  }

  async status(id: string, receipt: ReceiptId): Promise<Status> {
    return (await this.#outcome(id, receipt)) ?? { id, status: 'accepted', ...(await this.#remembered(receipt)) };
  }

  /** The outcome, waiting up to `seconds` for it, while the cache is away too; else `accepted`. */
  async statusAfterWait(id: string, receipt: ReceiptId, seconds: number, client: IncomingMessage): Promise<Status> {
    const waiter = await this.prepareWait(receipt.submissionId, { evenAlone: true });
    try {
      const outcome = await waiter?.outcome(id, receipt, seconds, true, client);
      return outcome ?? (await this.status(id, receipt));
    } finally {
      waiter?.close();
    }
  }

  /** Ends the waits under way, and lets no new one begin. */
  endWaits(): void {
    this.#stopping.abort();
  }

  /**
   * A place among those who wait; undefined where there is none left, and the caller does not wait. `evenAlone`: while the
   * cache is away, the ledger alone is asked from time to time; without it there is no place then.
   */
  async prepareWait(submissionId: string, { evenAlone = false } = {}): Promise<OutcomeWait | undefined> {
    if (this.#waiters >= this.#maxWaiters || this.#stopping.signal.aborted) return undefined;
    this.#waiters += 1;
    let listener: Listener;
    try {
      listener = await this.#cache.listen(outcomeChannel(submissionId));
    } catch {
      if (!evenAlone) {
        this.#waiters -= 1;
        return undefined;
      }
      listener = NO_SIGNALS;
    }
    return {
      outcome: async (id, receipt, seconds, mayBeThere, client) => {
        const before = mayBeThere ? await this.#outcome(id, receipt) : undefined;
        if (before) return before;
        const gone = new AbortController();
        const hangUp = (): void => gone.abort();
        if (client.socket.destroyed) hangUp();
        else client.socket.once('close', hangUp);
        const ended = AbortSignal.any([gone.signal, this.#stopping.signal]);
        const end = performance.now() + seconds * 1000;
        try {
          // Signals can be lost, so the ledger is asked from time to time, ever more rarely, and at the end.
          for (let pauseMs = FIRST_LOOK_MS; !ended.aborted; pauseMs *= 2) {
            const leftMs = end - performance.now();
            const signalled = await listener.wait(Math.min(pauseMs, leftMs), ended);
            const outcome = await this.#outcome(id, receipt);
            if (outcome || signalled || leftMs <= pauseMs) return outcome;
          }
          return undefined;
        } finally {
          client.socket.off('close', hangUp);
        }
      },
      close: () => {
        this.#waiters -= 1;
        listener.close();
      },
    };
  }

  async #outcome(id: string, receipt: ReceiptId): Promise<Status | undefined> {
    const [cells] = await withDeadline(this.#store.read(LEDGER, [[receipt.submissionId]], LEDGER_ENTRY_COLUMNS), this.#readTimeoutMs);
    if (!cells) return undefined;
    const entry = readLedgerEntry(cells);
    if (entry.payloadHash !== receipt.payloadHash) {
      // The row belongs to another payload: nothing of it is shown.
      return { id, status: 'rejected', reason: 'idempotency_key_reused', ...(await this.#remembered(receipt)) };
    }
    return {
      id,
      status: entry.outcome,
      ...(entry.reason === undefined ? {} : { reason: entry.reason }),
      ...(entry.detail === undefined ? {} : { detail: entry.detail }),
      ...(entry.outcome === 'applied' ? { commitTimestamp: entry.committedAt } : {}),
      resource: entry.resource,
      key: shownKey(this.#resources.current.get(entry.resource), entry.key),
      correlationId: entry.correlationId,
      acceptedAt: entry.acceptedAt,
    };
  }

  async #remembered({ submissionId, payloadHash }: ReceiptId): Promise<Partial<Status>> {
    const receipt = await this.#receipts.find(submissionId).catch(() => undefined);
    if (receipt?.payloadHash !== payloadHash) return {};
    const { resource, key, correlationId, acceptedAt } = receipt;
    return { resource, key, correlationId, acceptedAt };
  }
}

export interface OutcomeWait {
  /** Undefined after `seconds` without one, or when the client hangs up. `mayBeThere`: look before waiting. */
  outcome(id: string, receipt: ReceiptId, seconds: number, mayBeThere: boolean, client: IncomingMessage): Promise<Status | undefined>;
  close(): void;
}
