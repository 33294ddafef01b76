/** Reads a range of a SQLite table, by the index that keeps its order. */
import type { SQLInputValue, SQLOutputValue, StatementSync } from 'node:sqlite';
import { columnNamed, type TableDefinition } from '../../schemas/resource/table.ts';
import type { SqliteFile } from '../sqlite/database.ts';
import type { ChildRange, Range, RangeRow } from './port.ts';
import { rangeSql } from './range.ts';
import { binder, unbinder } from './sqlite-cells.ts';
import { list, orderedIndexName, quote } from './sqlite-ddl.ts';

export function readSqliteRange(file: SqliteFile, range: Range): readonly RangeRow[] {
  const { table, columns, limit } = range;
  // Children are found by the key.
  const wanted = [...columns, ...table.primaryKey];
  const { sql, values } = rangeStatement(range, wanted);
  const children = range.children.map((child) => childReader(file, table, child));
  const unbind = wanted.map((name) => unbinder(columnNamed(table, name)));
  return rowsOf(file.prepare(sql), [...values, limit]).map((row) => ({
    cells: columns.map((_name, i) => unbind[i]?.(row[i] ?? null) ?? null),
    children: children.map((read) => read(row.slice(columns.length))),
  }));
}

/** The statement and its values, but for the last, which is how many rows. */
export function rangeStatement(
  range: Range,
  columns: readonly string[],
): { readonly sql: string; readonly values: readonly SQLInputValue[] } {
  const { table, index } = range;
  const values: SQLInputValue[] = [];
  const { where, order } = rangeSql(range, {
    column: quote,
    value: (name, cell) => {
      values.push(binder(columnNamed(table, name))(cell, ''));
      return '?';
    },
  });
  const by = table.adopted || !index ? '' : ` INDEXED BY ${quote(orderedIndexName(table, index))}`;
  return { sql: `SELECT ${list(columns)} FROM ${quote(table.name)}${by} WHERE ${where} ORDER BY ${order || 'NULL'} LIMIT ?`, values };
}

function childReader(
  file: SqliteFile,
  parent: TableDefinition,
  { table, columns, limit }: ChildRange,
): (key: readonly SQLOutputValue[]) => RangeRow['children'][number] {
  const where = parent.primaryKey.map((name) => `${quote(name)} = ?`).join(' AND ');
  const statement = file.prepare(
    `SELECT ${list(columns)} FROM ${quote(table.name)} WHERE ${where} ORDER BY ${list(table.primaryKey)} LIMIT ?`,
  );
  const unbind = columns.map((name) => unbinder(columnNamed(table, name)));
  return (key) => rowsOf(statement, [...(key as SQLInputValue[]), limit]).map((row) => unbind.map((u, i) => u(row[i] ?? null)));
}

function rowsOf(statement: StatementSync, values: readonly SQLInputValue[]): readonly SQLOutputValue[][] {
  statement.setReadBigInts(true);
  statement.setReturnArrays(true);
  return statement.all(...values) as unknown as SQLOutputValue[][];
}
