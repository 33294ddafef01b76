/** The cloud store: `spanner://PROJECT/INSTANCE/DATABASE`, on Google's client. Options: `spanner-config.ts`. */
import { MAX_COMMIT_MUTATIONS } from '../../schemas/resource/cost.ts';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Database, Session, Snapshot, Spanner } from '@google-cloud/spanner';
import type { Cell, TableDefinition } from '../../schemas/resource/table.ts';
import { StoreError } from '../errors.ts';
import { compareTables } from './compare.ts';
import type {
  AsOf,
  CommitOptions,
  CommitResult,
  Key,
  KeyedRow,
  Range,
  RangeRow,
  ReadOptions,
  KeyRange,
  SchemaAdmin,
  SchemaComparison,
  Store,
  StoreMutation,
  StoreTransaction,
  StoreCapabilities,
} from './port.ts';
import { timestampText, toMutations } from './spanner-cells.ts';
import { makeClient, readSpannerUrl, type SpannerConfig, withEmulator } from './spanner-config.ts';
import { readSpannerRange } from './spanner-range.ts';
import { isGrpcError, isInvalidMutationKey, isSessionNotFound, spannerStoreError } from './spanner-errors.ts';
import { existingTables, spannerDialect } from './spanner-schema.ts';
import { pauseAfterFailures, readRows, scanRows, streamOptions, tameBegin, withSession } from './spanner-session.ts';

/** How often "invalid mutation key" is tried again: https://github.com/googleapis/google-cloud-node/issues/9153 */
const MUTATION_KEY_RETRIES = 3;
/** At most, in milliseconds: several times what a transaction takes on the emulator. */
const ABORTED_PAUSE_MS = 50;
const NOT_FOUND = 5;
const ABORTED = 10;
const ALREADY_EXISTS = 6;

export function openSpannerStore(url: URL): Promise<SpannerStore> {
  return Promise.resolve(new SpannerStore(readSpannerUrl(url)));
}

type TimestampBounds = Parameters<Session['snapshot']>[0];

/** What the client's types lose: a Database is one. */
interface Emitter {
  on(event: 'error', listener: (error: Error) => void): unknown;
}

/** What `work` threw, kept from the client's runner, which would look at its `code` and run it again. */
class WorkFailed extends Error {
  override readonly name = 'WorkFailed';
}

/**
 * A failure of the database that is kept from the runner too. Where the session is gone, it would run again on the same
 * one, if that is multiplexed, for ever. Where the emulator aborts, it would wait 2, 4, … 32 s between its runs; see
 * `#whileAborted`.
 */
class KeptFromRunner extends Error {
  override readonly name = 'KeptFromRunner';
}

export class SpannerStore implements Store, SchemaAdmin {
  readonly #config: SpannerConfig;
  #client: Spanner;
  readonly #where: string;
  #database: Database | undefined;

  constructor(config: SpannerConfig) {
    this.#config = config;
    this.#client = makeClient(config);
    this.#where = `spanner ${config.instance}/${config.database}`;
  }

