/** The cloud store: `spanner://PROJECT/INSTANCE/DATABASE`, on Google's client. Options: `spanner-config.ts`. */
import { type Database, MutationSet, type Session, type Snapshot, type Spanner, type Transaction } from '@google-cloud/spanner';
import { type Cell, columnNamed, type TableDefinition } from '../../schemas/resource/table.ts';
import { compareTables } from './compare.ts';
import type { CommitOptions, CommitResult, Key, SchemaAdmin, SchemaComparison, Store, StoreMutation, StoreTransaction } from './port.ts';
import { fromRaw, keepValuesRaw, keyText, timestampText, toList, toMutations } from './spanner-cells.ts';
import { makeClient, parseSpannerUrl, type SpannerConfig, withEmulator } from './spanner-config.ts';
import { isGrpcError, isInvalidMutationKey, isSessionNotFound, spannerStoreError } from './spanner-errors.ts';
import { existingTables, spannerDialect } from './spanner-schema.ts';

/** How often "invalid mutation key" is tried again: https://github.com/googleapis/google-cloud-node/issues/9153 */
const MUTATION_KEY_RETRIES = 3;
const NOT_FOUND = 5;
const ABORTED = 10;
const ALREADY_EXISTS = 6;

export function openSpannerStore(url: URL): Promise<SpannerStore> {
  return Promise.resolve(new SpannerStore(parseSpannerUrl(url)));
}

/** What `work` threw, kept from the client's runner, which would look at its `code` and run it again. */
class WorkFailed extends Error {
  override readonly name = 'WorkFailed';
}

export class SpannerStore implements Store, SchemaAdmin {
  readonly #config: SpannerConfig;
  readonly #client: Spanner;
  readonly #where: string;
  #database: Database | undefined;

  constructor(config: SpannerConfig) {
    this.#config = config;
    this.#client = makeClient(config);
    this.#where = `spanner ${config.instance}/${config.database}`;
  }

  commit(mutations: readonly StoreMutation[], options: CommitOptions): Promise<CommitResult> {
    const proto = toMutations(mutations);
    return this.#attempt('commit', async (database) => {
      // One request: a transaction of a single use, with its mutations in it.
      const set = Object.assign(new MutationSet(), { proto: () => proto });
      // The client's types leave out the tag and the deadline; its code takes them.
      const settings: object = { requestOptions: { transactionTag: options.tag }, gaxOptions: { timeout: this.#config.timeoutMs } };
      const [response] = await database.writeAtLeastOnce(set, settings);
      return { commitTimestamp: timestampText(response.commitTimestamp) };
    });
  }

