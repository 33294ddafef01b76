/**
 * Between JSON values as callers write them and cells as they travel and are stored. Every conversion is exact
 * or it is refused; nothing is rounded. The limits are Spanner's:
 * https://cloud.google.com/spanner/docs/reference/standard-sql/data-types
 */
import canonicalize from 'canonicalize';
import { type Cell, type ColumnType, type ScalarType } from './table.ts';
import { InexactNumber, withoutTrailingZeros } from './inexact-number.ts';

/** Why a value does not fit a type: the rule it breaks, and the sentence for a person. */
export class CellError extends Error {
  override readonly name = 'CellError';
  readonly rule: string;
  /** Where inside an array, as a JSON Pointer; empty for a scalar. */
  readonly pointer: string;
  constructor(rule: string, message: string, pointer = '') {
    super(message);
    this.rule = rule;
    this.pointer = pointer;
  }
}

const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;

/** The cell for a value written by a caller, or a CellError. */
export function encodeCell(type: ColumnType, value: unknown): Cell {
  if (!type.array) return encodeScalar(type, value);
  if (!Array.isArray(value)) throw new CellError('type', 'must be an array');
  return value.map((item, i) => {
    try {
      return encodeScalar(type, item);
    } catch (error) {
      if (error instanceof CellError) throw new CellError(error.rule, error.message, `/${i}${error.pointer}`);
      throw error;
    }
  });
}

function encodeScalar(type: ColumnType, value: unknown): Cell {
  return encoders[type.scalar](value, type.maxLength);
}

const encoders: Record<ScalarType, (value: unknown, maxLength: number | undefined) => Cell> = {
  STRING(value, maxLength) {
    if (typeof value !== 'string') throw new CellError('type', 'must be a string');
    if (!value.isWellFormed()) throw new CellError('unicode', 'must not hold a lone surrogate');
    // SQLite reads a text with U+0000 as ending there: https://www.sqlite.org/nulinstr.html. Every other hop would carry it.
    if (value.includes('\0')) throw new CellError('unicode', 'must not hold the NUL character');
    if (maxLength !== undefined && value.length > maxLength && [...value].length > maxLength) {
      throw new CellError('maxLength', `must have at most ${maxLength} characters`);
    }
    return value;
  },
  INT64(value) {
    const text = typeof value === 'string' && /^-?\d{1,19}$/.test(value) ? value : numberSource(value);
    const decimal = text === undefined ? undefined : toDecimal(text);
    if (decimal === undefined) throw new CellError('type', 'must be an integer, or an integer in a string');
    if (decimal.includes('.')) throw new CellError('type', 'must be an integer');
    const integer = BigInt(decimal);
    if (integer < INT64_MIN || integer > INT64_MAX) throw new CellError('int64', `must be from ${INT64_MIN} to ${INT64_MAX}`);
    return integer.toString();
  },
  FLOAT64(value) {
    const number = value instanceof InexactNumber ? Number(value.source) : value;
    if (typeof number !== 'number' || !Number.isFinite(number)) throw new CellError('type', 'must be a finite number');
    if (value instanceof InexactNumber && !value.isShortestForm()) throw new CellError('exact', 'is a number that a FLOAT64 would round');
    return number;
  },
  NUMERIC(value) {
    const text = typeof value === 'string' && /^-?\d{1,64}(\.\d{1,64})?$/.test(value) ? value : numberSource(value);
    const decimal = text === undefined ? undefined : toDecimal(text);
    if (decimal === undefined) throw new CellError('type', 'must be a decimal number, or one in a string');
    const [whole = '', fraction = ''] = decimal.replace('-', '').split('.');
    if (whole.length > 29 || fraction.length > 9) {
      throw new CellError('numeric', 'must have at most 29 digits before and 9 after the decimal point');
    }
    return decimal;
  },
  BOOL(value) {
    if (typeof value !== 'boolean') throw new CellError('type', 'must be true or false');
    return value;
  },
  TIMESTAMP(value) {
    const timestamp = typeof value === 'string' ? canonicalTimestamp(value) : undefined;
    if (timestamp === undefined) {
      throw new CellError('date-time', 'must be an RFC 3339 date and time from year 1 to 9999, with at most 9 digits of a second');
    }
    return timestamp;
  },
  DATE(value) {
    if (typeof value !== 'string' || !isDate(value)) throw new CellError('date', 'must be a date, YYYY-MM-DD, from year 1 to 9999');
    return value;
  },
  BYTES(value, maxLength) {
    if (typeof value !== 'string') throw new CellError('type', 'must be a string of base64');
    const bytes = Buffer.from(value, 'base64');
    if (bytes.toString('base64') !== value) throw new CellError('base64', 'must be base64 (RFC 4648, section 4), padded');
    if (maxLength !== undefined && bytes.length > maxLength) throw new CellError('maxLength', `must have at most ${maxLength} bytes`);
    return value;
  },
  JSON(value) {
    return jsonText(value);
  },
};

