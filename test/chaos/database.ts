/** The database by SQL, without any of the code that wrote it: the whole ledger, and how many rows the tables have. */
import type { EventEmitter } from 'node:events';
import { DatabaseSync } from 'node:sqlite';
import { makeClient, readSpannerUrl, withEmulator } from '../../ports/store/spanner-config.ts';

export interface LedgerRow {
  readonly submissionId: string;
  readonly committedAt: string;
  readonly position: number;
  readonly outcome: string;
  readonly reason: string | null;
  readonly detail: string | null;
  readonly tenant: string;
  readonly aggregate: string;
  readonly correlationId: string;
}

export interface DatabaseReader {
  ledger(): Promise<readonly LedgerRow[]>;
  ledgerCount(): Promise<number>;
  count(table: 'orders' | 'order_lines' | 'spanway_parked'): Promise<number>;
  close(): Promise<void>;
}

/** Times as text: the client would round a TIMESTAMP that it parses. */
const LEDGER = (text: (column: string) => string, json: string): string => {
  const fields = ['outcome', 'reason', 'detail', 'tenant', 'correlationId'].map((field) => `${json}(entry, '$.${field}') AS ${field}`);
  return `SELECT submission_id AS submissionId, ${text('committed_at')} AS committedAt,
   CAST(${json}(entry, '$.position') AS ${json === 'JSON_VALUE' ? 'INT64' : 'INTEGER'}) AS position, ${fields.join(', ')} FROM spanway_ledger`;
};

export function openDatabase(url: string): DatabaseReader {
  return url.startsWith('sqlite:') ? openSqlite(url.slice('sqlite:'.length)) : openSpanner(url);
}

/** The API writes a time without trailing zeros. */
function inApiForm(row: LedgerRow): LedgerRow {
  return { ...row, committedAt: row.committedAt.replace(/(\.\d*?)0*Z$/, '$1Z').replace('.Z', 'Z') };
}

/** The order in which the ledger says that they took effect. */
export function inLedgerOrder(rows: readonly LedgerRow[]): readonly LedgerRow[] {
  const time = ({ committedAt }: LedgerRow): string => {
    const [seconds = '', fraction = ''] = committedAt.slice(0, -1).split('.');
    return `${seconds}.${fraction.padEnd(9, '0')}`;
  };
  return rows
    .map((row) => ({ row, time: time(row) }))
    .sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : a.row.position - b.row.position))
    .map(({ row }) => row);
}

function openSqlite(path: string): DatabaseReader {
  const db = new DatabaseSync(path, { readOnly: true, timeout: 5000 });
  const count = async (table: string): Promise<number> => (db.prepare(`SELECT COUNT(*) AS n FROM ${table}`).get() as { n: number }).n;
  return {
    ledger: async () => (db.prepare(LEDGER((column) => column, 'json_extract')).all() as unknown as LedgerRow[]).map(inApiForm),
    ledgerCount: () => count('spanway_ledger'),
    count,
    close: async () => db.close(),
  };
}

function openSpanner(url: string): DatabaseReader {
  const config = readSpannerUrl(new URL(url));
  const client = makeClient(config);
  const database = withEmulator(config, () => client.instance(config.instance).database(config.database));
  // The client reports lost sessions by an event; without a listener it would end the process.
  (database as unknown as EventEmitter).on('error', () => {});
  const run = async (sql: string): Promise<Record<string, unknown>[]> => {
    const [rows] = await withEmulator(config, () => database.run({ sql, json: true }));
    return rows as Record<string, unknown>[];
  };
  const count = async (table: string): Promise<number> => Number((await run(`SELECT COUNT(*) AS n FROM ${table}`))[0]?.['n']);
  return {
    ledger: async () => {
      const rows = await run(LEDGER((column) => `FORMAT_TIMESTAMP('%Y-%m-%dT%H:%M:%E6SZ', ${column}, 'UTC')`, 'JSON_VALUE'));
      return rows.map((row) => ({ ...row, position: Number(row['position']) }) as LedgerRow).map(inApiForm);
    },
    ledgerCount: () => count('spanway_ledger'),
    count,
    close: async () => {
      await database.close().catch(() => undefined);
      await client.close();
    },
  };
}
