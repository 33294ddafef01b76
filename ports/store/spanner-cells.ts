/**
 * Between cells and protobuf values. A cell is already in the JSON encoding of Spanner's API, so it goes out as it
 * is; coming back, only what has several spellings (a time, a decimal, JSON) is brought to the canonical one.
 */
import { protos } from '@google-cloud/spanner';
import { jsonText } from '../../schemas/resource/cells.ts';
import { parseExactJson } from '../../schemas/resource/inexact-number.ts';
import { type Cell, type ColumnType, columnNamed, type TableDefinition } from '../../schemas/resource/table.ts';
import { trimNumeric, trimTimestamp } from './cells.ts';
import type { Key, StoreMutation } from './port.ts';

type Value = protos.google.protobuf.IValue;
type ListValue = protos.google.protobuf.IListValue;
type Mutation = protos.google.spanner.v1.Mutation;

/** The first message of a stream of rows. */
export interface StreamResponse {
  readonly metadata?: protos.google.spanner.v1.IResultSetMetadata | null;
}

export function toValue(cell: Cell): Value {
  if (cell === null) return { nullValue: 'NULL_VALUE' };
  switch (typeof cell) {
    case 'string':
      return { stringValue: cell };
    case 'number':
      return { numberValue: cell };
    case 'boolean':
      return { boolValue: cell };
    default:
      return { listValue: toList(cell) };
  }
}

export function toList(cells: readonly Cell[]): ListValue {
  return { values: cells.map(toValue) };
}

/** The mutations in their order; neighbours of one kind share one message, which repeats neither table nor columns. */
export function toMutations(mutations: readonly StoreMutation[]): Mutation[] {
  const out: Mutation[] = [];
  // As instances of their class, they are not copied cell by cell by the client before it sends them.
  const add = (mutation: protos.google.spanner.v1.IMutation): unknown => out.push(protos.google.spanner.v1.Mutation.create(mutation));
  let kind = '';
  let rows: ListValue[] = [];
  for (const mutation of mutations) {
    const next =
      mutation.op === 'delete' ? `delete ${mutation.table.name}` : `${mutation.op} ${mutation.table.name} ${mutation.columns.join(' ')}`;
    if (next !== kind) {
      kind = next;
      rows = [];
      const table = mutation.table.name;
      if (mutation.op === 'delete') add({ delete: { table, keySet: { keys: rows } } });
      else {
        const write = { table, columns: [...mutation.columns], values: rows };
        // Never `replace`, which deletes the row first, and the children interleaved in it.
        add(mutation.op === 'upsert' ? { insertOrUpdate: write } : { [mutation.op]: write });
      }
    }
    rows.push(toList(mutation.op === 'delete' ? mutation.key : mutation.values));
  }
  return out;
}

/**
 * Makes the client hand over values as they came. It would turn a TIMESTAMP into a date object, which is a second
 * off before 1970 (seen with 9.0.0 for year 1), and the numbers inside JSON into doubles. The client decodes by the
 * types in the response, which it emits as `response` first; a STRING it leaves alone.
 */
export function keepValuesRaw(response: StreamResponse): void {
  for (const field of response.metadata?.rowType?.fields ?? []) {
    if (field.type?.code === 'ARRAY') field.type.arrayElementType = { code: 'STRING' };
    else field.type = { code: 'STRING' };
  }
}

export function fromRaw(type: ColumnType, raw: unknown): Cell {
  if (raw === null || raw === undefined) return null;
  if (type.array) {
    const scalar = { ...type, array: false };
    return (raw as unknown[]).map((item) => fromRaw(scalar, item));
  }
  switch (type.scalar) {
    case 'TIMESTAMP':
      return trimTimestamp(raw as string) ?? (raw as string);
    case 'NUMERIC':
      return trimNumeric(raw as string) ?? (raw as string);
    case 'JSON':
      return canonicalJson(raw as string);
    default:
      return raw as Cell;
  }
}

/** Spanner keeps numbers that a double would round; they were not written by Spanway, and they stay as they are. */
function canonicalJson(text: string): string {
  try {
    return jsonText(parseExactJson(text));
  } catch {
    return text;
  }
}

/** The same text for the same key, however its parts are spelt. */
export function keyText(table: TableDefinition, key: Key): string {
  return JSON.stringify(table.primaryKey.map((name, i) => fromRaw(columnNamed(table, name).type, key[i])));
}

export function timestampText(proto: protos.google.protobuf.ITimestamp | null | undefined): string {
  const seconds = new Date(Number(proto?.seconds ?? 0) * 1000).toISOString().slice(0, 19);
  const fraction = String(proto?.nanos ?? 0)
    .padStart(9, '0')
    .replace(/0+$/, '');
  return `${seconds}${fraction ? `.${fraction}` : ''}Z`;
}
