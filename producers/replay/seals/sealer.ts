/** Seals the history as it closes: a loop of the replay worker. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { StoreError } from '../../../ports/errors.ts';
import type { RunningWorker } from '../../../ports/jobs/port.ts';
import type { Store } from '../../../ports/store/port.ts';
import { compareInstants } from '../../../schemas/envelope/history.ts';
import type { Signer } from '../../../schemas/envelope/key-ring.ts';
import { SEAL_DAYS } from '../../../schemas/envelope/seals.ts';
import { timestampOf } from '../../../schemas/resource/cells.ts';
import { ReplayError } from '../errors.ts';
import { readHistory } from '../history.ts';
import { entryOfRow, rowText } from './rows.ts';
import {
  CHAIN_START,
  type ChainHead,
  daysBefore,
  headOf,
  insertOf,
  Interval,
  readable,
  readLastSeal,
  readSeals,
  type SealRecord,
} from './seal.ts';

/**
 * How far behind the database's time an interval ends, in milliseconds. The time is that of an empty commit: every
 * commit up to it is seen by the reads behind it, and every later one has a later timestamp, by Spanner's external
 * consistency (https://cloud.google.com/spanner/docs/true-time-external-consistency) and by the embedded store's one
 * writer. So no margin is needed; it is there for a store that keeps the promise less well, and costs as much delay:
 * as long as the embedded store lets a commit take.
 */
export const SEAL_MARGIN_MS = 5000;

/** Rows after which an interval ends, at the next commit of another time. With one commit's rows more, its entries fit into a STRING. */
const MAX_ROWS = 2000;

/** How long it stands aside after each commit, by the time that the commit took. */
const IDLE_SHARE = 4;

const OPTIONS = { tag: 'spanway-seal' };

interface SealerParts {
  readonly store: Store;
  readonly signer: () => Signer;
  readonly log: Logger;
  readonly marginMs?: number;
  readonly maxRows?: number;
}

export class Sealer {
  readonly #parts: SealerParts;
  /** The end of the chain as it was seen last: with it a worker notices that seals behind it are gone. */
  #known: SealRecord | undefined;

  constructor(parts: SealerParts) {
    this.#parts = parts;
  }

  /**
   * Seals what is closed and not sealed yet; intervals without rows get no seal. Answers the number of seals made. Where
   * another worker is quicker, its seal stands, and the rest is left to the next call.
   * @throws ReplayError where the seals are not those that were seen before; StoreError
   */
  async sealClosed(signal: AbortSignal): Promise<number> {
    const { store, marginMs = SEAL_MARGIN_MS, maxRows = MAX_ROWS } = this.#parts;
    const { commitTimestamp: sealedAt } = await store.commit([], OPTIONS);
    const end = timestampOf(Date.parse(sealedAt) - marginMs);
    let head = await this.#readHead(sealedAt);
    if (compareInstants(head.to, end) >= 0) return 0;
    let interval = new Interval();
    let [made, lastAt] = [0, ''];
    for await (const records of readHistory(store, { from: head.to, to: end, wholeRows: 1 })) {
      const begun = performance.now();
      signal.throwIfAborted();
      const [first] = records;
      if (!first) continue;
      const { committedAt } = first;
      if (interval.count >= maxRows && committedAt !== lastAt) {
        const next = await this.#insert(interval, head, { to: committedAt, sealedAt });
        if (!next) return made;
        [head, interval, made] = [next, new Interval(), made + 1];
      }
      lastAt = committedAt;
      for (const record of records) interval.add(entryOfRow(record, rowText(record)));
      // What else this thread does goes on between two commits.
      await sleep((performance.now() - begun) * IDLE_SHARE, undefined, { signal });
    }
    if (interval.count > 0 && (await this.#insert(interval, head, { to: end, sealedAt }))) made += 1;
    return made;
  }

  async #readHead(now: string): Promise<ChainHead> {
    const known = this.#known;
    if (!known) {
      const { last } = await readLastSeal(this.#parts.store);
      if (!last) return CHAIN_START;
      this.#known = readable(last);
      return headOf(this.#known);
    }
    let last: SealRecord | undefined;
    for await (const row of readSeals(this.#parts.store, known.seal.number)) {
      const record = readable(row);
      if (!last && record.hash !== known.hash) throw lostSeal(known);
      last = record;
    }
    // Nothing was written for so long that its age limit took it.
    if (!last && compareInstants(known.seal.sealedAt, daysBefore(now, SEAL_DAYS)) > 0) throw lostSeal(known);
    this.#known = last ?? known;
    return headOf(this.#known);
  }

  /** Undefined where another worker has made a seal of this number. */
  async #insert(
    interval: Interval,
    before: ChainHead,
    at: { readonly to: string; readonly sealedAt: string },
  ): Promise<ChainHead | undefined> {
    const { store, signer, log } = this.#parts;
    const record = interval.seal(before, at, signer());
    try {
      await store.commit([insertOf(record)], OPTIONS);
    } catch (error) {
      if (error instanceof StoreError && error.failure === 'already_exists') return undefined;
      throw error;
    }
    this.#known = record;
    const { number, from, to, count } = record.seal;
    // Outside the database: whoever takes seals away there cannot take it out of here.
    log.info({ seal: `${number}:${record.hash}`, rows: count, from, to }, 'sealed');
    return headOf(record);
  }
}

function lostSeal({ seal: { number }, hash }: SealRecord): ReplayError {
  return new ReplayError(
    'seal_lost',
    `seal ${number}:${hash} was there, and is changed or gone: no more is sealed. Find out who wrote to spanway_seals; a restart of the worker seals again`,
  );
}

/** Seals every so often until `stop`. A failure is logged, and the next time it is tried again. */
export function startSealer(parts: SealerParts & { readonly everyMs: number }): RunningWorker {
  const stopping = new AbortController();
  const { signal } = stopping;
  const sealer = new Sealer(parts);
  const running = (async () => {
    while (!signal.aborted) {
      try {
        await sealer.sealClosed(signal);
      } catch (err) {
        if (err === signal.reason) return;
        const passes = err instanceof StoreError && err.failure === 'transient';
        parts.log[passes ? 'warn' : 'error']({ err }, 'cannot seal the ledger; trying again later');
      }
      await sleep(parts.everyMs, undefined, { signal }).catch(() => undefined);
    }
  })();
  return {
    async stop() {
      stopping.abort();
      await running;
    },
  };
}
