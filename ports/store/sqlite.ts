/**
 * The embedded store: `sqlite:PATH`. It behaves as Spanner does where Spanway's callers can tell the difference.
 *
 * Writers of one file take turns, since a transaction on the one shared connection must not stay open while other
 * code runs: `readWrite` reads at once, keeps its writes, and commits them in one go if nobody has committed since
 * its first read. The last commit timestamp, which every commit of every process moves, says whether somebody has.
 */
import { MAX_COMMIT_MUTATIONS } from '../../schemas/resource/cost.ts';
import type { SQLInputValue, SQLOutputValue, StatementSync } from 'node:sqlite';
import { type Cell, columnNamed, type TableDefinition } from '../../schemas/resource/table.ts';
import { sqlitePath } from '../adapter.ts';
import { StoreError } from '../errors.ts';
import { SqliteFile } from '../sqlite/database.ts';
import { compareTables } from './compare.ts';
import type {
  AsOf,
  CommitOptions,
  CommitResult,
  Key,
  KeyedRow,
  KeyRange,
  Range,
  RangeRow,
  SchemaAdmin,
  SchemaComparison,
  Store,
  StoreMutation,
  StoreTransaction,
} from './port.ts';
import { type Bind, binder, storedTimestamp, type Unbind, unbinder } from './sqlite-cells.ts';
import { list, quote } from './sqlite-ddl.ts';
import { sqliteStoreError } from './sqlite-errors.ts';
import { readSqliteRange } from './sqlite-range.ts';
import { ageLimits, existingTables, sqliteDialect } from './sqlite-schema.ts';

/** How often a readWrite runs before it gives up on a file that others keep writing. */
const MAX_RUNS = 10;
const SWEEP_INTERVAL_MS = 3_600_000;
/** While a sweep finds more than it may remove at once, the next one comes this soon. */
const SWEEP_AGAIN_MS = 1000;
const SWEEP_ROWS = 500;
/**
 * A commit has its timestamp some time before others can see it. One that takes longer than the file's busy timeout fails
 * the others' writes, so a timestamp older than that is no longer waited for.
 */
const LONGEST_COMMIT_MS = 5000;

interface Plan {
  readonly statement: StatementSync;
  /** For each value of the statement, in its order: where its cell is, and how it is bound. */
  readonly from: readonly number[];
  readonly bind: readonly Bind[];
}

interface ReadPlan {
  readonly statement: StatementSync;
  readonly bind: readonly Bind[];
  readonly unbind: readonly Unbind[];
}

/** Between the stores that share a file within this process. */
const turns = new WeakMap<SqliteFile, Promise<unknown>>();

export function openSqliteStore(url: URL): Promise<SqliteStore> {
  return Promise.resolve(new SqliteStore(SqliteFile.use(sqlitePath('store', url))));
}

export class SqliteStore implements Store, SchemaAdmin {
  /** Mutations as in the cloud, so that what is accepted here is accepted there. */
  readonly capabilities = { parallelCommits: false, maxCommitMutations: MAX_COMMIT_MUTATIONS };
  readonly #file: SqliteFile;
  readonly #now: () => number;
  readonly #plans = new WeakMap<TableDefinition, Map<string, Plan>>();
  readonly #readPlans = new WeakMap<TableDefinition, Map<string, ReadPlan>>();
  #nextSweepMs = 0;

  /** `now`: milliseconds since 1970. */
  constructor(file: SqliteFile, now: () => number = Date.now) {
    this.#file = file;
    this.#now = now;
    // 64 MiB of pages: keys are random, so with the default 2 MB nearly every insert reads a page of each index again.
    file.db.exec('PRAGMA cache_size = -65536');
    file.db.exec(`CREATE TABLE IF NOT EXISTS spanway_commit_clock (id INTEGER PRIMARY KEY CHECK (id = 1), micros INTEGER NOT NULL) STRICT;
      INSERT INTO spanway_commit_clock VALUES (1, 0) ON CONFLICT DO NOTHING;`);
  }

  commit(mutations: readonly StoreMutation[], _options: CommitOptions): Promise<CommitResult> {
    return this.#inTurn(() => this.#write(mutations));
  }

