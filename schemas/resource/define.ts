/** `defineResource`: what a team writes to declare a kind of entity, and the model everything else reads. */
import type { Static, TObject } from 'typebox';
import { ResourceDefinitionError } from '../errors.ts';
import type { AccessRule, CompiledRule } from './access.ts';
import { CellError, encodeCell } from './cells.ts';
import { columnTypeOf, type FieldSchema } from './fields.ts';
import type { Cell, ColumnDefinition, ColumnType, IndexDefinition, TableDefinition } from './table.ts';

type FieldName<S extends TObject> = keyof S['properties'] & string;

export interface ResourceOptions<S extends TObject> {
  /** As it stands in the URL: lower-case words joined by hyphens, `order-lines`. */
  readonly name: string;
  /** The table's name. Default: the name with underscores. */
  readonly table?: string;
  readonly schema: S;
  /** The fields of the key, in order; of a child, its parent's key first. The tenant is not one of them: it comes from the caller's claims. */
  readonly key: readonly FieldName<S>[];
  /** Column names that differ from the field's name in snake_case. */
  readonly columns?: Partial<Record<FieldName<S>, string>>;
  /** The column of the tenant, first in the table's key. Default: `tenant`. */
  readonly tenantColumn?: string;
  /** The resource whose rows these are interleaved in. `onDelete` says what a delete of the parent does while there are children. Default: `reject`. */
  readonly parent?: { readonly resource: string; readonly onDelete?: 'cascade' | 'reject' };
  readonly indexes?: readonly {
    readonly fields: readonly FieldName<S>[];
    readonly unique?: boolean;
    readonly name?: string;
  }[];
  readonly access: readonly AccessRule[];
  /** Rows are kept in the cache, for reads that allow some staleness. Default: they are not. */
  readonly cache?: CacheRule;
  /**
   * What later writes of an aggregate do behind one that is dead-lettered. `continue` (the default): they go on.
   * `wait`: they are dead-lettered too (`behind_dead_letter`), until an operator has sent or purged those before them.
   * Of the aggregate's root, for all of it. It costs a read in each commit.
   */
  readonly onDeadLetter?: 'continue' | 'wait';
  /** The table exists and is not Spanway's to make or change: no DDL, only `schema check`. */
  readonly adopt?: boolean;
}

export interface CacheRule {
  /** How long a row is kept, 1 to 3600. */
  readonly seconds: number;
  /**
   * A read that does not say how new it must be may be so many seconds old. Default: false, it is strong. A read that
   * says so is strong either way.
   */
  readonly byDefault?: boolean;
}

export interface Field {
  readonly name: string;
  readonly column: string;
  readonly type: ColumnType;
  readonly nullable: boolean;
  /** The commit timestamp: the database writes it. */
  readonly version: boolean;
  /** An INT64 whose declared bounds fit in a double: a JSON integer to callers. */
  readonly asNumber: boolean;
  readonly generated: boolean;
  /** Its values reach no log, no event and no error. */
  readonly sensitive: boolean;
  readonly schema: FieldSchema;
}

/** A declared resource. `Row` is its row's static type, for the caller's own code. */
export interface Resource<Row = unknown> {
  readonly name: string;
  readonly schema: TObject;
  readonly fields: readonly Field[];
  readonly key: readonly Field[];
  readonly version?: Field;
  readonly parent?: { readonly resource: string; readonly onDelete: 'cascade' | 'reject' };
  readonly access: readonly CompiledRule[];
  readonly cache?: CacheRule;
  readonly onDeadLetter: 'continue' | 'wait';
  readonly tenantColumn: string;
  /** The table but for its parent's table name, which the registry fills in. */
  readonly table: TableDefinition;
  /** Carries the static type; never set. */
  readonly '~row'?: Row;
}

/** The static type of a resource's rows: `RowOf<typeof orders>`. */
export type RowOf<R> = R extends Resource<infer Row> ? Row : never;

/** STRING(128): as long as the longest tenant id the gateway takes from a token. */
export const TENANT_TYPE: ColumnType = { scalar: 'STRING', array: false, maxLength: 128 };
const KEY_TYPES = new Set(['STRING', 'INT64', 'NUMERIC', 'TIMESTAMP', 'DATE']);
const RESERVED_NAMES = new Set(['submissions']);
const brand = Symbol.for('spanway.resource');

export function isResource(value: unknown): value is Resource {
  return typeof value === 'object' && value !== null && brand in value;
}

