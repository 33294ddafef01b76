/**
 * What a database lacks and how it differs from the tables declared. It knows no SQL dialect: an adapter reads what
 * exists into `ExistingTable` and writes the statements.
 */
import { type ColumnDefinition, type TableDefinition, typeName } from '../../schemas/resource/table.ts';
import type { SchemaComparison } from './port.ts';

export interface ExistingTable {
  readonly name: string;
  readonly columns: readonly ExistingColumn[];
  readonly primaryKey: readonly string[];
  readonly indexes: readonly { readonly name: string; readonly columns: readonly string[]; readonly unique: boolean }[];
  readonly parent?: { readonly table: string; readonly onDelete: 'cascade' | 'no action' };
  /** `OLDER_THAN(column, INTERVAL days DAY)`. */
  readonly rowDeletionPolicy?: string;
}

export interface ExistingColumn {
  readonly name: string;
  /** As `typeName` writes it. */
  readonly type: string;
  readonly notNull: boolean;
  readonly hasDefault: boolean;
  readonly generatedAs?: string;
  /** Absent: the database does not tell such columns apart. */
  readonly commitTimestamp?: boolean;
}

/** One dialect's statements. */
export interface Dialect {
  createTable(table: TableDefinition): readonly string[];
  addColumn(table: TableDefinition, column: ColumnDefinition): string;
  createIndex(table: TableDefinition, index: TableDefinition['indexes'][number]): string;
}

export function compareTables(tables: readonly TableDefinition[], existing: readonly ExistingTable[], dialect: Dialect): SchemaComparison {
  const missing: string[] = [];
  const differences: string[] = [];
  for (const table of parentsFirst(tables)) {
    const found = existing.find((e) => same(e.name, table.name));
    const comparison = found ? compareTable(table, found, dialect) : missingTable(table, dialect);
    missing.push(...comparison.missing);
    differences.push(...comparison.differences);
  }
  return { missing, differences };
}

function missingTable(table: TableDefinition, dialect: Dialect): SchemaComparison {
  if (table.adopted) {
    return { missing: [], differences: [`table ${table.name} is missing; its resource adopts it, so Spanway does not make it`] };
  }
  return { missing: [...dialect.createTable(table), ...table.indexes.map((index) => dialect.createIndex(table, index))], differences: [] };
}

function compareTable(table: TableDefinition, found: ExistingTable, dialect: Dialect): SchemaComparison {
  const missing: string[] = [];
  const differences: string[] = [];
  const differ = (text: string): void => void differences.push(`table ${table.name}: ${text}`);

  for (const column of table.columns) {
    const actual = found.columns.find((c) => same(c.name, column.name));
    if (actual) compareColumn(column, actual, table.adopted, differ);
    else if (!table.adopted && !column.notNull && column.generatedAs === undefined) missing.push(dialect.addColumn(table, column));
    else {
      const why = table.adopted ? '' : '; it is NOT NULL or generated, so it cannot be added to a table that may have rows';
      differ(`column ${column.name} ${typeName(column.type)} is missing${why}`);
    }
  }
  for (const actual of found.columns) {
    if (table.columns.some((c) => same(c.name, actual.name))) continue;
    if (actual.notNull && !actual.hasDefault && actual.generatedAs === undefined) {
      differ(`column ${actual.name} is not declared, and it is NOT NULL without a default, so no row can be inserted`);
    }
  }
  if (!sameList(found.primaryKey, table.primaryKey)) {
    differ(`its primary key is (${found.primaryKey.join(', ')}); declared is (${table.primaryKey.join(', ')})`);
  }
  compareParent(table, found, differ);
  for (const index of table.indexes) {
    const actual = found.indexes.find((i) => same(i.name, index.name));
    if (actual) {
      const differs = !sameList(actual.columns, index.columns) || actual.unique !== index.unique;
      if (differs) differ(`index ${index.name} is ${indexText(actual)}; declared is ${indexText(index)}`);
    } else if (table.adopted) {
      // Any index that begins with the same columns serves the same reads; a unique one is a promise of its own.
      const serves = found.indexes.some((i) => sameList(i.columns.slice(0, index.columns.length), index.columns));
      if (index.unique || !serves) differ(`index ${index.name} on ${indexText(index)} is missing`);
    } else missing.push(dialect.createIndex(table, index));
  }
  if (table.rowDeletionPolicy) {
    const declared = `OLDER_THAN(${table.rowDeletionPolicy.column}, INTERVAL ${table.rowDeletionPolicy.days} DAY)`;
    const actual = found.rowDeletionPolicy ?? 'none';
    if (plain(actual) !== plain(declared)) differ(`its row deletion policy is ${actual}; declared is ${declared}`);
  }
  return { missing, differences };
}

