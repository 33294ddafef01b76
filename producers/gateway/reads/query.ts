/** From the path and the query string to what is to be read. Pure: nothing here looks at a row or a rule. */
import type { Bound } from '../../../ports/store/port.ts';
import { CellError, encodeCell } from '../../../schemas/resource/cells.ts';
import type { Field } from '../../../schemas/resource/define.ts';
import type { RegisteredResource, ResourceSet } from '../../../schemas/resource/registry.ts';
import { type Cell, type IndexDefinition, orderOf } from '../../../schemas/resource/table.ts';
import { RequestError } from '../errors.ts';

export type Query = Readonly<Record<string, string | readonly string[] | undefined>>;

/** One page of rows in the order of the key or of an index. */
export interface ListPlan {
  /** Absent: the key. */
  readonly index?: IndexDefinition;
  /** What the rows are in the order of; the tenant, which is before them, is not among them. */
  readonly order: readonly Field[];
  /** Of the first fields of the order. */
  readonly prefix: readonly Cell[];
  /** Of the field after those. */
  readonly lower?: Bound;
  readonly upper?: Bound;
  readonly descending: boolean;
  readonly limit: number;
  /** As the caller got it. */
  readonly cursor?: string;
}

export interface PageLimits {
  /** Rows of a page where the caller does not say. */
  readonly pageRows: number;
  readonly maxPageRows: number;
}

/** `?fields=a,b`: the fields to show; undefined for all. @throws RequestError (`invalid_parameter`) */
export function fieldsOf(resource: RegisteredResource, query: Query): ReadonlySet<string> | undefined {
  const text = one(query, 'fields');
  return text === undefined ? undefined : checkFields(resource, text.split(','));
}

export function checkFields(resource: RegisteredResource, names: readonly string[]): ReadonlySet<string> {
  for (const name of names) if (!resource.fields.some((field) => field.name === name)) throw unknownField(resource, 'fields', name);
  return new Set(names);
}

/** `?include=order-lines`: resources interleaved in this one. @throws RequestError (`invalid_parameter`) */
export function includedIn(resource: RegisteredResource, query: Query, resources: ResourceSet): readonly RegisteredResource[] {
  const text = one(query, 'include');
  if (text === undefined) return [];
  const children = resources.all().filter((child) => child.parent?.resource === resource.name);
  return [...new Set(text.split(','))].map((name) => {
    const child = children.find((other) => other.name === name);
    if (child) return child;
    const those = children.length > 0 ? `those of ${resource.name} are ${children.map((c) => c.name).join(', ')}` : 'it has none';
    throw new RequestError('invalid_parameter', `include names ${JSON.stringify(name)}, which is no child of ${resource.name}; ${those}`);
  });
}

/** What may stand behind a field's name in a filter. */
const OPERATORS = ['eq', 'gt', 'gte', 'lt', 'lte'] as const;
type Operator = (typeof OPERATORS)[number];

/** Parameters that are no filters. A field of such a name is filtered by with its operator: `limit.eq=5`. */
const PARAMETERS = ['fields', 'order', 'limit', 'cursor'];

/** `path`: the first parts of the key, which the path gives. @throws RequestError (`invalid_parameter`, `unserved_filter`) */
export function listPlan(resource: RegisteredResource, path: readonly string[], query: Query, limits: PageLimits): ListPlan {
  const equal = new Map<Field, Cell>();
  const bounds = new Map<Field, { lower?: Bound; upper?: Bound }>();
  path.forEach((text, i) => {
    const field = resource.key[i] as Field;
    equal.set(field, filterCell(field, field.name, text));
  });
  for (const name of Object.keys(query)) {
    if (PARAMETERS.includes(name)) continue;
    const { field, operator } = filterNamed(resource, name);
    const cell = filterCell(field, name, one(query, name) ?? '');
    if (operator === 'eq') {
      if (equal.has(field)) throw new RequestError('invalid_parameter', `${field.name} has two values`);
      equal.set(field, cell);
    } else {
      const side = operator.startsWith('g') ? 'lower' : 'upper';
      const bound = bounds.get(field) ?? {};
      if (bound[side]) throw new RequestError('invalid_parameter', `${field.name} has two ${side} bounds`);
      bounds.set(field, { ...bound, [side]: { cell, inclusive: operator.endsWith('e') } });
    }
  }
  const way = waysOf(resource).find(({ order }) => serves(order, equal, bounds));
  if (!way) throw unserved(resource, [...equal.keys()], [...bounds.keys()]);
  const prefix = way.order.slice(0, equal.size);
  const bound = bounds.values().next().value;
  const cursor = one(query, 'cursor');
  return {
    ...way,
    prefix: prefix.map((field) => equal.get(field) ?? null),
    ...bound,
    descending: directionOf(query),
    limit: limitOf(query, limits),
    ...(cursor === undefined ? {} : { cursor }),
  };
}