/** @throws ResourceDefinitionError naming the resource, the field and what to change. */
export function defineResource<S extends TObject>(options: ResourceOptions<S>): Resource<Static<S>> {
  const { name } = options;
  const fail = (what: string): never => {
    throw new ResourceDefinitionError(`resource ${JSON.stringify(name)}: ${what}`, { context: { resource: name } });
  };
  if (!/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/.test(name)) fail('its name must be lower-case words joined by hyphens, as in "order-lines"');
  if (RESERVED_NAMES.has(name)) fail('this name is taken by a route of the API');

  const required = new Set((options.schema as { required?: readonly string[] }).required ?? []);
  const fields = Object.entries(options.schema.properties as Record<string, FieldSchema>).map(([fieldName, schema]): Field => {
    const type = columnTypeOf(schema);
    if (typeof type === 'string') return fail(`field ${fieldName}: ${type}`);
    return {
      name: fieldName,
      column: options.columns?.[fieldName as FieldName<S>] ?? snakeCase(fieldName),
      type,
      nullable: !required.has(fieldName),
      version: schema.commitTimestamp === true,
      asNumber: type.scalar === 'INT64' && schema.type !== 'string' && schema.items?.type !== 'string',
      generated: schema.generated === 'uuid',
      sensitive: schema.sensitive === true,
      schema,
    };
  });
  const tenantColumn = options.tenantColumn ?? 'tenant';
  const fieldNamed = (fieldName: string): Field =>
    fields.find((f) => f.name === fieldName) ?? fail(`there is no field ${JSON.stringify(fieldName)}`);

  const columnNames = [tenantColumn, ...fields.map((f) => f.column)];
  const twice = columnNames.find((c, i) => columnNames.findIndex((d) => d.toLowerCase() === c.toLowerCase()) !== i);
  if (twice !== undefined) fail(`column ${twice} is there twice (${tenantColumn} is the tenant's)`);
  for (const column of columnNames) {
    // https://cloud.google.com/spanner/docs/reference/standard-sql/data-definition-language#naming_conventions
    if (!/^[A-Za-z][A-Za-z0-9_]{0,127}$/.test(column)) fail(`${column} is no column name; give one in "columns"`);
  }
  if (options.key.length === 0) fail('it needs a key');
  const key = options.key.map(fieldNamed);
  for (const k of key) {
    if (k.nullable) fail(`key field ${k.name} must not be optional`);
    if (k.sensitive) fail(`key field ${k.name} must not be sensitive: keys stand in URLs, logs and events`);
    if (k.type.array || !KEY_TYPES.has(k.type.scalar)) fail(`key field ${k.name} must be one of ${[...KEY_TYPES].join(', ')}`);
  }
  for (const f of fields) if (f.generated && !key.includes(f)) fail(`field ${f.name}: only a key field can be generated`);
  const versions = fields.filter((f) => f.version);
  if (versions.length > 1) fail('it can have one commit timestamp');
  if (options.access.length === 0) fail('it has no access rules, so nobody could use it');
  const access = options.access.map((rule, i): CompiledRule => {
    const failRule = (what: string): never => fail(`access rule ${i + 1} ${what}`);
    const { scope, roles, tenants, clients, agents } = rule;
    if (rule.actions.length === 0) failRule('has no actions');
    if ([scope, roles, tenants, clients, agents].every((condition) => condition === undefined))
      failRule('says for whom in none of scope, roles, tenants, clients and agents');
    for (const name of rule.fields ?? []) {
      const { version } = fieldNamed(name);
      if (version && rule.actions.some((action) => action !== 'read')) failRule(`lets write ${name}, which the database writes`);
    }
    if (rule.fields && rule.actions.includes('delete')) failRule('has fields, but a delete is of the whole row');
    const { where, ...rest } = rule;
    if (!where) return rest;
    const values = Object.entries(where).map(([name, allowed]): [string, readonly Cell[]] => {
      const { type } = fieldNamed(name);
      if (!key.some((k) => k.name === name) && rule.actions.some((action) => action === 'read' || action === 'delete'))
        failRule(`looks at ${name}, which is not in the key: a read or a delete has no value of it`);
      try {
        return [name, allowed.map((value) => encodeCell(type, value))];
      } catch (error) {
        if (!(error instanceof CellError)) throw error;
        return failRule(`compares ${name} with a value that ${error.message}`);
      }
    });
    return { ...rest, where: Object.fromEntries(values) };
  });

  const { cache } = options;
  if (cache && !(Number.isInteger(cache.seconds) && cache.seconds >= 1 && cache.seconds <= 3600))
    fail(`its cache keeps rows for ${cache.seconds} seconds; that must be a whole number from 1 to 3600`);

  if (options.parent && options.onDeadLetter !== undefined)
    fail('onDeadLetter is set on the root of its parents: an aggregate waits as a whole');

  const tableName = options.table ?? name.replaceAll('-', '_');
  if (!/^[A-Za-z][A-Za-z0-9_]{0,127}$/.test(tableName)) fail(`${tableName} is no table name`);
  if (tableName.toLowerCase().startsWith('spanway_')) fail("tables that start with spanway_ are the pipeline's own");
  const indexes = (options.indexes ?? []).map((index): IndexDefinition => {
    const columns = index.fields.map((f) => fieldNamed(f));
    for (const c of columns) if (c.type.array || c.type.scalar === 'JSON') fail(`field ${c.name} cannot be in an index`);
    return {
      name: index.name ?? `${tableName}_by_${columns.map((c) => c.column).join('_')}`,
      columns: [tenantColumn, ...columns.map((c) => c.column)],
      unique: index.unique ?? false,
    };
  });
  const columns: ColumnDefinition[] = [
    { name: tenantColumn, type: TENANT_TYPE, notNull: true },
    ...fields.map((f) => ({ name: f.column, type: f.type, notNull: !f.nullable, ...(f.version ? { commitTimestamp: true } : {}) })),
  ];
  const table: TableDefinition = {
    name: tableName,
    columns,
    primaryKey: [tenantColumn, ...key.map((f) => f.column)],
    indexes,
    adopted: options.adopt ?? false,
  };
  const resource: Resource<Static<S>> = {
    name,
    schema: options.schema,
    fields,
    key,
    ...(versions[0] ? { version: versions[0] } : {}),
    ...(options.parent ? { parent: { resource: options.parent.resource, onDelete: options.parent.onDelete ?? 'reject' } } : {}),
    access,
    ...(cache ? { cache } : {}),
    onDeadLetter: options.onDeadLetter ?? 'continue',
    tenantColumn,
    table,
  };
  return Object.freeze(Object.defineProperty(resource, brand, { value: true }));
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter, at: number) => `${at > 0 ? '_' : ''}${letter.toLowerCase()}`).replaceAll('-', '_');
}
