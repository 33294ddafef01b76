import type { Cell, IndexDefinition, Key, StoreMutation, TableDefinition } from '../../schemas/resource/table.ts';

export type { Key, StoreMutation };

/**
 * The database: the resources' tables and the ledger.
 *
 * Duties of an adapter:
 * - `commit` and each `readWrite` are atomic and durable: all or nothing of it, and what was answered is there.
 * - Mutations of one commit take effect in their order, so a later one sees an earlier one's row.
 * - The commit timestamp is later than that of every commit answered before it began. Microseconds; it need not be
 *   unique. COMMIT_TIMESTAMP in a commit-timestamp column becomes it.
 * - `commit` sends its mutations blind, in one request. There is no replay protection: one whose answer was lost may
 *   have happened, and the caller finds out by a row it inserts.
 * - Reads are strong unless they ask for less: they see every commit answered before they began. All rows of one read
 *   are of one moment, its read timestamp: every commit up to it is in them, as far as the rows are concerned.
 * - Every failure is a StoreError that says what it means for the caller.
 */
export interface Store {
  readonly capabilities: StoreCapabilities;
  commit(mutations: readonly StoreMutation[], options: CommitOptions): Promise<CommitResult>;
  /**
   * Runs `work` in a read-write transaction: what it read has not changed when its writes commit. `work` may run
   * several times and must have no other effect. What it throws is thrown on, and nothing is written.
   */
  readWrite<T>(options: CommitOptions, work: (transaction: StoreTransaction) => Promise<T>): Promise<CommitResult & { readonly value: T }>;
  /** One request. Rows in the order of the keys, as the cells of `columns`; undefined where there is none. */
  read(table: TableDefinition, keys: readonly Key[], columns: readonly string[]): Promise<readonly (readonly Cell[] | undefined)[]>;
  /** The same, with its moment. */
  readAt(table: TableDefinition, keys: readonly Key[], columns: readonly string[], options: ReadOptions): Promise<AsOf<KeyedRow>>;
  /** Rows of a table in the order of its key or of an index, found by it alone: no other rows are looked at. One request. */
  readRange(range: Range, options: ReadOptions): Promise<AsOf<RangeRow>>;
  /** One request. The first rows of a range in the order of the primary key, as the cells of `columns`. */
  scan(table: TableDefinition, range: KeyRange, columns: readonly string[]): Promise<readonly (readonly Cell[])[]>;
  ping(): Promise<void>;
  close(): Promise<void>;
}

export interface ReadOptions {
  readonly freshness: Freshness;
  /** How long it may take, in milliseconds; then it fails as transient. Without it, as long as the store is set to wait. */
  readonly timeoutMs?: number;
}

/** `maxStalenessMs`: the store may leave out commits younger than this, if it is quicker so. Bounded staleness: https://cloud.google.com/spanner/docs/timestamp-bounds */
export type Freshness = 'strong' | { readonly maxStalenessMs: number };

export interface AsOf<Row> {
  readonly rows: readonly Row[];
  /** RFC 3339, UTC. */
  readonly readTimestamp: string;
}

export type KeyedRow = readonly Cell[] | undefined;

/** A stretch of a table's key, or of an index. Its order is that of `orderOf`. */
export interface Range {
  readonly table: TableDefinition;
  /** Absent: the primary key. */
  readonly index?: IndexDefinition;
  readonly columns: readonly string[];
  /** Cells of the first columns of the order; at least the tenant. None is null. */
  readonly prefix: readonly Cell[];
  /** Of the column after the prefix. Where there is one, rows with NULL there are left out. */
  readonly lower?: Bound;
  readonly upper?: Bound;
  readonly descending: boolean;
  /** Begins behind the row that has these cells in the columns of the order after the prefix. */
  readonly after?: readonly Cell[];
  readonly limit: number;
  /** With each row, rows of tables interleaved in this one, in the order of their keys. */
  readonly children: readonly ChildRange[];
}

export interface Bound {
  readonly cell: Cell;
  readonly inclusive: boolean;
}

export interface ChildRange {
  readonly table: TableDefinition;
  readonly columns: readonly string[];
  /** Of each row. */
  readonly limit: number;
}

export interface RangeRow {
  readonly cells: readonly Cell[];
  /** In the order of `Range.children`. */
  readonly children: readonly (readonly (readonly Cell[])[])[];
}

export interface StoreCapabilities {
  /** Whether commits of different rows go on side by side. Where not, one at a time is quickest. */
  readonly parallelCommits: boolean;
  /** Of one commit, as Spanner counts them: see `mutationCost`. */
  readonly maxCommitMutations: number;
}

export interface StoreTransaction {
  read: Store['read'];
  scan: Store['scan'];
  /** Written when the transaction commits, in order; reads do not see it. */
  write(mutations: readonly StoreMutation[]): void;
}

/** Rows that lie together in the order of their primary key. Where NUMERIC cells of a key stand in it is the adapter's own. */
export interface KeyRange {
  /** The first cells of the key, shorter than the whole; empty for the whole table. */
  readonly prefix: Key;
  /** Rows whose keys begin with this or come behind it: a longer prefix of the key. */
  readonly from?: Key;
  /** Rows behind this whole key: the last one of the page before. In place of `from`. */
  readonly after?: Key;
  /** Rows before this longer prefix. */
  readonly before?: Key;
  /** Rows at most, 1 or more. */
  readonly limit: number;
}

export interface CommitOptions {
  /** Names the transaction in the database's own statistics: https://cloud.google.com/spanner/docs/introspection/troubleshooting-with-tags */
  readonly tag: string;
}

export interface CommitResult {
  /** RFC 3339, UTC. */
  readonly commitTimestamp: string;
}

/** Making and checking tables. Only the CLI and the tests use it. */
export interface SchemaAdmin {
  /** Makes the database itself where it can and it is missing. */
  provision(): Promise<void>;
  /** What is missing (statements that make it) and what differs (sentences; nothing is ever dropped or altered). */
  compare(tables: readonly TableDefinition[]): Promise<SchemaComparison>;
  /** Runs the statements that `compare` gave. */
  apply(statements: readonly string[]): Promise<void>;
}

export interface SchemaComparison {
  readonly missing: readonly string[];
  readonly differences: readonly string[];
}