/** How rows of a resource can be found: by its key, and by each index. */
function waysOf(resource: RegisteredResource): readonly Pick<ListPlan, 'index' | 'order'>[] {
  const { table, fields } = resource;
  const named = (columns: readonly string[]): Field[] => columns.slice(1).flatMap((column) => fields.filter((f) => f.column === column));
  return [{ order: resource.key }, ...table.indexes.map((index) => ({ index, order: named(orderOf(table, index)) }))];
}

/** Values of the first fields of the order, all of them, and bounds of the next at most. */
function serves(order: readonly Field[], equal: ReadonlyMap<Field, Cell>, bounds: ReadonlyMap<Field, unknown>): boolean {
  const next = order[equal.size];
  return (
    order.slice(0, equal.size).every((field) => equal.has(field)) &&
    order.length >= equal.size &&
    [...bounds.keys()].every((field) => field === next)
  );
}

function unserved(resource: RegisteredResource, equal: readonly Field[], bounded: readonly Field[]): RequestError {
  const asked = [...equal.map((f) => f.name), ...bounded.map((f) => `a range of ${f.name}`)].join(', ');
  const ways = waysOf(resource).map(({ index, order }) =>
    index
      ? `the index (${order
          .slice(0, index.columns.length - 1)
          .map((f) => f.name)
          .join(', ')})`
      : `the key (${order.map((f) => f.name).join(', ')})`,
  );
  return new RequestError(
    'unserved_filter',
    `no key or index of ${resource.name} serves a filter by ${asked}. There are ${ways.join(', ')}: give values of its first fields, and a range of the one after those`,
  );
}

function filterNamed(resource: RegisteredResource, name: string): { readonly field: Field; readonly operator: Operator } {
  const dot = name.lastIndexOf('.');
  const whole = resource.fields.find((field) => field.name === name);
  if (whole) return { field: whole, operator: 'eq' };
  const operator = OPERATORS.find((o) => o === name.slice(dot + 1));
  const field = dot < 0 ? undefined : resource.fields.find((f) => f.name === name.slice(0, dot));
  if (!field || !operator) throw unknownField(resource, 'the query', name);
  // The embedded store keeps them as texts, which have another order.
  if (field.type.scalar === 'NUMERIC' && operator !== 'eq')
    throw new RequestError('unserved_filter', `${field.name} is NUMERIC: it can be filtered by a value, and by no range`);
  return { field, operator };
}

function unknownField(resource: RegisteredResource, where: string, name: string): RequestError {
  const names = resource.fields.map((field) => field.name).join(', ');
  return new RequestError('invalid_parameter', `${where} names ${JSON.stringify(name)}, which is no field of ${resource.name}: ${names}`);
}

/** The cell that a text in a URL stands for. */
function filterCell(field: Field, parameter: string, text: string): Cell {
  const { type } = field;
  try {
    if (type.array) throw new CellError('type', 'cannot be filtered by');
    if (type.scalar === 'BOOL') return encodeCell(type, text === 'true' ? true : text === 'false' ? false : text);
    if (type.scalar === 'FLOAT64') return encodeCell(type, /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(text) ? Number(text) : text);
    return encodeCell(type, text);
  } catch (error) {
    if (!(error instanceof CellError)) throw error;
    throw new RequestError('invalid_parameter', `${parameter} ${error.message}`, { cause: error });
  }
}

function directionOf(query: Query): boolean {
  const order = one(query, 'order') ?? 'asc';
  if (order !== 'asc' && order !== 'desc') throw new RequestError('invalid_parameter', 'order must be asc or desc');
  return order === 'desc';
}

function limitOf(query: Query, { pageRows, maxPageRows }: PageLimits): number {
  const text = one(query, 'limit');
  if (text === undefined) return Math.min(pageRows, maxPageRows);
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new RequestError('invalid_parameter', 'limit must be a whole number of at least 1');
  return Math.min(Number(text), maxPageRows);
}

function one(query: Query, name: string): string | undefined {
  const value = query[name];
  if (Array.isArray(value)) throw new RequestError('invalid_parameter', `${name} is there twice`);
  return value as string | undefined;
}
