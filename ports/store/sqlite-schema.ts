/** What tables an SQLite file has, in the neutral shape of `compare.ts`, and the statements for what it lacks. */
import { columnNamed, type TableDefinition, typeName } from '../../schemas/resource/table.ts';
import type { SqliteFile } from '../sqlite/database.ts';
import type { Dialect, ExistingColumn, ExistingTable } from './compare.ts';
import { addColumn, createIndex, createSweepIndex, createTable, KEY_FOLLOWS, storageOf } from './sqlite-ddl.ts';

export function existingTables(file: SqliteFile, wanted: readonly TableDefinition[]): ExistingTable[] {
  return wanted.flatMap((table) => {
    const found = file.prepare(`SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name = ? COLLATE NOCASE`).get(table.name);
    return found ? [readTable(file, found as { name: string; sql: string }, table)] : [];
  });
}

export function sqliteDialect(tables: readonly TableDefinition[], existing: readonly ExistingTable[]): Dialect {
  return {
    createTable(table) {
      const parent = table.parent?.table.toLowerCase();
      const key = [...tables, ...existing].find((t) => t.name.toLowerCase() === parent)?.primaryKey ?? [];
      return [createTable(table, key), ...createSweepIndex(table)];
    },
    addColumn,
    createIndex,
  };
}

/** The columns of a table's age limit, wherever one was declared. */
export function ageLimits(file: SqliteFile): { table: string; column: string; days: number }[] {
  const tables = file.prepare(`SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql LIKE '%ROW DELETION POLICY%'`).all();
  return tables.flatMap(({ name, sql }) => {
    const match = /OLDER_THAN\((\w+), INTERVAL (\d+) DAY\)/.exec(policyOf(sql as string) ?? '');
    return match ? [{ table: name as string, column: match[1] ?? '', days: Number(match[2]) }] : [];
  });
}

function readTable(file: SqliteFile, { name, sql }: { name: string; sql: string }, wanted: TableDefinition): ExistingTable {
  const rows = file.prepare('SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?)').all(name) as {
    name: string;
    type: string;
    notnull: number;
    dflt_value: string | null;
    pk: number;
    hidden: number;
  }[];
  const columns = rows.map((row): ExistingColumn => {
    const generated = row.hidden === 2 || row.hidden === 3;
    return {
      name: row.name,
      type: typeOf(sql, row.name, row.type, wanted),
      notNull: row.notnull === 1,
      hasDefault: row.dflt_value !== null,
      ...(generated ? { generatedAs: generationOf(sql, row.name) } : {}),
    };
  });
  const keyColumns = rows.filter((row) => row.pk > 0).sort((a, b) => a.pk - b.pk);
  const policy = policyOf(sql);
  const parent = parentOf(file, name, sql);
  return {
    name,
    columns,
    primaryKey: keyColumns.map((row) => row.name),
    indexes: indexesOf(file, name),
    ...(parent ? { parent } : {}),
    ...(policy ? { rowDeletionPolicy: policy } : {}),
  };
}

/** The exact type from our own comment; for a table of other hands, whatever is stored in the same way fits. */
function typeOf(sql: string, column: string, storage: string, wanted: TableDefinition): string {
  const noted = new RegExp(`"${column}" /\\* ([^*]+) \\*/`, 'i').exec(sql)?.[1];
  if (noted !== undefined) return noted;
  if (!wanted.columns.some((c) => c.name === column)) return storage;
  const { type } = columnNamed(wanted, column);
  return storageOf(type) === storage.toUpperCase() ? typeName(type) : storage;
}

function generationOf(sql: string, column: string): string {
  const [, expression] = new RegExp(`"?${column}"? .*?\\bAS \\((.*)\\) (?:STORED|VIRTUAL)`, 'i').exec(sql) ?? [];
  return expression ?? '(an expression)';
}

function policyOf(sql: string): string | undefined {
  return /\/\* ROW DELETION POLICY \((.*?)\) \*\//.exec(sql)?.[1];
}

function parentOf(file: SqliteFile, name: string, sql: string): ExistingTable['parent'] {
  const table = /\/\* INTERLEAVE IN PARENT "([^"]+)" \*\//.exec(sql)?.[1];
  if (table === undefined) return undefined;
  const key = file.prepare('SELECT on_delete FROM pragma_foreign_key_list(?) WHERE "table" = ? COLLATE NOCASE').get(name, table);
  return { table, onDelete: key?.['on_delete'] === 'CASCADE' ? 'cascade' : 'no action' };
}

function indexesOf(file: SqliteFile, table: string): ExistingTable['indexes'] {
  const indexes = file.prepare(`SELECT name, "unique" FROM pragma_index_list(?) WHERE origin = 'c'`).all(table);
  return indexes.map((index) => {
    const sql = file.prepare(`SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = ?`).get(index['name'] as string)?.['sql'];
    // An expression has no name here; ours are coalesce("column", …), in the index's text at the same place.
    const [declared = '', key] = String(sql).split(KEY_FOLLOWS);
    const written = [...declared.slice(declared.indexOf('(')).matchAll(/(?:coalesce\()?"([^"]+)"(?:, (?:0|X'')\))?/g)];
    const parts = file.prepare('SELECT seqno, name FROM pragma_index_info(?) ORDER BY seqno').all(index['name'] as string);
    return {
      name: index['name'] as string,
      columns: parts
        .slice(0, key === undefined ? parts.length : written.length)
        .map((part, i) => (part['name'] as string | null) ?? written[i]?.[1] ?? '(an expression)'),
      unique: index['unique'] === 1,
    };
  });
}
