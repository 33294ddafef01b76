/**
 * Fields whose Spanner type plain JSON Schema cannot say, as TypeBox schemas. Everything else is written with
 * TypeBox itself: `Type.String({ maxLength })` is STRING, `Type.Number()` FLOAT64, `Type.Boolean()` BOOL,
 * `Type.Enum([...])` STRING, `Type.Array(scalar)` an ARRAY, `Type.Object`, `Type.Record` and `Type.Unknown` JSON.
 * An optional field is a nullable column. `sensitive: true` beside the rest keeps a field's values out of logs, events
 * and errors.
 */
import Type, { type TSchema, type TUnsafe } from 'typebox';
import type { ColumnType } from './table.ts';

/** Bounds that a double holds exactly: then the field is a JSON integer. */
interface SafeBounds {
  readonly minimum: number;
  readonly maximum: number;
}
interface WideBounds {
  readonly minimum?: bigint;
  readonly maximum?: bigint;
}

function int64(bounds: SafeBounds): TUnsafe<number>;
function int64(bounds?: WideBounds): TUnsafe<string>;
function int64(bounds: SafeBounds | WideBounds = {}): TUnsafe<number> | TUnsafe<string> {
  const { minimum, maximum } = bounds;
  if (typeof minimum === 'number' && typeof maximum === 'number') return Type.Unsafe<number>({ type: 'integer', minimum, maximum });
  return Type.Unsafe<string>({
    type: 'string',
    format: 'int64',
    ...(minimum === undefined ? {} : { int64Minimum: String(minimum) }),
    ...(maximum === undefined ? {} : { int64Maximum: String(maximum) }),
  });
}

/** NUMERIC: a decimal string, 29 digits before the point and 9 after. */
const numeric = (): TUnsafe<string> => Type.Unsafe<string>({ type: 'string', format: 'numeric' });
/** TIMESTAMP: RFC 3339, nanoseconds; read back in UTC. */
const timestamp = (): TUnsafe<string> => Type.Unsafe<string>({ type: 'string', format: 'date-time' });
/** DATE: `YYYY-MM-DD`. */
const date = (): TUnsafe<string> => Type.Unsafe<string>({ type: 'string', format: 'date' });
/** BYTES: base64 in JSON. `maxLength` counts bytes. */
const bytes = (options: { maxLength?: number } = {}): TUnsafe<string> =>
  Type.Unsafe<string>({
    type: 'string',
    contentEncoding: 'base64',
    ...(options.maxLength === undefined ? {} : { maxBytes: options.maxLength }),
  });
/** JSON: any value, or one that fits `schema`. */
const json = (schema?: TSchema): TUnsafe => Type.Unsafe({ ...schema, contentMediaType: 'application/json' });
/** The row's version: written by the database at each commit, read only. It is the ETag, and what `If-Match` compares. */
const commitTimestamp = (): TUnsafe<string> =>
  Type.Unsafe<string>({ type: 'string', format: 'date-time', readOnly: true, commitTimestamp: true });
/** A STRING(36) key field that POST fills with a UUIDv4 where the body leaves it out. */
const generatedUuid = (): TUnsafe<string> => Type.Unsafe<string>({ type: 'string', maxLength: 36, minLength: 1, generated: 'uuid' });

export const field = { int64, numeric, timestamp, date, bytes, json, commitTimestamp, generatedUuid };

/** What of JSON Schema the mapping to a column reads. */
export interface FieldSchema {
  readonly type?: string;
  readonly format?: string;
  readonly maxLength?: number;
  readonly maxBytes?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly contentEncoding?: string;
  readonly contentMediaType?: string;
  readonly items?: FieldSchema;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly FieldSchema[];
  readonly const?: unknown;
  readonly readOnly?: boolean;
  readonly commitTimestamp?: boolean;
  readonly generated?: string;
  /** Its values reach no log, no event and no error. */
  readonly sensitive?: boolean;
}

/** The column for a field's JSON Schema, or the sentence that says why there is none. */
export function columnTypeOf(schema: FieldSchema): ColumnType | string {
  if (schema.contentMediaType === 'application/json') return { scalar: 'JSON', array: false };
  const choices = schema.enum ?? (schema.anyOf?.every((s) => s.const !== undefined) ? schema.anyOf.map((s) => s.const) : undefined);
  if (choices)
    return choices.every((c) => typeof c === 'string') ? { scalar: 'STRING', array: false } : 'an enumeration must be of strings';
  switch (schema.type) {
    case 'string':
      return stringColumn(schema);
    case 'integer':
      return Number.isSafeInteger(schema.minimum) && Number.isSafeInteger(schema.maximum)
        ? { scalar: 'INT64', array: false }
        : 'an integer needs a minimum and a maximum within ±(2^53−1); for the whole INT64 range use field.int64()';
    case 'number':
      return { scalar: 'FLOAT64', array: false };
    case 'boolean':
      return { scalar: 'BOOL', array: false };
    case 'array': {
      const item = schema.items ? columnTypeOf(schema.items) : 'an array needs items';
      if (typeof item === 'string') return item;
      return item.array ? 'an array of arrays has no column type; use field.json()' : { ...item, array: true };
    }
    case 'object':
    case undefined:
      return schema.anyOf ? 'a union has no column type; use field.json(Type.Union([...]))' : { scalar: 'JSON', array: false };
    default:
      return `type ${schema.type} has no column type`;
  }
}

function stringColumn(schema: FieldSchema): ColumnType {
  if (schema.contentEncoding === 'base64') {
    return { scalar: 'BYTES', array: false, ...(schema.maxBytes === undefined ? {} : { maxLength: schema.maxBytes }) };
  }
  switch (schema.format) {
    case 'int64':
      return { scalar: 'INT64', array: false };
    case 'numeric':
      return { scalar: 'NUMERIC', array: false };
    case 'date-time':
      return { scalar: 'TIMESTAMP', array: false };
    case 'date':
      return { scalar: 'DATE', array: false };
    default:
      return { scalar: 'STRING', array: false, ...(schema.maxLength === undefined ? {} : { maxLength: schema.maxLength }) };
  }
}
