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

function isExact(source: string, value: number): boolean {
  return (
    Number.isFinite(value) &&
    significantDigits(source) === significantDigits(String(value)) &&
    !(value === 0 && /[1-9]/.test(source.split(/e/i)[0] ?? ''))
  );
}

/** The significant digits alone; two texts of nearly the same value are the same number if these agree. */
function significantDigits(source: string): string {
  const mantissa = source.split(/e/i)[0] ?? '';
  return mantissa.replace(/[-.]/g, '').replace(/^0+/, '').replace(/0+$/, '');
}