  commit(mutations: readonly StoreMutation[], options: CommitOptions): Promise<CommitResult> {
    const proto = toMutations(mutations);
    const { timeoutMs } = this.#config;
    return this.#whileAborted(() =>
      this.#attempt('commit', (database) =>
        withSession(database, timeoutMs, async (session) => {
          // One request: never begun, the transaction is of a single use, with its mutations in it.
          const transaction = session.transaction(undefined, { transactionTag: options.tag });
          transaction.setQueuedMutations(proto);
          const [response] = await transaction.commit({ gaxOptions: { timeout: timeoutMs } });
          return { commitTimestamp: timestampText(response.commitTimestamp) };
        }),
      ),
    );
  }

  readWrite<T>(options: CommitOptions, work: (transaction: StoreTransaction) => Promise<T>): Promise<CommitResult & { readonly value: T }> {
    return this.#whileAborted(() => this.#readWrite(options, work));
  }

  /**
   * The emulator runs one transaction at a time and aborts the others; that of a dead process stays open until a new one
   * ends it, with a chance of one in five each. So there the wait between two tries is short.
   */
  async #whileAborted<T>(call: () => Promise<T>): Promise<T> {
    const until = performance.now() + this.#config.transactionTimeoutMs;
    for (;;) {
      try {
        return await call();
      } catch (error) {
        const aborted = this.#config.emulator !== undefined && error instanceof StoreError && isAborted(error.cause);
        if (!aborted || performance.now() > until) throw error;
        await sleep(Math.random() * ABORTED_PAUSE_MS);
      }
    }
  }

  async #readWrite<T>(
    options: CommitOptions,
    work: (transaction: StoreTransaction) => Promise<T>,
  ): Promise<CommitResult & { readonly value: T }> {
    const requestOptions = { transactionTag: options.tag };
    const { timeoutMs, transactionTimeoutMs, emulator } = this.#config;
    const isKept = (error: unknown): boolean => isSessionNotFound(error) || (emulator !== undefined && isAborted(error));
    try {
      return await this.#attempt('read-write transaction', async (database) => {
        // The runner waits for a session without a deadline; after this, there is one.
        await withSession(database, timeoutMs, () => Promise.resolve());
        return await database.runTransactionAsync({ requestOptions, timeout: transactionTimeoutMs }, async (transaction) => {
          tameBegin(transaction, timeoutMs);
          pauseAfterFailures(transaction);
          // Again on each run: when the runner starts again, it makes a transaction without its tag.
          transaction.requestOptions = requestOptions;
          const writes: StoreMutation[] = [];
          let failedRead: Error | undefined;
          let value: T;
          try {
            const reading = async <R>(table: TableDefinition, read: () => Promise<R>): Promise<R> => {
              try {
                return await read();
              } catch (error) {
                failedRead ??= error as Error;
                throw spannerStoreError(error, this.#at(`read of ${table.name} in a transaction`));
              }
            };
            value = await work({
              read: (table, keys, columns) =>
                reading(table, async () => (keys.length === 0 ? [] : (await readRows(transaction, table, keys, columns, timeoutMs)).rows)),
              scan: (table, range, columns) =>
                reading(table, async () => (await scanRows(transaction, table, range, columns, timeoutMs)).rows),
              write: (mutations) => void writes.push(...mutations),
            });
            // `work` may have caught it, but no more can come of this transaction.
            if (failedRead !== undefined) throw failedRead;
          } catch (error) {
            if (isKept(failedRead)) throw new KeptFromRunner('read failed', { cause: failedRead });
            // Raw, the runner knows it and starts again.
            if (isAborted(failedRead)) throw failedRead;
            // Its locks would be freed after ten seconds anyway, so a rollback that fails is no failure.
            await transaction.rollback({ timeout: timeoutMs }).catch(() => undefined);
            const cause = error === failedRead ? spannerStoreError(error, this.#at('read in a transaction')) : error;
            throw new WorkFailed('work failed', { cause });
          }
          transaction.setQueuedMutations(toMutations(writes));
          try {
            const [response] = await transaction.commit({ gaxOptions: { timeout: timeoutMs } });
            return { commitTimestamp: timestampText(response.commitTimestamp), value };
          } catch (error) {
            throw isKept(error) ? new KeptFromRunner('commit failed', { cause: error }) : error;
          }
        });
      });
    } catch (error) {
      throw error instanceof WorkFailed ? error.cause : error;
    }
  }

  async read(table: TableDefinition, keys: readonly Key[], columns: readonly string[]): Promise<readonly KeyedRow[]> {
    return keys.length === 0 ? [] : (await this.readAt(table, keys, columns, { freshness: 'strong' })).rows;
  }

  readAt(table: TableDefinition, keys: readonly Key[], columns: readonly string[], options: ReadOptions): Promise<AsOf<KeyedRow>> {
    return this.#readOnly(`read of ${table.name}`, options, (snapshot, timeoutMs) => readRows(snapshot, table, keys, columns, timeoutMs));
  }

  readRange(range: Range, options: ReadOptions): Promise<AsOf<RangeRow>> {
    return this.#readOnly(`range of ${range.table.name}`, options, (snapshot, timeoutMs) => readSpannerRange(snapshot, range, timeoutMs));
  }

  async scan(table: TableDefinition, range: KeyRange, columns: readonly string[]): Promise<readonly (readonly Cell[])[]> {
    const { rows } = await this.#readOnly(`scan of ${table.name}`, { freshness: 'strong' }, (snapshot, timeoutMs) =>
      scanRows(snapshot, table, range, columns, timeoutMs),
    );
    return rows;
  }

  get capabilities(): StoreCapabilities {
    // The emulator locks the whole database for a transaction: https://github.com/GoogleCloudPlatform/cloud-spanner-emulator#limitations
    return { parallelCommits: this.#config.emulator === undefined, maxCommitMutations: MAX_COMMIT_MUTATIONS };
  }

  async ping(): Promise<void> {
    await this.#attempt('ping', (database) => this.#query(database, 'SELECT 1'));
  }

  async close(): Promise<void> {
    await endClient(this.#client, this.#database);
  }

  async provision(): Promise<void> {
    const { project, instance, database, emulator, timeoutMs } = this.#config;
    const gax = { timeout: timeoutMs };
    try {
      // A real instance costs money by the hour: Terraform or a person makes it.
      if (emulator !== undefined) {
        const instances = this.#client.getInstanceAdminClient();
        const parent = `projects/${project}`;
        await this.#unlessThere(async () => {
          const config = `${parent}/instanceConfigs/emulator-config`;
          const request = { parent, instanceId: instance, instance: { config, displayName: instance, nodeCount: 1 } };
          const [operation] = await instances.createInstance(request, gax);
          await operation.promise();
        });
      }
      const databases = this.#client.getDatabaseAdminClient();
      const parent = `projects/${project}/instances/${instance}`;
      const exists = await databases.getDatabase({ name: `${parent}/databases/${database}` }, gax).then(
        () => true,
        (error: unknown) => {
          if (isGrpcError(error) && error.code === NOT_FOUND && !/Instance not found/i.test(error.message)) return false;
          throw error;
        },
      );
      if (exists) return;
      await this.#unlessThere(async () => {
        const [operation] = await databases.createDatabase({ parent, createStatement: `CREATE DATABASE \`${database}\`` }, gax);
        await operation.promise();
      });
    } catch (error) {
      throw spannerStoreError(error, this.#at('provision'));
    }
  }

  compare(tables: readonly TableDefinition[]): Promise<SchemaComparison> {
    return this.#attempt('compare', async (database) => {
      const existing = await existingTables((sql) => this.#query(database, sql));
      return compareTables(tables, existing, spannerDialect);
    });
  }

  async apply(statements: readonly string[]): Promise<void> {
    if (statements.length === 0) return;
    const { project, instance, database, timeoutMs } = this.#config;
    try {
      const databases = this.#client.getDatabaseAdminClient();
      const request = { database: `projects/${project}/instances/${instance}/databases/${database}`, statements: [...statements] };
      const [operation] = await databases.updateDatabaseDdl(request, { timeout: timeoutMs });
      // No deadline on the work itself: filling an index of a large table takes hours.
      await operation.promise();
    } catch (error) {
      throw spannerStoreError(error, this.#at('apply'));
    }
  }

  #at(what: string): string {
    return `${this.#where}: ${what}`;
  }

  /** Made at the first use, since it asks for sessions at once, and there may be no database before `provision`. */
  #use(): Database {
    if (this.#database) return this.#database;
    const { instance, database: id, timeoutMs } = this.#config;
    // The pool is used with the emulator alone.
    const pool = { min: 1, max: 100, incStep: 1, acquireTimeout: timeoutMs };
    const database = withEmulator(this.#config, () => this.#client.instance(instance).database(id, pool));
    // Without a listener the failure of a session in the background ends the process. Calls report their own.
    (database as unknown as Emitter).on('error', () => undefined);
    this.#database = database;
    return database;
  }

  /** All of the client, which keeps a Database that was closed and gives it out again. */
  #startAnew(): void {
    const [client, database] = [this.#client, this.#database];
    this.#database = undefined;
    this.#client = makeClient(this.#config);
    // What is under way on the old one fails as transient, and is called again.
    void endClient(client, database);
  }

  async #attempt<T>(what: string, call: (database: Database) => Promise<T>): Promise<T> {
    for (let retries = 0; ; retries += 1) {
      const database = this.#use();
      try {
        return await call(database);
      } catch (caught) {
        if (caught instanceof WorkFailed) throw caught;
        const error = caught instanceof KeptFromRunner ? caught.cause : caught;
        if (isInvalidMutationKey(error) && retries < MUTATION_KEY_RETRIES) continue;
        // The client holds on to sessions that are gone: the database was made anew, or a multiplexed one was too old.
        if (isSessionNotFound(error) && this.#database === database) this.#startAnew();
        throw spannerStoreError(error, this.#at(what));
      }
    }
  }

  #readOnly<T>(what: string, options: ReadOptions, work: (snapshot: Snapshot, timeoutMs: number) => Promise<T>): Promise<T> {
    const { freshness } = options;
    const timeoutMs = Math.min(options.timeoutMs ?? Number.POSITIVE_INFINITY, this.#config.timeoutMs);
    const bound = freshness === 'strong' ? { strong: true } : { maxStaleness: freshness.maxStalenessMs };
    return this.#attempt(what, (database) => this.#withSnapshot(database, bound, timeoutMs, (snapshot) => work(snapshot, timeoutMs)));
  }

  /** A single use: `table.read` of the client would begin a transaction first. */
  #withSnapshot<T>(database: Database, bound: TimestampBounds, timeoutMs: number, work: (snapshot: Snapshot) => Promise<T>): Promise<T> {
    return withSession(database, timeoutMs, async (session) => {
      const snapshot = pauseAfterFailures(session.snapshot(bound));
      try {
        return await work(snapshot);
      } finally {
        snapshot.end();
      }
    });
  }

  #query(database: Database, sql: string): Promise<Record<string, unknown>[]> {
    return this.#withSnapshot(database, { strong: true }, this.#config.timeoutMs, async (snapshot) => {
      const [rows] = await snapshot.run({ sql, json: true, gaxOptions: streamOptions(this.#config.timeoutMs) });
      return rows as Record<string, unknown>[];
    });
  }

  async #unlessThere(make: () => Promise<unknown>): Promise<void> {
    try {
      await make();
    } catch (error) {
      // Somebody else made it at the same time.
      if (!isGrpcError(error) || error.code !== ALREADY_EXISTS) throw error;
    }
  }
}

function isAborted(error: unknown): error is Error {
  return isGrpcError(error) && error.code === ABORTED;
}

async function endClient(client: Spanner, database: Database | undefined): Promise<void> {
  // A session that is not given back is Spanner's to end.
  await database?.close().catch(() => undefined);
  await client.close();
}