  readWrite<T>(
    _options: CommitOptions,
    work: (transaction: StoreTransaction) => Promise<T>,
  ): Promise<CommitResult & { readonly value: T }> {
    return this.#inTurn(async () => {
      for (let run = 1; run <= MAX_RUNS; run += 1) {
        const start = this.#lastCommit();
        const writes: StoreMutation[] = [];
        try {
          const value = await work({
            read: (table, keys, columns) => this.read(table, keys, columns),
            scan: (table, range, columns) => this.scan(table, range, columns),
            write: (mutations) => void writes.push(...mutations),
          });
          const result = await this.#write(writes, start);
          if (result) return { ...result, value };
        } catch (error) {
          // What was read may be of two moments; only a quiet file's error is the caller's.
          if (this.#lastCommit() === start) throw error;
        }
      }
      throw new StoreError('transient', `sqlite ${this.#file.path}: other processes kept writing during ${MAX_RUNS} runs of a transaction`);
    });
  }

  read(table: TableDefinition, keys: readonly Key[], columns: readonly string[]): Promise<readonly KeyedRow[]> {
    return this.#guard(() => this.#readKeys(table, keys, columns));
  }

  /** Always current. */
  readAt(table: TableDefinition, keys: readonly Key[], columns: readonly string[]): Promise<AsOf<KeyedRow>> {
    return this.#guard(() => this.#atOneMoment(() => this.#readKeys(table, keys, columns)));
  }

  readRange(range: Range): Promise<AsOf<RangeRow>> {
    return this.#guard(() => this.#atOneMoment(() => readSqliteRange(this.#file, range)));
  }

  async scan(table: TableDefinition, range: KeyRange, columns: readonly string[]): Promise<readonly (readonly Cell[])[]> {
    return this.#guard(() => {
      const conditions = [
        compared(table, '=', range.prefix),
        compared(table, range.after ? '>' : '>=', range.after ?? range.from ?? []),
        compared(table, '<', range.before ?? []),
      ].filter(({ values }) => values.length > 0);
      const where = conditions.length > 0 ? ` WHERE ${conditions.map(({ sql }) => sql).join(' AND ')}` : '';
      const statement = this.#file.db.prepare(
        `SELECT ${columns.length > 0 ? list(columns) : '1'} FROM ${quote(table.name)}${where} ORDER BY ${list(table.primaryKey)} LIMIT ?`,
      );
      statement.setReadBigInts(true);
      statement.setReturnArrays(true);
      const unbind = columns.map((name) => unbinder(columnNamed(table, name)));
      const rows = statement.all(...conditions.flatMap(({ values }) => values), range.limit) as unknown as SQLOutputValue[][];
      return rows.map((row) => unbind.map((read, i) => read(row[i] ?? null)));
    });
  }

  async ping(): Promise<void> {
    await this.#guard(() => this.#file.prepare('SELECT 1').get());
  }

  async close(): Promise<void> {
    await turns.get(this.#file);
    this.#file.release();
  }

  provision(): Promise<void> {
    // Opening made the file.
    return Promise.resolve();
  }

  compare(tables: readonly TableDefinition[]): Promise<SchemaComparison> {
    return this.#guard(() => {
      const existing = existingTables(this.#file, [...tables, ...parentsOf(tables)]);
      return compareTables(tables, existing, sqliteDialect(tables, existing));
    });
  }

  apply(statements: readonly string[]): Promise<void> {
    return this.#inTurn(() =>
      this.#guard(() => {
        this.#file.transaction(() => {
          for (const statement of statements) this.#file.db.exec(statement);
        });
      }),
    );
  }

  /** One writer at a time, in the order of their calls. */
  #inTurn<T>(work: () => T | Promise<T>): Promise<T> {
    const turn = (turns.get(this.#file) ?? Promise.resolve()).then(work);
    turns.set(
      this.#file,
      turn.then(
        () => undefined,
        () => undefined,
      ),
    );
    return turn;
  }

  async #guard<T>(work: () => T): Promise<T> {
    try {
      return work();
    } catch (error) {
      throw sqliteStoreError(error, this.#file);
    }
  }

  #readKeys(table: TableDefinition, keys: readonly Key[], columns: readonly string[]): readonly KeyedRow[] {
    const plan = this.#readPlan(table, columns);
    return keys.map((key) => {
      const row = plan.statement.get(...plan.bind.map((bind, i) => bind(key[i] ?? null, ''))) as unknown as SQLOutputValue[] | undefined;
      return row && plan.unbind.map((unbind, i) => unbind(row[i] ?? null));
    });
  }

  /** Of no commit that another process makes meanwhile. */
  #atOneMoment<Row>(read: () => readonly Row[]): AsOf<Row> {
    this.#file.prepare('BEGIN').run();
    try {
      const readTimestamp = stampText(Math.max(this.#lastCommit(), (this.#now() - LONGEST_COMMIT_MS) * 1000));
      return { rows: read(), readTimestamp };
    } finally {
      this.#file.prepare('COMMIT').run();
    }
  }

  #lastCommit(): number {
    return this.#file.prepare('SELECT micros FROM spanway_commit_clock').get()?.['micros'] as number;
  }

  #write(mutations: readonly StoreMutation[]): Promise<CommitResult>;
  #write(mutations: readonly StoreMutation[], unlessAfter: number): Promise<CommitResult | undefined>;
  async #write(mutations: readonly StoreMutation[], unlessAfter?: number): Promise<CommitResult | undefined> {
    try {
      const result = await this.#file.write(() => {
        const last = this.#lastCommit();
        if (unlessAfter !== undefined && last !== unlessAfter) return undefined;
        const stamp = this.#stamp(last);
        for (const mutation of mutations) this.#apply(mutation, stamp);
        return { commitTimestamp: stamp };
      });
      this.#sweepIfDue();
      return result;
    } catch (error) {
      throw sqliteStoreError(error, this.#file);
    }
  }

  /** Later than the last one even where the clock was set back. */
  #stamp(last: number): string {
    const micros = Math.max(this.#now() * 1000, last + 1);
    this.#file.prepare('UPDATE spanway_commit_clock SET micros = ?').run(micros);
    return stampText(micros);
  }

  #apply(mutation: StoreMutation, stamp: string): void {
    const cells = mutation.op === 'delete' ? mutation.key : mutation.values;
    const plan = this.#plan(mutation);
    let changes: number | bigint;
    try {
      changes = plan.statement.run(...plan.from.map((at, i) => (plan.bind[i] as Bind)(cells[at] ?? null, stamp))).changes;
    } catch (error) {
      throw sqliteStoreError(error, this.#file, mutation);
    }
    if (mutation.op === 'update' && changes === 0) {
      throw new StoreError('not_found', `update of ${mutation.table.name}: there is no row with this key`, {
        reason: 'not_found',
        context: { table: mutation.table.name, op: 'update' },
      });
    }
  }

  #plan(mutation: StoreMutation): Plan {
    const { table, op } = mutation;
    const columns = op === 'delete' ? table.primaryKey : mutation.columns;
    const plans = cached(this.#plans, table, () => new Map<string, Plan>());
    return cached(plans, `${op} ${columns.join(' ')}`, () => {
      const { sql, order } = statementOf(op, table, columns);
      return {
        statement: this.#file.prepare(sql),
        from: order.map((column) => columns.indexOf(column)),
        bind: order.map((column) => binder(columnNamed(table, column))),
      };
    });
  }

  #readPlan(table: TableDefinition, columns: readonly string[]): ReadPlan {
    const plans = cached(this.#readPlans, table, () => new Map<string, ReadPlan>());
    return cached(plans, columns.join(' '), () => {
      const where = table.primaryKey.map((name) => `${quote(name)} = ?`).join(' AND ');
      const statement = this.#file.prepare(`SELECT ${columns.length > 0 ? list(columns) : '1'} FROM ${quote(table.name)} WHERE ${where}`);
      statement.setReadBigInts(true);
      statement.setReturnArrays(true);
      return {
        statement,
        bind: table.primaryKey.map((name) => binder(columnNamed(table, name))),
        unbind: columns.map((name) => unbinder(columnNamed(table, name))),
      };
    });
  }

  /** Removes rows past their table's age limit, a few at a time, after a commit: there is no clock of its own to close. */
  #sweepIfDue(): void {
    const now = this.#now();
    if (now < this.#nextSweepMs) return;
    this.#nextSweepMs = now + SWEEP_INTERVAL_MS;
    for (const { table, column, days } of ageLimits(this.#file)) {
      const before = storedTimestamp(new Date(now - days * 86_400_000).toISOString()) ?? '';
      const old = `SELECT rowid FROM ${quote(table)} WHERE ${quote(column)} < ? LIMIT ${SWEEP_ROWS}`;
      try {
        const { changes } = this.#file.prepare(`DELETE FROM ${quote(table)} WHERE rowid IN (${old})`).run(before);
        if (changes === SWEEP_ROWS) this.#nextSweepMs = now + SWEEP_AGAIN_MS;
      } catch {
        // The commit before it stands; a busy file or a row with children is left to the next sweep.
      }
    }
  }
}

