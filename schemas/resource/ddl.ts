/** Tables as Spanner DDL (GoogleSQL). https://cloud.google.com/spanner/docs/reference/standard-sql/data-definition-language */
import { type ColumnDefinition, type IndexDefinition, type TableDefinition, typeName } from './table.ts';

export function createTable(table: TableDefinition): string {
  const columns = table.columns.map((c) => `  ${columnDdl(c)}`).join(',\n');
  const key = table.primaryKey.map(quote).join(', ');
  const interleave = table.parent
    ? `,\n  INTERLEAVE IN PARENT ${quote(table.parent.table)} ON DELETE ${table.parent.onDelete === 'cascade' ? 'CASCADE' : 'NO ACTION'}`
    : '';
  const policy = table.rowDeletionPolicy
    ? `,\n  ROW DELETION POLICY (OLDER_THAN(${quote(table.rowDeletionPolicy.column)}, INTERVAL ${table.rowDeletionPolicy.days} DAY))`
    : '';
  return `CREATE TABLE ${quote(table.name)} (\n${columns}\n) PRIMARY KEY (${key})${interleave}${policy}`;
}

export function addColumn(table: TableDefinition, column: ColumnDefinition): string {
  return `ALTER TABLE ${quote(table.name)} ADD COLUMN ${columnDdl(column)}`;
}

export function createIndex(table: TableDefinition, index: IndexDefinition): string {
  return `CREATE ${index.unique ? 'UNIQUE ' : ''}INDEX ${quote(index.name)} ON ${quote(table.name)} (${index.columns.map(quote).join(', ')})`;
}

/** Every statement for an empty database, parents first. */
export function spannerDdl(tables: readonly TableDefinition[]): string[] {
  return tables
    .filter((t) => !t.adopted)
    .flatMap((table) => [createTable(table), ...table.indexes.map((index) => createIndex(table, index))]);
}

function columnDdl(column: ColumnDefinition): string {
  const parts = [quote(column.name), typeName(column.type)];
  if (column.notNull) parts.push('NOT NULL');
  if (column.generatedAs !== undefined) parts.push(`AS (${column.generatedAs}) STORED`);
  if (column.commitTimestamp) parts.push('OPTIONS (allow_commit_timestamp = true)');
  return parts.join(' ');
}

function quote(name: string): string {
  return `\`${name}\``;
}