function compareColumn(column: ColumnDefinition, actual: ExistingColumn, adopted: boolean, differ: (text: string) => void): void {
  const declared = typeName(column.type);
  if (!sameText(actual.type, declared) && !(adopted && isWider(actual.type, declared))) {
    differ(`column ${column.name} is ${actual.type}; declared is ${declared}`);
  }
  // An adopted column may be nullable where every write gives it a value.
  if (actual.notNull !== column.notNull && !(adopted && column.notNull)) {
    differ(`column ${column.name} is ${nullability(actual.notNull)}; declared is ${nullability(column.notNull)}`);
  }
  if (plain(actual.generatedAs ?? '') !== plain(column.generatedAs ?? '')) {
    differ(`column ${column.name} is ${generation(actual.generatedAs)}; declared is ${generation(column.generatedAs)}`);
  }
  if (column.commitTimestamp && actual.commitTimestamp === false) {
    differ(`column ${column.name} does not take commit timestamps: it needs OPTIONS (allow_commit_timestamp = true)`);
  }
}

function compareParent(table: TableDefinition, found: ExistingTable, differ: (text: string) => void): void {
  const declared = table.parent;
  const actual = found.parent;
  if (!declared && !actual) return;
  if (declared && actual && same(declared.table, actual.table) && declared.onDelete === actual.onDelete) return;
  const text = (parent: ExistingTable['parent']): string =>
    parent ? `interleaved in ${parent.table} on delete ${parent.onDelete}` : 'not interleaved';
  differ(`it is ${text(actual)}; declared is ${text(declared)}`);
}

/** Statements run in order, and a child cannot be made before its parent. */
function parentsFirst(tables: readonly TableDefinition[]): readonly TableDefinition[] {
  const ordered = new Set<TableDefinition>();
  const add = (table: TableDefinition, below: readonly TableDefinition[]): void => {
    const parent = tables.find((t) => table.parent && same(t.name, table.parent.table));
    if (parent && !below.includes(parent)) add(parent, [...below, table]);
    ordered.add(table);
  };
  for (const table of tables) add(table, []);
  return [...ordered];
}

/** Every value of `declared` fits in `actual`. */
function isWider(actual: string, declared: string): boolean {
  const [, actualBase, actualLength] = /^(.*)\((\w+)\)>?$/.exec(actual) ?? [];
  const [, base, length] = /^(.*)\((\w+)\)>?$/.exec(declared) ?? [];
  if (actualBase === undefined || actualBase.toUpperCase() !== base?.toUpperCase()) return false;
  return actualLength === 'MAX' || (length !== 'MAX' && Number(actualLength) >= Number(length));
}

// Both databases take names without regard to case: https://cloud.google.com/spanner/docs/reference/standard-sql/lexical#case_sensitivity
function same(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name, i) => same(name, b[i] ?? ''));
}

function sameText(a: string, b: string): boolean {
  return a.replace(/\s/g, '').toUpperCase() === b.replace(/\s/g, '').toUpperCase();
}

/** An expression without what a database may write otherwise: spaces, quotes of names, case. */
function plain(expression: string): string {
  return expression.replace(/[\s`"]/g, '').toLowerCase();
}

function nullability(notNull: boolean): string {
  return notNull ? 'NOT NULL' : 'nullable';
}

function generation(expression: string | undefined): string {
  return expression === undefined ? 'not generated' : `generated as ${expression}`;
}

function indexText(index: { readonly columns: readonly string[]; readonly unique: boolean }): string {
  return `${index.unique ? 'unique ' : ''}(${index.columns.join(', ')})`;
}