/** From microseconds since 1970. */
function stampText(micros: number): string {
  const fraction = String(micros % 1_000_000)
    .padStart(6, '0')
    .replace(/0+$/, '');
  const seconds = new Date(Math.floor(micros / 1000)).toISOString().slice(0, 19);
  return `${seconds}${fraction ? `.${fraction}` : ''}Z`;
}

function statementOf(
  op: StoreMutation['op'],
  table: TableDefinition,
  columns: readonly string[],
): { sql: string; order: readonly string[] } {
  const name = quote(table.name);
  const where = table.primaryKey.map((column) => `${quote(column)} = ?`).join(' AND ');
  const rest = columns.filter((column) => !table.primaryKey.includes(column));
  const insert = `INSERT INTO ${name} (${list(columns)}) VALUES (${columns.map(() => '?').join(', ')})`;
  switch (op) {
    case 'insert':
      return { sql: insert, order: columns };
    case 'upsert': {
      // Never INSERT OR REPLACE, which deletes the row first, and its children with it.
      const set = rest.map((column) => `${quote(column)} = excluded.${quote(column)}`).join(', ');
      return {
        sql: `${insert} ON CONFLICT (${list(table.primaryKey)}) DO ${rest.length > 0 ? `UPDATE SET ${set}` : 'NOTHING'}`,
        order: columns,
      };
    }
    case 'update': {
      const key = quote(table.primaryKey[0] ?? '');
      const set = rest.length > 0 ? rest.map((column) => `${quote(column)} = ?`).join(', ') : `${key} = ${key}`;
      return { sql: `UPDATE ${name} SET ${set} WHERE ${where}`, order: [...rest, ...table.primaryKey] };
    }
    case 'delete':
      return { sql: `DELETE FROM ${name} WHERE ${where}`, order: table.primaryKey };
  }
}

/** The first columns of the key, as one row value, beside these cells. */
function compared(
  table: TableDefinition,
  operator: '=' | '<' | '>' | '>=',
  cells: Key,
): { readonly sql: string; readonly values: readonly SQLInputValue[] } {
  const columns = table.primaryKey.slice(0, cells.length);
  return {
    sql: `(${list(columns)}) ${operator} (${columns.map(() => '?').join(', ')})`,
    values: columns.map((name, i) => binder(columnNamed(table, name))(cells[i] ?? null, '')),
  };
}

function cached<K, V>(cache: { get(key: K): V | undefined; set(key: K, value: V): unknown }, key: K, make: () => V): V {
  let value = cache.get(key);
  if (value === undefined) {
    value = make();
    cache.set(key, value);
  }
  return value;
}

/** A child's parent that is in the database but was not asked about: its key is needed for the child's. */
function parentsOf(tables: readonly TableDefinition[]): TableDefinition[] {
  const missing = tables.flatMap((t) => (t.parent && !tables.some((o) => o.name === t.parent?.table) ? [t.parent.table] : []));
  return missing.map((name) => ({ name, columns: [], primaryKey: [], indexes: [], adopted: true }));
}
