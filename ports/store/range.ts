/** A range as SQL that both stores read alike. */
import { type Cell, columnNamed, orderOf } from '../../schemas/resource/table.ts';
import type { Range } from './port.ts';

/** What the dialects differ in. */
export interface RangeDialect {
  /** A column of the range's table, as the SQL names it. */
  readonly column: (name: string) => string;
  /** A parameter with this cell, which is compared with this column. */
  readonly value: (name: string, cell: Cell) => string;
}

/** The condition and the order. Its first conditions bound the stretch of the key or index, so that it is sought, not scanned. */
export function rangeSql(range: Range, { column, value }: RangeDialect): { readonly where: string; readonly order: string } {
  const { table, prefix, lower, upper, descending, after } = range;
  const order = orderOf(table, range.index);
  const rest = order.slice(prefix.length);
  const next = rest[0] ?? '';
  const conditions = prefix.map((cell, i) => `${column(order[i] ?? '')} = ${value(order[i] ?? '', cell)}`);
  if (lower) conditions.push(`${column(next)} ${lower.inclusive ? '>=' : '>'} ${value(next, lower.cell)}`);
  if (upper) conditions.push(`${column(next)} ${upper.inclusive ? '<=' : '<'} ${value(next, upper.cell)}`);

  /** NULL comes first, and last in descending order: https://cloud.google.com/spanner/docs/reference/standard-sql/query-syntax#order_by_clause */
  const isNullable = (name: string): boolean => !columnNamed(table, name).notNull;
  const behind = (name: string, cell: Cell): string => {
    if (cell === null) return descending ? 'FALSE' : `${column(name)} IS NOT NULL`;
    const beyond = `${column(name)} ${descending ? '<' : '>'} ${value(name, cell)}`;
    return descending && isNullable(name) ? `(${beyond} OR ${column(name)} IS NULL)` : beyond;
  };
  const same = (name: string, cell: Cell): string => (cell === null ? `${column(name)} IS NULL` : `${column(name)} = ${value(name, cell)}`);
  const comesAfter = (names: readonly string[], cells: readonly Cell[]): string => {
    const [name = '', ...others] = names;
    const [cell = null, ...otherCells] = cells;
    if (others.length === 0) return behind(name, cell);
    return `(${behind(name, cell)} OR (${same(name, cell)} AND ${comesAfter(others, otherCells)}))`;
  };
  if (after) {
    const [cell = null] = after;
    // Says no more than what follows, but by one comparison, where a database begins to read.
    if (cell !== null && !(descending && isNullable(next)))
      conditions.push(`${column(next)} ${descending ? '<=' : '>='} ${value(next, cell)}`);
    conditions.push(comesAfter(rest, after));
  }
  return { where: conditions.join(' AND '), order: rest.map((name) => `${column(name)}${descending ? ' DESC' : ''}`).join(', ') };
}
