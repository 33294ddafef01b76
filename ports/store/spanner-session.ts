/** Where the client's own ways with sessions and streams (9.0.0, read in its code and run) do not do as they are. */
import { PassThrough, type Readable } from 'node:stream';
import type { Database, Session, Snapshot, Transaction } from '@google-cloud/spanner';
import { type Cell, columnNamed, type TableDefinition } from '../../schemas/resource/table.ts';
import { type BackoffSettings, pauseMs } from '../backoff.ts';
import type { AsOf, Key, KeyedRow, KeyRange } from './port.ts';
import { fromRaw, keepValuesRaw, keyText, type StreamResponse, timestampText, toList } from './spanner-cells.ts';
import { isGrpcError } from './spanner-errors.ts';

/**
 * Runs `work` with a session of the client's. To get its first session the client tries for ten minutes whatever the
 * deadline of the call is, so the wait has a deadline here.
 */
export async function withSession<T>(database: Database, timeoutMs: number, work: (session: Session) => Promise<T>): Promise<T> {
  const session = await borrowSession(database, timeoutMs);
  try {
    return await work(session);
  } catch (error) {
    // So that the pool throws away a session that is gone.
    if (isGrpcError(error)) Object.assign(session, { lastError: error });
    throw error;
  } finally {
    database.sessionFactory_.release(session);
  }
}

function borrowSession(database: Database, timeoutMs: number): Promise<Session> {
  return new Promise((resolve, reject) => {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      reject(new Error(`Spanner gave no session within ${timeoutMs} ms`));
    }, timeoutMs);
    database.sessionFactory_.getSession((error, session) => {
      clearTimeout(timer);
      if (!session) reject(error ?? new Error('the client gave no session'));
      else if (late) database.sessionFactory_.release(session);
      else resolve(session);
    });
  });
}

/** What each request for rows needs. */
export function streamOptions(timeoutMs: number): { timeout: number; retryRequestOptions: { retries: number; noResponseRetries: number } } {
  // Without this every failure, ABORTED and a missing table too, is tried three times over seven seconds.
  return { timeout: timeoutMs, retryRequestOptions: { retries: 0, noResponseRetries: 0 } };
}

/** One request for the rows of these keys, in the order of the keys. */
export async function readRows(
  snapshot: Snapshot,
  table: TableDefinition,
  keys: readonly Key[],
  columns: readonly string[],
  timeoutMs: number,
): Promise<AsOf<KeyedRow>> {
  // Spanner answers in its own order, so rows are found again by their key.
  const wanted = [...columns, ...table.primaryKey.filter((name) => !columns.includes(name))];
  const places = table.primaryKey.map((name) => wanted.indexOf(name));
  const rows = new Map<string, Cell[]>();
  const readTimestamp = await streamRows(snapshot, table, { keySet: { keys: keys.map(toList) } }, wanted, timeoutMs, (cells) => {
    const key = places.map((at) => cells[at] ?? null);
    rows.set(keyText(table, key), cells.slice(0, columns.length));
  });
  return { rows: keys.map((key) => rows.get(keyText(table, key))), readTimestamp };
}

/** One request for the first rows of a range, in the order of the primary key. */
export async function scanRows(
  snapshot: Snapshot,
  table: TableDefinition,
  { prefix, from, after, before, limit }: KeyRange,
  columns: readonly string[],
  timeoutMs: number,
): Promise<AsOf<readonly Cell[]>> {
  // A bound shorter than the key stands for every key that begins with it, the empty one for all.
  const range = {
    ...(after ? { startOpen: toList(after) } : { startClosed: toList(from ?? prefix) }),
    ...(before ? { endOpen: toList(before) } : { endClosed: toList(prefix) }),
  };
  const rows: (readonly Cell[])[] = [];
  // The client asks for no columns at all as if it were a mistake.
  const wanted = columns.length > 0 ? columns : table.primaryKey.slice(0, 1);
  const readTimestamp = await streamRows(snapshot, table, { keySet: { ranges: [range] }, limit }, wanted, timeoutMs, (cells) => {
    rows.push(cells.slice(0, columns.length));
  });
  return { rows, readTimestamp };
}

function streamRows(
  snapshot: Snapshot,
  table: TableDefinition,
  what: { readonly keySet: object; readonly limit?: number },
  columns: readonly string[],
  timeoutMs: number,
  take: (cells: Cell[]) => void,
): Promise<string> {
  const types = columns.map((name) => columnNamed(table, name).type);
  const request = { ...what, columns: [...columns], gaxOptions: streamOptions(timeoutMs) };
  return drain(snapshot, snapshot.createReadStream(table.name, request), (row) =>
    take(types.map((type, i) => fromRaw(type, row[i]?.value))),
  );
}

/** What the client gives of a row: its values, which `keepValuesRaw` keeps as they came. */
export type RawRow = readonly { readonly value: unknown }[];

/** Every row of a stream; resolves with the moment it is of, which is empty within a transaction that writes. */
export function drain(snapshot: Snapshot, stream: Readable, take: (row: RawRow) => void): Promise<string> {
  return new Promise((resolve, reject) => {
    let readTimestamp = '';
    stream
      .on('response', (response: StreamResponse) => {
        keepValuesRaw(response);
        const stamp = response.metadata?.transaction?.readTimestamp;
        if (!stamp) return;
        readTimestamp = timestampText(stamp);
        // A snapshot of a single use has an empty id, which the client would send when it resumes a stream that was cut off.
        Reflect.deleteProperty(snapshot, 'id');
      })
      .on('error', reject)
      .on('end', () => resolve(readTimestamp))
      // Flowing, not iterated: to see whether a reader that was slow goes on, the client pushes `undefined` rows.
      .on('data', (row: RawRow | undefined) => {
        if (row) take(row);
      });
  });
}

const REOPEN_BACKOFF: BackoffSettings = { minMs: 100, maxMs: 2000 };

/**
 * The client opens a stream that failed with UNAVAILABLE again and again, without a pause, until the deadline: while
 * the server is gone a processor would be busy with that. Here an attempt after a failed one waits.
 */
export function pauseAfterFailures<T extends Snapshot>(snapshot: T): T {
  const open = snapshot.requestStream;
  let failures = 0;
  const watched = (config: object): Readable =>
    open(config)
      .on('error', () => (failures += 1))
      .on('end', () => (failures = 0));
  snapshot.requestStream = (config: object): Readable => {
    if (failures === 0) return watched(config);
    const paused = new PassThrough({ objectMode: true });
    const timer = setTimeout(
      () => {
        const stream = watched(config);
        stream.on('error', (error) => paused.destroy(error)).pipe(paused);
        paused.on('close', () => stream.destroy());
      },
      pauseMs(REOPEN_BACKOFF, failures),
    );
    paused.on('close', () => clearTimeout(timer));
    return paused;
  };
  return snapshot;
}

/**
 * When a transaction's first read fails, the client begins the transaction by a second request and looks at neither
 * its result nor its failure (`void this.begin()` in transaction.js): where the server is gone, that unhandled
 * rejection would end the process. And it never gives its own requests to begin a deadline.
 */
export function tameBegin(transaction: Transaction, timeoutMs: number): void {
  const begin = transaction.begin.bind(transaction) as (...args: unknown[]) => unknown;
  const tamed = (...args: unknown[]): unknown => {
    const result = begin(...(args.length > 0 ? args : [{ timeout: timeoutMs }]));
    if (result instanceof Promise) result.catch(() => undefined);
    return result;
  };
  transaction.begin = tamed as typeof transaction.begin;
}