/** The JSON value a caller reads for a cell. `asNumber`: an INT64 whose declared bounds fit in a double. */
export function decodeCell(type: ColumnType, cell: Cell, asNumber: boolean): unknown {
  if (cell === null) return null;
  if (Array.isArray(cell)) {
    const scalar = { ...type, array: false };
    return cell.map((item: Cell) => decodeCell(scalar, item, asNumber));
  }
  switch (type.scalar) {
    case 'JSON':
      return JSON.parse(cell as string);
    case 'INT64':
      // A row written outside Spanway may lie beyond the declared bounds: then it stays exact, as a string.
      return asNumber && Number.isSafeInteger(Number(cell)) ? Number(cell) : cell;
    default:
      return cell;
  }
}

/** Levels of nesting that Spanner stores: https://cloud.google.com/spanner/docs/working-with-json#specifications */
const MAX_JSON_DEPTH = 80;

/**
 * The text of a JSON column: member names in order (RFC 8785), as Spanner keeps them too, so that a row reads
 * the same from every store.
 */
export function jsonText(value: unknown): string {
  checkJson(value, '', 1);
  return canonicalize(value) ?? 'null';
}

function checkJson(value: unknown, pointer: string, depth: number): void {
  if (value instanceof InexactNumber) throw new CellError('exact', 'holds a number that would be rounded; send it as a string', pointer);
  if (typeof value === 'number' && !Number.isFinite(value)) throw new CellError('type', 'must be a finite number', pointer);
  if (typeof value === 'string' && (!value.isWellFormed() || value.includes('\0'))) {
    throw new CellError('unicode', 'must not hold a lone surrogate or the NUL character', pointer);
  }
  if (typeof value !== 'object' || value === null) return;
  if (depth > MAX_JSON_DEPTH) throw new CellError('maxDepth', `is nested more than ${MAX_JSON_DEPTH} levels deep`, pointer);
  for (const [name, member] of Object.entries(value)) {
    const at = `${pointer}/${escapePointer(name)}`;
    if (!name.isWellFormed() || name.includes('\0'))
      throw new CellError('unicode', 'must not have a name with a lone surrogate or NUL', at);
    checkJson(member, at, depth + 1);
  }
}

/** A name as a step of a JSON Pointer: https://www.rfc-editor.org/rfc/rfc6901#section-3 */
export function escapePointer(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1');
}

/** A row by its resource's name and its key, to read by: `orders/o1`. */
export function rowName(resource: string, key: readonly Cell[]): string {
  return [resource, ...key.map((cell) => encodeURIComponent(String(cell)))].join('/');
}

function numberSource(value: unknown): string | undefined {
  if (value instanceof InexactNumber) return value.source;
  return typeof value === 'number' && Number.isFinite(value) ? String(value) : undefined;
}

/** More characters than any INT64 or NUMERIC is worth writing in. */
const MAX_NUMBER_LENGTH = 400;

/** A JSON number's text as plain decimals, without an exponent, leading or trailing zeros, or a minus zero. */
function toDecimal(source: string): string | undefined {
  if (source.length > MAX_NUMBER_LENGTH) return undefined;
  const match = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(source);
  if (!match) return undefined;
  const [, sign = '', whole = '', fraction = '', exponentText = '0'] = match;
  const exponent = Number(exponentText);
  if (Math.abs(exponent) > 100) return undefined;
  const digits = whole + fraction;
  const point = whole.length + exponent;
  const padded = point <= 0 ? '0'.repeat(1 - point) + digits : digits.padEnd(point, '0');
  const at = Math.max(point, 1);
  const left = padded.slice(0, at).replace(/^0+(?=\d)/, '');
  const right = withoutTrailingZeros(padded.slice(at));
  const decimal = right ? `${left}.${right}` : left;
  return decimal === '0' ? '0' : sign + decimal;
}

/** RFC 3339 in UTC, the fraction without trailing zeros; undefined for what is no such time. */
export function canonicalTimestamp(text: string): string | undefined {
  const match = /^(\d{4}-\d\d-\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))$/.exec(text);
  if (!match) return undefined;
  const [, date = '', hours = '', minutes = '', seconds = '', fraction = '', sign, offsetHours = '0', offsetMinutes = '0'] = match;
  if (!isDate(date) || +hours > 23 || +minutes > 59 || +seconds > 59 || +offsetHours > 23 || +offsetMinutes > 59) return undefined;
  const offset = (sign === '-' ? -1 : 1) * (+offsetHours * 60 + +offsetMinutes);
  const utc = new Date(Date.parse(`${date}T${hours}:${minutes}:${seconds}Z`) - offset * 60_000);
  const year = utc.getUTCFullYear();
  if (year < 1 || year > 9999) return undefined;
  const trimmed = withoutTrailingZeros(fraction);
  return `${utc.toISOString().slice(0, 19)}${trimmed ? `.${trimmed}` : ''}Z`;
}

/** A time in milliseconds since 1970, by default that of this process's clock, as `canonicalTimestamp` has it. */
export function timestampOf(ms: number = Date.now()): string {
  // Always with three digits of a second.
  const text = new Date(ms).toISOString();
  if (!text.endsWith('0Z')) return text;
  const fraction = withoutTrailingZeros(text.slice(20, -1));
  return `${text.slice(0, 19)}${fraction ? `.${fraction}` : ''}Z`;
}

function isDate(text: string): boolean {
  if (!/^\d{4}-\d\d-\d\d$/.test(text) || text.startsWith('0000')) return false;
  const time = Date.parse(`${text}T00:00:00Z`);
  return !Number.isNaN(time) && new Date(time).toISOString().startsWith(text);
}
