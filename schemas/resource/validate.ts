/** From what a caller sent to cells: every field that is wrong, by which rule, or the row as it travels. */
import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { type FieldProblem, ValidationError } from '../errors.ts';
import { CellError, decodeCell, encodeCell, escapePointer } from './cells.ts';
import type { Field, Resource } from './define.ts';
import { InexactNumber } from './inexact-number.ts';
import { isObject } from './merge-patch.ts';
import type { Cell } from './table.ts';

/** Spanner's limit on the size of a key, tenant and all, less room for the tenant. https://cloud.google.com/spanner/quotas#tables */
export const MAX_KEY_BYTES = 8192 - 512;

/** A row or a part of one: a cell for each field named. */
export type Cells = Readonly<Record<string, Cell>>;

/** The key a path gives, or what makes a key field that is generated and was left out. */
type KeyOrMaker = readonly Cell[] | (() => string);

export interface Validators {
  /** The whole row: each writable field that is not in the key, null where it was left out. `body` may repeat the key if it agrees. */
  readonly row: (body: unknown, key: KeyOrMaker, maxKeyBytes?: number) => { readonly key: readonly Cell[]; readonly value: Cells };
  /** The named fields of a merge patch (RFC 7396). `merge` lists JSON columns given an object, which merges into what is there. */
  readonly patch: (body: unknown, key: readonly Cell[]) => { readonly value: Cells; readonly merge: readonly string[] };
  /** The key from texts, as the segments of a path. */
  readonly key: (segments: readonly unknown[], maxKeyBytes?: number) => readonly Cell[];
}

const ajv = new Ajv2020({ allErrors: true, strict: false, ownProperties: true });
addFormats.default(ajv);
// Checked exactly by `cells.ts` before Ajv sees the value.
for (const format of ['int64', 'numeric', 'date-time', 'date']) ajv.addFormat(format, true);
ajv.addKeyword({
  keyword: 'int64Minimum',
  type: 'string',
  validate: (bound: string, text: string) => BigInt(text) >= BigInt(bound),
  error: { message: 'must be at least the minimum' },
});
ajv.addKeyword({
  keyword: 'int64Maximum',
  type: 'string',
  validate: (bound: string, text: string) => BigInt(text) <= BigInt(bound),
  error: { message: 'must be at most the maximum' },
});

