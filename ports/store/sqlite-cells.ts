/** Between cells and the values of SQLite's columns. Exact both ways; times have a fixed width so that they sort. */
import type { SQLInputValue, SQLOutputValue } from 'node:sqlite';
import { type Cell, type ColumnDefinition, COMMIT_TIMESTAMP, type ScalarType } from '../../schemas/resource/table.ts';
import { StoreError } from '../errors.ts';
import { misfit, trimNumeric, trimTimestamp } from './cells.ts';

/** `stamp`: the commit timestamp, as a cell. */
export type Bind = (cell: Cell, stamp: string) => SQLInputValue;
export type Unbind = (value: SQLOutputValue) => Cell;

export function binder(column: ColumnDefinition): Bind {
  const { type } = column;
  if (type.array) {
    return (cell) => {
      if (cell === null) return null;
      if (!Array.isArray(cell)) throw misfit(column, cell);
      return JSON.stringify((cell as readonly Cell[]).map((item) => (item === null ? null : element(column, item))));
    };
  }
  const bind = scalars[type.scalar];
  if (!column.commitTimestamp) return (cell) => (cell === null ? null : bind(column, cell));
  return (cell, stamp) => (cell === null ? null : bind(column, cell === COMMIT_TIMESTAMP ? stamp : cell));
}

export function unbinder(column: ColumnDefinition): Unbind {
  if (column.type.array) return (value) => (value === null ? null : (JSON.parse(value as string) as Cell));
  switch (column.type.scalar) {
    case 'INT64':
      return (value) => (value === null ? null : String(value));
    case 'BOOL':
      return (value) => (value === null ? null : Number(value) !== 0);
    case 'TIMESTAMP':
      return (value) => (value === null ? null : shownTimestamp(value as string));
    case 'BYTES':
      return (value) => (value === null ? null : Buffer.from(value as Uint8Array).toString('base64'));
    default:
      return (value) => value as Cell;
  }
}

/** A time as it is stored, or undefined for what is none. */
export function storedTimestamp(text: string): string | undefined {
  const time = trimTimestamp(text);
  return time && `${time.slice(0, 19)}.${time.slice(20, -1).padEnd(9, '0')}Z`;
}

const STORED_LENGTH = '0001-01-01T00:00:00.000000000Z'.length;

/** A table of other hands may hold times of other lengths. */
function shownTimestamp(text: string): string {
  return text.length === STORED_LENGTH ? text.replace(/\.?0*Z$/, 'Z') : (trimTimestamp(text) ?? text);
}

const scalars: Record<ScalarType, (column: ColumnDefinition, cell: Cell) => SQLInputValue> = {
  STRING: text,
  JSON: text,
  DATE: text,
  INT64(column, cell) {
    if (typeof cell !== 'string' || !/^-?\d{1,19}$/.test(cell)) throw misfit(column, cell);
    const integer = BigInt(cell);
    if (BigInt.asIntN(64, integer) !== integer) throw misfit(column, cell);
    return integer;
  },
  FLOAT64(column, cell) {
    if (typeof cell !== 'number') throw misfit(column, cell);
    return cell;
  },
  NUMERIC(column, cell) {
    const decimal = typeof cell === 'string' ? trimNumeric(cell) : undefined;
    if (decimal === undefined) throw misfit(column, cell);
    return decimal;
  },
  BOOL(column, cell) {
    if (typeof cell !== 'boolean') throw misfit(column, cell);
    return cell ? 1n : 0n;
  },
  TIMESTAMP(column, cell) {
    const time = typeof cell === 'string' ? storedTimestamp(cell) : undefined;
    if (time === undefined) throw misfit(column, cell);
    return time;
  },
  BYTES(column, cell) {
    if (typeof cell !== 'string') throw misfit(column, cell);
    return Buffer.from(cell, 'base64');
  },
};

function text(column: ColumnDefinition, cell: Cell): string {
  if (typeof cell !== 'string') throw misfit(column, cell);
  return cell;
}

/** A CHECK cannot look inside an array, so lengths are checked here. */
function element(column: ColumnDefinition, item: Cell): Cell {
  const value = scalars[column.type.scalar](column, item);
  const { maxLength } = column.type;
  if (maxLength !== undefined) {
    const length = typeof value === 'string' ? [...value].length : value instanceof Uint8Array ? value.length : 0;
    if (length > maxLength) {
      throw new StoreError('refused', `column ${column.name} takes at most ${maxLength} in an element; got ${length}`, {
        reason: 'too_long',
        context: { column: column.name },
      });
    }
  }
  if (column.type.scalar === 'TIMESTAMP') return trimTimestamp(item as string) ?? item;
  return column.type.scalar === 'NUMERIC' ? (value as string) : item;
}
