/**
 * What SQLite's result codes mean for the caller. Codes and their meaning: https://www.sqlite.org/rescode.html
 */
import type { SqliteFile } from '../sqlite/database.ts';
import { type StoreFailure, StoreError } from '../errors.ts';
import type { Reason } from '../../schemas/envelope/ledger.ts';
import { columnNamed, type RowWrite } from '../../schemas/resource/table.ts';
import type { StoreMutation } from './port.ts';
import { binder } from './sqlite-cells.ts';
import { quote, TOO_LONG } from './sqlite-ddl.ts';

interface Meaning {
  readonly failure: StoreFailure;
  readonly reason?: Reason;
  /** What to do about it, where that is not plain. */
  readonly advice?: string;
}

const OPERATOR_ROOM = 'the disk is full or failing: make room or mend it; the write is tried again';

/** By extended code first, then by its low byte, the primary code. What is not here is `unknown`. */
const meanings: Readonly<Record<number, Meaning>> = {
  1555: { failure: 'already_exists', reason: 'already_exists' }, // CONSTRAINT_PRIMARYKEY
  2579: { failure: 'already_exists', reason: 'already_exists' }, // CONSTRAINT_ROWID: an INTEGER primary key
  2067: { failure: 'refused', reason: 'unique_violation' }, // CONSTRAINT_UNIQUE
  1299: { failure: 'refused', reason: 'not_null' }, // CONSTRAINT_NOTNULL
  275: { failure: 'refused', reason: 'check_failed' }, // CONSTRAINT_CHECK
  787: { failure: 'refused', reason: 'foreign_key' }, // CONSTRAINT_FOREIGNKEY: told apart below
  19: { failure: 'refused', reason: 'constraint' }, // CONSTRAINT: any other, such as a value of another type
  18: { failure: 'refused', reason: 'too_long' }, // TOOBIG: a value above 1 GB
  5: { failure: 'transient', advice: 'another process holds the file' }, // BUSY
  6: { failure: 'transient', advice: 'another process holds the file' }, // LOCKED
  10: { failure: 'transient', advice: OPERATOR_ROOM }, // IOERR
  13: { failure: 'transient', advice: OPERATOR_ROOM }, // FULL
};

/** `mutation`: the one being applied, inside its transaction still. */
export function sqliteStoreError(error: unknown, file: SqliteFile, mutation?: StoreMutation): unknown {
  if (error instanceof StoreError || !(error instanceof Error)) return error;
  // Of a file or statement that a stop has closed: whoever asks elsewhere, or later, is answered.
  if ('code' in error && error.code === 'ERR_INVALID_STATE')
    return new StoreError('transient', `sqlite ${file.path} is closed`, { context: { path: file.path }, cause: error });
  if (!('errcode' in error)) return error;
  const code = Number(error.errcode);
  const at = mutation ? `${mutation.op} of ${mutation.table.name}: ` : '';
  const meaning = refine(code, error.message, file, mutation) ?? meanings[code] ?? meanings[code & 0xff] ?? { failure: 'unknown' };
  const schema = /no such (table|column)|has no column/.test(error.message) ? ' (run "spanway schema apply")' : '';
  const advice = meaning.advice ? `: ${meaning.advice}` : '';
  return new StoreError(meaning.failure, `sqlite ${file.path}: ${at}${error.message}${schema}${advice}`, {
    ...(meaning.reason ? { reason: meaning.reason } : {}),
    context: { path: file.path, sqliteCode: code, ...(mutation ? { table: mutation.table.name, op: mutation.op } : {}) },
    cause: error,
  });
}

function refine(code: number, message: string, file: SqliteFile, mutation: StoreMutation | undefined): Meaning | undefined {
  if (code === 275 && message.includes(`failed: ${TOO_LONG}`)) return { failure: 'refused', reason: 'too_long' };
  if (code !== 787 || !mutation) return undefined;
  if (mutation.op === 'delete') return hasChildren(file, mutation) ? { failure: 'refused', reason: 'has_children' } : undefined;
  return lacksParent(file, mutation) ? { failure: 'refused', reason: 'parent_not_found' } : undefined;
}

// The message of a foreign key's violation names no key, so these look which one it was.

function lacksParent(file: SqliteFile, mutation: RowWrite): boolean {
  const parent = mutation.table.parent?.table;
  if (parent === undefined) return false;
  const keys = file
    .prepare(`SELECT "from" AS name, "to" AS referred FROM pragma_foreign_key_list(?) WHERE "table" = ? COLLATE NOCASE`)
    .all(mutation.table.name, parent) as { name: string; referred: string }[];
  const where = keys.map((k) => `${quote(k.referred)} = ?`).join(' AND ');
  const values = keys.map(({ name }) => {
    const at = mutation.columns.findIndex((column) => column.toLowerCase() === name.toLowerCase());
    return binder(columnNamed(mutation.table, mutation.columns[at] ?? name))(mutation.values[at] ?? null, '');
  });
  return keys.length > 0 && !file.prepare(`SELECT 1 FROM ${quote(parent)} WHERE ${where}`).get(...values);
}

function hasChildren(file: SqliteFile, mutation: Extract<StoreMutation, { op: 'delete' }>): boolean {
  const marker = `/* INTERLEAVE IN PARENT ${quote(mutation.table.name)} */`.toLowerCase();
  const tables = file.prepare(`SELECT name FROM sqlite_schema WHERE type = 'table' AND instr(lower(sql), ?) > 0`).all(marker);
  const { primaryKey } = mutation.table;
  const where = primaryKey.map((column) => `${quote(column)} = ?`).join(' AND ');
  const key = primaryKey.map((column, i) => binder(columnNamed(mutation.table, column))(mutation.key[i] ?? null, ''));
  return tables.some(({ name }) => file.prepare(`SELECT 1 FROM ${quote(name as string)} WHERE ${where}`).get(...key) !== undefined);
}
