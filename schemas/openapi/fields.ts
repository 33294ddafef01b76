/** A resource's fields as JSON Schema, as OpenAPI 3.1 takes it: what a caller may send for them, and what a read gives. */
import type { Field } from '../resource/define.ts';
import type { FieldSchema } from '../resource/fields.ts';
import type { ScalarType } from '../resource/table.ts';

/** https://json-schema.org/draft/2020-12, or another object of the document. */
export type Schema = Readonly<Record<string, unknown>>;

/** `sent`: every form that is taken. `read`: the one form that is given. `path`: a segment of a path. */
type Use = 'sent' | 'read' | 'path';

/** What a body or a submission's key may hold for the field; null where it may be left out. */
export function sentField(field: Field): Schema {
  return orNull(field, fieldSchema(field, 'sent'));
}

export function readField(field: Field): Schema {
  return orNull(field, fieldSchema(field, 'read'));
}

/** A key field, which is never null or empty. */
export function keyField(field: Field, use: 'sent' | 'path'): Schema {
  const schema = fieldSchema(field, use);
  return field.type.scalar === 'STRING' ? { ...schema, minLength: Math.max(1, (schema['minLength'] as number | undefined) ?? 0) } : schema;
}

function fieldSchema({ schema, type }: Field, use: Use): Schema {
  const { items, ...list } = schema;
  return type.array && items ? { ...list, items: scalarSchema(items, type.scalar, use) } : scalarSchema(schema, type.scalar, use);
}

/** Bounds of an INT64 that is a string to callers, which no keyword of JSON Schema can say. */
interface Int64Bounds {
  readonly int64Minimum?: string;
  readonly int64Maximum?: string;
}

function scalarSchema(schema: FieldSchema & Int64Bounds, scalar: ScalarType, use: Use): Schema {
  const {
    int64Minimum,
    int64Maximum,
    maxBytes,
    commitTimestamp: _version,
    generated: _generated,
    sensitive: _sensitive,
    contentMediaType,
    ...others
  } = schema;
  // Of `field.json` it marks the column. The value itself is JSON, not a text that holds JSON.
  const isMark = contentMediaType === undefined || contentMediaType === 'application/json';
  const declared: Schema = isMark ? others : { ...others, contentMediaType };
  switch (scalar) {
    case 'INT64': {
      const bounds = `${int64Minimum ?? '-2^63'} to ${int64Maximum ?? '2^63-1'}`;
      const described = declared['type'] === 'string' ? withNote(declared, `INT64, ${bounds}`) : declared;
      if (use === 'sent') return { ...described, type: ['integer', 'string'], pattern: '^-?\\d{1,19}$' };
      return declared['type'] === 'string' ? { ...described, pattern: '^(?:0|-?[1-9]\\d{0,18})$' } : described;
    }
    case 'NUMERIC': {
      const described = withNote(declared, 'NUMERIC: at most 29 digits before the decimal point and 9 after it');
      if (use === 'read') return { ...described, pattern: '^-?(?:0|[1-9]\\d{0,28})(?:\\.\\d{1,9})?$' };
      return { ...described, type: use === 'sent' ? ['number', 'string'] : 'string', pattern: '^-?\\d{1,64}(?:\\.\\d{1,64})?$' };
    }
    case 'BYTES': {
      if (maxBytes === undefined) return declared;
      // Four characters for three bytes: https://www.rfc-editor.org/rfc/rfc4648#section-4
      return withNote({ ...declared, maxLength: Math.ceil(maxBytes / 3) * 4 }, `At most ${maxBytes} bytes`);
    }
    default:
      return declared;
  }
}

function withNote(schema: Schema, note: string): Schema {
  const { description } = schema;
  return { ...schema, description: typeof description === 'string' ? `${description} (${note})` : note };
}

function orNull(field: Field, schema: Schema): Schema {
  // The empty schema takes everything, null too.
  if (!field.nullable || Object.keys(schema).length === 0) return schema;
  const { type } = schema;
  if (type === undefined || 'enum' in schema || 'const' in schema) return { anyOf: [schema, { type: 'null' }] };
  return { ...schema, type: [type, 'null'].flat() };
}
