/**
 * Reads of single rows, gathered: those of one table and freshness that come while others are under way leave
 * together as one read of many keys, each key once. Where nothing is under way a read leaves at once, with those that
 * arrived in the same turn of the event loop.
 */
import { StoreError } from '../../../ports/errors.ts';
import type { Freshness, Key, KeyedRow, Store } from '../../../ports/store/port.ts';
import type { TableDefinition } from '../../../schemas/resource/table.ts';

export interface CoalescerSettings {
  /** Reads of one table and freshness under way at once. */
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
  readonly resolve: ((row: ReadRow) => void)[];
  readonly reject: ((error: unknown) => void)[];
}

interface Group {
  readonly table: TableDefinition;
  readonly freshness: Freshness;
  /** By the key's text. */
  waiting: Map<string, Waiting>;
  underWay: number;
  isDue: boolean;
}

export class Coalescer {
  readonly #store: Store;
  readonly #settings: CoalescerSettings;
  readonly #groups = new WeakMap<TableDefinition, Map<number, Group>>();

  constructor(store: Store, settings: CoalescerSettings) {
    this.#store = store;
    this.#settings = settings;
  }

  /** The cells of every column of the table. `maxStalenessMs`: 0 for a strong read. Rejects with a StoreError. */
  read(table: TableDefinition, key: Key, maxStalenessMs: number): Promise<ReadRow> {
    const group = this.#group(table, maxStalenessMs);
    const text = JSON.stringify(key);
    const waiting = group.waiting.get(text) ?? { key, resolve: [], reject: [] };
    group.waiting.set(text, waiting);
    if (!group.isDue && group.underWay < this.#settings.maxReads) {
      group.isDue = true;
      setImmediate(() => this.#leave(group));
    }
    return new Promise((resolve, reject) => {
      waiting.resolve.push(resolve);
      waiting.reject.push(reject);
    });
  }

  #group(table: TableDefinition, maxStalenessMs: number): Group {
    const groups = this.#groups.get(table) ?? new Map<number, Group>();
    this.#groups.set(table, groups);
    const known = groups.get(maxStalenessMs);
    if (known) return known;
    const freshness = maxStalenessMs === 0 ? ('strong' as const) : { maxStalenessMs };
    const group: Group = { table, freshness, waiting: new Map(), underWay: 0, isDue: false };
    groups.set(maxStalenessMs, group);
    return group;
  }

  #leave(group: Group): void {
    group.isDue = false;
    while (group.waiting.size > 0 && group.underWay < this.#settings.maxReads) {
      const batch = [...group.waiting.values()].slice(0, this.#settings.maxReadKeys);
      if (batch.length === group.waiting.size) group.waiting = new Map();
      else for (const key of [...group.waiting.keys()].slice(0, batch.length)) group.waiting.delete(key);
      group.underWay += 1;
      void this.#read(group, batch).finally(() => {
        group.underWay -= 1;
        // Freshness is the caller's choice, so groups are many, and are not kept.
        if (group.underWay === 0 && group.waiting.size === 0) this.#forget(group);
        else this.#leave(group);
      });
    }
  }

  async #read(group: Group, batch: readonly Waiting[]): Promise<void> {
    const { table, freshness } = group;
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
        await Promise.all(batch.map((one) => this.#read(group, [one])));
        return;
      }
      for (const { reject } of batch) for (const settle of reject) settle(error);
    }
  }

  #forget(group: Group): void {
    const groups = this.#groups.get(group.table);
    for (const [staleness, known] of groups ?? []) if (known === group && !group.isDue) groups?.delete(staleness);
  }
}