  async readWrite<T>(
    options: CommitOptions,
    work: (transaction: StoreTransaction) => Promise<T>,
  ): Promise<CommitResult & { readonly value: T }> {
    const requestOptions = { transactionTag: options.tag };
    try {
      return await this.#attempt('read-write transaction', (database) =>
        database.runTransactionAsync({ requestOptions, timeout: this.#config.transactionTimeoutMs }, async (transaction) => {
          holdFailedBegin(transaction);
          // Again on each run: when the runner starts again, it makes a transaction without its tag.
          transaction.requestOptions = requestOptions;
          const writes: StoreMutation[] = [];
          let failedRead: unknown;
          let value: T;
          try {
            value = await work({
              read: async (table, keys, columns) => {
                try {
                  return await this.#readOn(transaction, table, keys, columns);
                } catch (error) {
                  failedRead ??= error;
                  throw spannerStoreError(error, this.#at(`read of ${table.name} in a transaction`));
                }
              },
              write: (mutations) => void writes.push(...mutations),
            });
            // `work` may have caught it, but no more can come of this transaction.
            if (failedRead !== undefined) throw failedRead;
          } catch (error) {
            // Raw, the runner knows it and starts again.
            if (isGrpcError(failedRead) && (failedRead.code === ABORTED || isSessionNotFound(failedRead))) throw failedRead;
            // Its locks would be freed after ten seconds anyway, so a rollback that fails is no failure.
            await transaction.rollback({ timeout: this.#config.timeoutMs }).catch(() => undefined);
            throw new WorkFailed('work failed', { cause: error });
          }
          transaction.setQueuedMutations(toMutations(writes) as Parameters<typeof transaction.setQueuedMutations>[0]);
          const [response] = await transaction.commit({ gaxOptions: { timeout: this.#config.timeoutMs } });
          return { commitTimestamp: timestampText(response.commitTimestamp), value };
        }),
      );
    } catch (error) {
      throw error instanceof WorkFailed ? error.cause : error;
    }
  }

  read(table: TableDefinition, keys: readonly Key[], columns: readonly string[]): Promise<readonly (readonly Cell[] | undefined)[]> {
    return this.#attempt(`read of ${table.name}`, async (database) => {
      // `table.read` of the client begins a transaction first: two requests. This is one, a single use.
      const session = await borrowSession(database);
      const snapshot = session.snapshot({ strong: true });
      try {
        return await this.#readOn(snapshot, table, keys, columns);
      } catch (error) {
        // So that the pool throws away a session that is gone.
        if (isGrpcError(error)) session.lastError = error as typeof session.lastError & {};
        throw error;
      } finally {
        snapshot.end();
        database.sessionFactory_.release(session);
      }
    });
  }

  async ping(): Promise<void> {
    await this.#attempt('ping', (database) => database.run({ sql: 'SELECT 1', gaxOptions: { timeout: this.#config.timeoutMs } }));
  }

  async close(): Promise<void> {
    const database = this.#database;
    this.#database = undefined;
    // A session that is not given back is Spanner's to end.
    await database?.close().catch(() => undefined);
    await this.#client.close();
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
      const existing = await existingTables(async (sql) => {
        const [rows] = await database.run({ sql, json: true, gaxOptions: { timeout: this.#config.timeoutMs } });
        return rows as Record<string, unknown>[];
      });
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
    database.on('error', () => undefined);
    this.#database = database;
    return database;
  }

  async #attempt<T>(what: string, call: (database: Database) => Promise<T>): Promise<T> {
    for (let retries = 0; ; retries += 1) {
      const database = this.#use();
      try {
        return await call(database);
      } catch (error) {
        if (error instanceof WorkFailed) throw error;
        if (isInvalidMutationKey(error) && retries < MUTATION_KEY_RETRIES) continue;
        // The client holds on to sessions that are gone: the database was made anew, or a multiplexed one was too old.
        if (isSessionNotFound(error) && this.#database === database) {
          this.#database = undefined;
          database.close().catch(() => undefined);
        }
        throw spannerStoreError(error, this.#at(what));
      }
    }
  }

  async #readOn(
    snapshot: Snapshot,
    table: TableDefinition,
    keys: readonly Key[],
    columns: readonly string[],
  ): Promise<(readonly Cell[] | undefined)[]> {
    if (keys.length === 0) return [];
    // Spanner answers in its own order, so rows are found again by their key.
    const wanted = [...columns, ...table.primaryKey.filter((name) => !columns.includes(name))];
    const types = wanted.map((name) => columnNamed(table, name).type);
    const request = { keySet: { keys: keys.map(toList) }, columns: wanted, gaxOptions: { timeout: this.#config.timeoutMs } };
    const rows = new Map<string, Cell[]>();
    const stream = snapshot.createReadStream(table.name, request).on('response', keepValuesRaw);
    for await (const row of stream as AsyncIterable<{ value: unknown }[]>) {
      const cells = types.map((type, i) => fromRaw(type, row[i]?.value));
      const key = table.primaryKey.map((name) => cells[wanted.indexOf(name)] ?? null);
      rows.set(keyText(table, key), cells.slice(0, columns.length));
    }
    return keys.map((key) => rows.get(keyText(table, key)));
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

function borrowSession(database: Database): Promise<Session> {
  return new Promise((resolve, reject) => {
    database.sessionFactory_.getSession((error, session) => {
      if (session) resolve(session);
      else reject(error ?? new Error('the client gave no session'));
    });
  });
}

/**
 * When a transaction's first read fails, the client begins the transaction by a second request and looks at neither
 * its result nor its failure (`void this.begin()`, transaction.js of 9.0.0): where the server is gone, that unhandled
 * rejection would end the process.
 */
function holdFailedBegin(transaction: Transaction): void {
  const begin = transaction.begin.bind(transaction) as (...args: unknown[]) => unknown;
  const held = (...args: unknown[]): unknown => {
    const result = begin(...args);
    if (result instanceof Promise) result.catch(() => undefined);
    return result;
  };
  transaction.begin = held as typeof transaction.begin;
}