export function compileValidators(resource: Resource): Validators {
  const keyFields = resource.key;
  const fieldsByName = new Map(resource.fields.map((f) => [f.name, f]));
  const writable = resource.fields.filter((f) => !f.version);
  const valueFields = writable.filter((f) => !keyFields.includes(f));
  const { required, properties, ...rest } = resource.schema as unknown as { required?: string[]; properties: Record<string, object> };
  const whole = ajv.compile({ ...rest, required: (required ?? []).filter((name) => !fieldsByName.get(name)?.version), properties });
  const partial = ajv.compile({ type: 'object', properties });

  function object(body: unknown): Record<string, unknown> {
    if (isObject(body) && !(body instanceof InexactNumber)) return body;
    throw new ValidationError([{ pointer: '', rule: 'type', message: 'must be a JSON object' }]);
  }

  /** Cells of the fields given; problems are added to `problems`. */
  function encode(body: Record<string, unknown>, problems: FieldProblem[]): Record<string, Cell> {
    const cells: Record<string, Cell> = {};
    for (const [name, value] of Object.entries(body)) {
      const field = fieldsByName.get(name);
      const problem = (rule: string, message: string, within = ''): void => {
        problems.push({ pointer: `/${escapePointer(name)}${within}`, rule, message });
      };
      if (!field) problem('additionalProperties', `${resource.name} has no field of this name`);
      else if (field.version) problem('readOnly', 'is written by the database and cannot be set');
      else if (value === null && field.nullable) cells[name] = null;
      else {
        try {
          cells[name] = encodeCell(field.type, value);
        } catch (error) {
          if (!(error instanceof CellError)) throw error;
          problem(error.rule, error.message, error.pointer);
        }
      }
    }
    return cells;
  }

  /** What the schema says beyond the column's type: bounds, patterns, enumerations, required fields, the inside of JSON. */
  function check(validate: ValidateFunction, cells: Cells, problems: FieldProblem[]): void {
    const value: Record<string, unknown> = {};
    for (const [name, cell] of Object.entries(cells)) {
      const field = fieldsByName.get(name);
      if (!field || cell === null) continue;
      // An INT64 far outside its bounds is compared with them as the double that is nearest.
      value[name] = field.asNumber && !field.type.array ? Number(cell) : decodeCell(field.type, cell, field.asNumber);
    }
    if (validate(value)) return;
    const reported = new Set(problems.map((p) => p.pointer.split('/')[1]));
    for (const error of validate.errors ?? []) {
      const problem = fromAjv(error);
      // A field that is there but does not fit its type is missing here, and has been reported.
      if (!reported.has(problem.pointer.split('/')[1] ?? '') || problem.pointer === '') problems.push(problem);
    }
  }

  function checkKeyAgrees(cells: Record<string, Cell>, key: readonly Cell[], problems: FieldProblem[]): void {
    keyFields.forEach((field, i) => {
      if (field.name in cells && cells[field.name] !== key[i]) {
        problems.push({ pointer: `/${escapePointer(field.name)}`, rule: 'key', message: 'differs from the key in the path' });
      }
      cells[field.name] = key[i] ?? null;
    });
  }

  return {
    row(body, key, maxKeyBytes = MAX_KEY_BYTES) {
      const problems: FieldProblem[] = [];
      const given = object(body);
      const cells = encode(given, problems);
      if (typeof key !== 'function') checkKeyAgrees(cells, key, problems);
      else for (const field of keyFields) if (field.generated && !(field.name in given)) cells[field.name] = key();
      check(whole, cells, problems);
      const rowKey = keyFields.map((f) => cells[f.name] ?? null);
      if (problems.length === 0) checkKeyBytes(keyFields, rowKey, maxKeyBytes, problems);
      if (problems.length > 0) throw new ValidationError(problems);
      return { key: rowKey, value: Object.fromEntries(valueFields.map((f) => [f.name, cells[f.name] ?? null])) };
    },
    patch(body, pathKey) {
      const problems: FieldProblem[] = [];
      const given = object(body);
      const cells = encode(given, problems);
      checkKeyAgrees(cells, pathKey, problems);
      check(partial, cells, problems);
      const value = Object.fromEntries(valueFields.filter((f) => f.name in cells).map((f) => [f.name, cells[f.name] ?? null]));
      if (problems.length === 0 && Object.keys(value).length === 0) {
        problems.push({ pointer: '', rule: 'minProperties', message: 'must name at least one field to change' });
      }
      if (problems.length > 0) throw new ValidationError(problems);
      const merge = valueFields.filter((f) => f.type.scalar === 'JSON' && !f.type.array && isObject(given[f.name])).map((f) => f.name);
      return { value, merge };
    },
    key(segments, maxKeyBytes = MAX_KEY_BYTES) {
      const problems: FieldProblem[] = [];
      if (segments.length !== keyFields.length) {
        const names = keyFields.map((f) => f.name).join(', ');
        throw new ValidationError([
          { pointer: '', rule: 'key', message: `the key of ${resource.name} has ${keyFields.length} part(s): ${names}` },
        ]);
      }
      const cells: Record<string, Cell> = encode(Object.fromEntries(keyFields.map((f, i) => [f.name, segments[i]])), problems);
      check(partial, cells, problems);
      const key = keyFields.map((f) => cells[f.name] ?? null);
      checkKeyBytes(keyFields, key, maxKeyBytes, problems);
      if (problems.length > 0) throw new ValidationError(problems);
      return key;
    },
  };
}

function checkKeyBytes(fields: readonly Field[], key: readonly Cell[], maxBytes: number, problems: FieldProblem[]): void {
  const bytes = key.reduce<number>((sum, cell) => sum + Buffer.byteLength(String(cell ?? '')), 0);
  if (bytes > maxBytes) {
    problems.push({
      pointer: `/${fields[0]?.name ?? ''}`,
      rule: 'keyBytes',
      message: `the key has ${bytes} bytes; at most ${maxBytes} are taken`,
    });
  }
  fields.forEach((f, i) => {
    if (key[i] === '') problems.push({ pointer: `/${escapePointer(f.name)}`, rule: 'minLength', message: 'must not be empty' });
  });
}

function fromAjv(error: ErrorObject): FieldProblem {
  const params = error.params as { missingProperty?: string; additionalProperty?: string; allowedValues?: unknown[] };
  const name = params.missingProperty ?? params.additionalProperty;
  const pointer = name === undefined ? error.instancePath : `${error.instancePath}/${escapePointer(name)}`;
  const message =
    error.keyword === 'required'
      ? 'is required'
      : error.keyword === 'enum'
        ? `must be one of ${(params.allowedValues ?? []).join(', ')}`
        : (error.message ?? 'does not fit the schema');
  return { pointer, rule: error.keyword, message };
}
