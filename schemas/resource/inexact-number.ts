/**
 * A number in a JSON text that a double would not hold exactly as written. The parser puts it in place of the
 * rounded one, so that INT64 and NUMERIC fields can take the exact digits and every other field can refuse it.
 */
export class InexactNumber {
  readonly source: string;
  constructor(source: string) {
    this.source = source;
  }

  /** Whether the digits are how the nearest double prints itself: then a FLOAT64 holds what was written. */
  isShortestForm(): boolean {
    const number = Number(this.source);
    return Number.isFinite(number) && String(number) === this.source;
  }
}

/** Sixteen digits or more in a row (a point may stand among them), or an exponent: only such a number can be inexact. */
const SUSPECT = /\d[\d.]{15}|\d[eE][+-]?\d/;

/** `JSON.parse`, but a number that would be rounded comes back as an InexactNumber. */
export function parseExactJson(text: string): unknown {
  if (!SUSPECT.test(text)) return JSON.parse(text);
  // The third argument is the "JSON.parse source text access" proposal, in V8 since 11.4; TypeScript's library lacks it.
  const reviver = (_name: string, value: unknown, context?: { source?: string }): unknown =>
    typeof value === 'number' && context?.source !== undefined && !isExact(context.source, value)
      ? new InexactNumber(context.source)
      : value;
  return JSON.parse(text, reviver);
}

/** No double, written in full, has more digits that count; a longer text is not exact, and not worth the time to compare. */
const LONGEST = 400;

function isExact(source: string, value: number): boolean {
  if (!Number.isFinite(value) || source.length > LONGEST) return false;
  const digits = significantDigits(source);
  return digits === significantDigits(String(value)) && !(value === 0 && digits !== '');
}

/** The significant digits alone; two texts of nearly the same value are the same number if these agree. */
function significantDigits(source: string): string {
  const mantissa = source.split(/e/i)[0] ?? '';
  return withoutTrailingZeros(mantissa.replace(/[-.]/g, '').replace(/^0+/, ''));
}

/** By hand: a regular expression for zeros at the end is tried at each zero, and takes the square of the time. */
export function withoutTrailingZeros(digits: string): string {
  let end = digits.length;
  while (end > 0 && digits[end - 1] === '0') end -= 1;
  return digits.slice(0, end);
}
