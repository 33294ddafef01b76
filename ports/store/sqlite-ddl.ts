/**
 * Tables as SQLite DDL: STRICT tables, with a CHECK where Spanner's type has a length. What SQLite has no words for
 * (the exact type, interleaving, the age limit) stands in comments, which SQLite keeps with the table: there
 * `sqlite-schema.ts` reads it, and there is no second place to get out of step.
 */
import {
  type ColumnDefinition,
  type ColumnType,
  columnNamed,
  type IndexDefinition,
  orderOf,
  type ScalarType,
  type TableDefinition,
  typeName,
} from '../../schemas/resource/table.ts';

const STORAGE: Record<ScalarType, string> = {
  STRING: 'TEXT',
  INT64: 'INTEGER',
  FLOAT64: 'REAL',
  NUMERIC: 'TEXT',
  BOOL: 'INTEGER',
  TIMESTAMP: 'TEXT',
  DATE: 'TEXT',
  BYTES: 'BLOB',
  JSON: 'TEXT',
};

export const TOO_LONG = 'too_long ';

export function storageOf(type: ColumnType): string {
  return type.array ? 'TEXT' : STORAGE[type.scalar];
}

/** `parentKey`: the parent's primary key, where there is a parent. */
export function createTable(table: TableDefinition, parentKey: readonly string[]): string {
  const lines = table.columns.map(columnDdl);
  lines.push(`PRIMARY KEY (${list(table.primaryKey)})`);
  if (table.parent) {
    const action = table.parent.onDelete === 'cascade' ? 'CASCADE' : 'NO ACTION';
    const key = list(parentKey);
    lines.push(
      `/* INTERLEAVE IN PARENT ${quote(table.parent.table)} */ FOREIGN KEY (${key}) REFERENCES ${quote(table.parent.table)} (${key}) ON DELETE ${action}`,
    );
  }
  const policy = table.rowDeletionPolicy ? ` /* ROW DELETION POLICY (${policyText(table.rowDeletionPolicy)}) */` : '';
  return `CREATE TABLE ${quote(table.name)}${policy} (\n  ${lines.join(',\n  ')}\n) STRICT`;
}

export function addColumn(table: TableDefinition, column: ColumnDefinition): string {
  return `ALTER TABLE ${quote(table.name)} ADD COLUMN ${columnDdl(column)}`;
}

/** What follows in an index's text are no columns of its definition. */
export const KEY_FOLLOWS = '/* and the key */';

/**
 * In Spanner's unique indexes NULL equals NULL; in SQLite's it does not, so a value no cell can have stands for it, and a
 * second index has the order. Spanner's other indexes go on with the key, and so do these.
 */
export function createIndex(table: TableDefinition, index: IndexDefinition): string {
  const on = (columns: string): string => `ON ${quote(table.name)} (${columns})`;
  const key = orderOf(table, index).slice(index.columns.length);
  const ordered = `${list(index.columns)}${key.length > 0 ? ` ${KEY_FOLLOWS}, ${list(key)}` : ''}`;
  const name = quote(orderedIndexName(table, index));
  if (!index.unique) return `CREATE INDEX ${name} ${on(ordered)}`;
  const columns = index.columns.map((column) => {
    const { notNull, type } = columnNamed(table, column);
    return notNull ? quote(column) : `coalesce(${quote(column)}, ${storageOf(type) === 'BLOB' ? '0' : "X''"})`;
  });
  const unique = `CREATE UNIQUE INDEX ${quote(index.name)} ${on(columns.join(', '))}`;
  return hasNulls(table, index) ? `${unique}; CREATE INDEX IF NOT EXISTS ${name} ${on(ordered)}` : unique;
}

/** The index that rows are read in the order of. */
export function orderedIndexName(table: TableDefinition, index: IndexDefinition): string {
  return index.unique && hasNulls(table, index) ? `${index.name}_order` : index.name;
}

function hasNulls(table: TableDefinition, index: IndexDefinition): boolean {
  return index.columns.some((name) => !columnNamed(table, name).notNull);
}

/** Finds the rows that are past their age limit; the policy itself is in the table's text. */
export function createSweepIndex(table: TableDefinition): string[] {
  if (!table.rowDeletionPolicy) return [];
  return [`CREATE INDEX IF NOT EXISTS ${quote(`${table.name}_by_age`)} ON ${quote(table.name)} (${quote(table.rowDeletionPolicy.column)})`];
}

/** As Spanner's INFORMATION_SCHEMA writes it. */
function policyText(policy: { readonly column: string; readonly days: number }): string {
  return `OLDER_THAN(${policy.column}, INTERVAL ${policy.days} DAY)`;
}

function columnDdl(column: ColumnDefinition): string {
  const { name, type } = column;
  const parts = [`${quote(name)} /* ${typeName(type)} */ ${storageOf(type)}`];
  if (column.notNull) parts.push('NOT NULL');
  if (column.generatedAs !== undefined) parts.push(`GENERATED ALWAYS AS (${column.generatedAs}) STORED`);
  if (type.maxLength !== undefined && !type.array) {
    parts.push(`CONSTRAINT ${quote(TOO_LONG + name)} CHECK (length(${quote(name)}) <= ${type.maxLength})`);
  }
  return parts.join(' ');
}

export function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

export function list(names: readonly string[]): string {
  return names.map(quote).join(', ');
}
