/**
 * Reads of single rows, gathered: those of one table that come while others are under way leave together as one read of
 * many keys, each key once. Where nothing is under way a read leaves at once, with those that arrived in the same turn of
 * the event loop. Strong reads and those that allow staleness go apart; of the latter, a read is as fresh as the
 * strictest of those in it asks for. So however many bounds callers think of, they make no more reads.
 */
import { StoreError } from '../../../ports/errors.ts';
import type { Freshness, Key, KeyedRow, Store } from '../../../ports/store/port.ts';
import type { TableDefinition } from '../../../schemas/resource/table.ts';

export interface CoalescerSettings {
  /** Reads of one table under way at once, of the strong ones and of those that allow staleness each. */
  readonly maxReads: number;
  /** Keys of one read. */
  readonly maxReadKeys: number;
  /** The deadline of a read, in milliseconds. */
  readonly readTimeoutMs: number;
}

export interface ReadRow {
  readonly row: KeyedRow;
  readonly readTimestamp: string;
  /** When the read left, by this process's clock: a strong one sees every write that was answered before. */
  readonly leftMs: number;
}

interface Waiting {
  readonly key: Key;
  /** The least that one of its callers allows; 0: strong. */
  maxStalenessMs: number;
  readonly resolve: ((row: ReadRow) => void)[];
  readonly reject: ((error: unknown) => void)[];
}

interface Group {
  readonly table: TableDefinition;
  /** By the key's text. */
  waiting: Map<string, Waiting>;
  underWay: number;
  isDue: boolean;
}

export class Coalescer {
  readonly #store: Store;
  readonly #settings: CoalescerSettings;
  readonly #groups = new WeakMap<TableDefinition, { readonly strong: Group; readonly stale: Group }>();

  constructor(store: Store, settings: CoalescerSettings) {
    this.#store = store;
    this.#settings = settings;
  }

  /** The cells of every column of the table. `maxStalenessMs`: 0 for a strong read. Rejects with a StoreError. */
  read(table: TableDefinition, key: Key, maxStalenessMs: number): Promise<ReadRow> {
    const group = this.#group(table, maxStalenessMs);
    const text = JSON.stringify(key);
    let waiting = group.waiting.get(text);
    if (!waiting) group.waiting.set(text, (waiting = { key, maxStalenessMs, resolve: [], reject: [] }));
    else if (maxStalenessMs < waiting.maxStalenessMs) waiting.maxStalenessMs = maxStalenessMs;
    if (!group.isDue && group.underWay < this.#settings.maxReads) {
      group.isDue = true;
      setImmediate(() => this.#leave(group));
    }
    const { resolve, reject } = waiting;
    return new Promise((onRow, onError) => {
      resolve.push(onRow);
      reject.push(onError);
    });
  }

  #group(table: TableDefinition, maxStalenessMs: number): Group {
    let groups = this.#groups.get(table);
    if (!groups) {
      const empty = (): Group => ({ table, waiting: new Map(), underWay: 0, isDue: false });
      this.#groups.set(table, (groups = { strong: empty(), stale: empty() }));
    }
    return maxStalenessMs === 0 ? groups.strong : groups.stale;
  }

  #leave(group: Group): void {
    group.isDue = false;
    while (group.waiting.size > 0 && group.underWay < this.#settings.maxReads) {
      const batch = [...group.waiting.values()].slice(0, this.#settings.maxReadKeys);
      if (batch.length === group.waiting.size) group.waiting = new Map();
      else for (const key of [...group.waiting.keys()].slice(0, batch.length)) group.waiting.delete(key);
      group.underWay += 1;
      void this.#read(group.table, batch).finally(() => {
        group.underWay -= 1;
        this.#leave(group);
      });
    }
  }

  async #read(table: TableDefinition, batch: readonly Waiting[]): Promise<void> {
    const maxStalenessMs = batch.reduce((least, waiting) => Math.min(least, waiting.maxStalenessMs), Infinity);
    const freshness: Freshness = maxStalenessMs === 0 ? 'strong' : { maxStalenessMs };
    const columns = table.columns.map((column) => column.name);
    const leftMs = Date.now();
    try {
      const keys = batch.map(({ key }) => key);
      const { rows, readTimestamp } = await this.#store.readAt(table, keys, columns, {
        freshness,
        timeoutMs: this.#settings.readTimeoutMs,
      });
      batch.forEach(({ resolve }, i) => {
        for (const settle of resolve) settle({ row: rows[i], readTimestamp, leftMs });
      });
    } catch (error) {
      // What one caller asks for must not fail the others' reads.
      if (batch.length > 1 && !(error instanceof StoreError && error.failure === 'transient')) {
        await Promise.all(batch.map((one) => this.#read(table, [one])));
        return;
      }
      for (const { reject } of batch) for (const settle of reject) settle(error);
    }
  }
}
