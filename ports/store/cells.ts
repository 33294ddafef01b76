/** What every store does alike with cells: the canonical forms, whatever a database keeps or answers. */
import { canonicalTimestamp } from '../../schemas/resource/cells.ts';
import type { Cell, ColumnDefinition } from '../../schemas/resource/table.ts';
import { StoreError } from '../errors.ts';

/** A cell that is none of its column's type: no caller that validates makes one. */
export function misfit(column: ColumnDefinition, cell: Cell): StoreError {
  const shown = JSON.stringify(cell).slice(0, 100);
  return new StoreError('refused', `${shown} is no ${column.type.scalar}, the type of column ${column.name}`, {
    reason: 'constraint',
    context: { column: column.name },
  });
}

const CANONICAL_TIMESTAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{0,8}[1-9])?Z$/;

/** RFC 3339 in UTC without trailing zeros; undefined for what is no time. */
export function trimTimestamp(text: string): string | undefined {
  return CANONICAL_TIMESTAMP.test(text) ? text : canonicalTimestamp(text);
}

/** A plain decimal without trailing zeros or a minus zero; undefined for what is none. */
export function trimNumeric(text: string): string | undefined {
  const match = /^([+-]?)0*(\d*?)(?:\.(\d*?)0*)?$/.exec(text);
  if (!match || !/\d/.test(text)) return undefined;
  const [, sign = '', whole = '', fraction = ''] = match;
  const decimal = `${whole || '0'}${fraction ? `.${fraction}` : ''}`;
  return sign === '-' && decimal !== '0' ? `-${decimal}` : decimal;
}
