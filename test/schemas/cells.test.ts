import { describe, expect, it } from 'vitest';
import { canonicalTimestamp, timestampOf, CellError, decodeCell, encodeCell } from '../../schemas/resource/cells.ts';
import { InexactNumber, parseExactJson } from '../../schemas/resource/inexact-number.ts';
import { mergePatch } from '../../schemas/resource/merge-patch.ts';
import type { ScalarType } from '../../schemas/resource/table.ts';

const encode = (scalar: ScalarType, value: unknown, maxLength?: number): unknown =>
  encodeCell({ scalar, array: false, ...(maxLength === undefined ? {} : { maxLength }) }, value);

function ruleOf(scalar: ScalarType, value: unknown, maxLength?: number): string {
  try {
    encode(scalar, value, maxLength);
  } catch (error) {
    if (error instanceof CellError) return error.rule;
    throw error;
  }
  return 'accepted';
}

describe('parseExactJson', () => {
  it('keeps the digits of a number that a double would round', () => {
    expect(parseExactJson('{"n":9007199254740993}')).toEqual({ n: new InexactNumber('9007199254740993') });
    expect(parseExactJson('[1e400,0.1000000000000000055]')).toEqual([
      new InexactNumber('1e400'),
      new InexactNumber('0.1000000000000000055'),
    ]);
    expect(parseExactJson('[1e-400]')).toEqual([new InexactNumber('1e-400')]);
  });

  it('leaves exact numbers as they are, however they are written', () => {
    expect(parseExactJson('[12.50, 1e3, 0.1, 9007199254740992, 1.7976931348623157e308, 0e5, 5e-324, "9007199254740993"]')).toEqual([
      12.5,
      1000,
      0.1,
      9007199254740992,
      1.7976931348623157e308,
      0,
      5e-324,
      '9007199254740993',
    ]);
  });
});

describe('a long number', () => {
  it('is never worth more time than its length', () => {
    const zeros = '0'.repeat(300_000);
    expect(parseExactJson(`[1.${zeros}1]`)).toEqual([new InexactNumber(`1.${zeros}1`)]);
    expect(ruleOf('NUMERIC', new InexactNumber(`1.${zeros}1`))).toBe('type');
    expect(ruleOf('INT64', new InexactNumber(`1${zeros}`))).toBe('type');
    expect(ruleOf('FLOAT64', new InexactNumber(`1.${zeros}`))).toBe('exact');
  });
});

describe('cells', () => {
  it('take an INT64 as a number or a string wherever it is exact, to its extremes', () => {
    expect(encode('INT64', 42)).toBe('42');
    expect(encode('INT64', '-9223372036854775808')).toBe('-9223372036854775808');
    expect(encode('INT64', '9223372036854775807')).toBe('9223372036854775807');
    expect(encode('INT64', new InexactNumber('9223372036854775807'))).toBe('9223372036854775807');
    expect(encode('INT64', 1e3)).toBe('1000');
    expect(encode('INT64', '007')).toBe('7');
    expect(ruleOf('INT64', '9223372036854775808')).toBe('int64');
    expect(ruleOf('INT64', 1.5)).toBe('type');
    expect(ruleOf('INT64', '1.0')).toBe('type');
    expect(ruleOf('INT64', ' 1')).toBe('type');
    expect(ruleOf('INT64', true)).toBe('type');
  });

  it('take a NUMERIC exactly, and refuse one digit too many', () => {
    expect(encode('NUMERIC', '12.50')).toBe('12.5');
    expect(encode('NUMERIC', 12.5)).toBe('12.5');
    expect(encode('NUMERIC', 1e-7)).toBe('0.0000001');
    expect(encode('NUMERIC', '-0.000')).toBe('0');
    expect(encode('NUMERIC', '99999999999999999999999999999.999999999')).toBe('99999999999999999999999999999.999999999');
    expect(encode('NUMERIC', new InexactNumber('12345678901234567890.123456789'))).toBe('12345678901234567890.123456789');
    expect(encode('NUMERIC', 1e22)).toBe('10000000000000000000000');
    expect(ruleOf('NUMERIC', '100000000000000000000000000000')).toBe('numeric');
    expect(ruleOf('NUMERIC', '0.0000000001')).toBe('numeric');
    expect(ruleOf('NUMERIC', '1e5')).toBe('type');
    expect(ruleOf('NUMERIC', 'NaN')).toBe('type');
  });

  it('refuse a FLOAT64 that would be rounded or is not finite', () => {
    expect(encode('FLOAT64', 0.1)).toBe(0.1);
    expect(ruleOf('FLOAT64', new InexactNumber('9007199254740993'))).toBe('exact');
    expect(ruleOf('FLOAT64', Number.NaN)).toBe('type');
    expect(ruleOf('FLOAT64', '1')).toBe('type');
  });

  it('bring a TIMESTAMP to UTC with its nanoseconds, and refuse what is no time', () => {
    expect(canonicalTimestamp('2026-02-28T23:30:00.123456789-02:00')).toBe('2026-03-01T01:30:00.123456789Z');
    expect(canonicalTimestamp('0001-01-01T00:00:00Z')).toBe('0001-01-01T00:00:00Z');
    expect(canonicalTimestamp('9999-12-31T23:59:59.999999999Z')).toBe('9999-12-31T23:59:59.999999999Z');
    const now = timestampOf();
    expect(canonicalTimestamp(now)).toBe(now);
    expect([0, 100, 1230].map((ms) => timestampOf(ms))).toEqual([
      '1970-01-01T00:00:00Z',
      '1970-01-01T00:00:00.1Z',
      '1970-01-01T00:00:01.23Z',
    ]);
    // A part of a millisecond is cut off.
    expect([10.5, 1.5].map((ms) => timestampOf(ms))).toEqual(['1970-01-01T00:00:00.01Z', '1970-01-01T00:00:00.001Z']);
    expect(canonicalTimestamp('2026-01-01t00:00:00.500z')).toBe('2026-01-01T00:00:00.5Z');
    for (const wrong of [
      '2026-02-30T00:00:00Z',
      '2026-01-01T24:00:00Z',
      '2026-01-01T00:00:60Z',
      '2026-01-01',
      '0001-01-01T00:00:00+01:00',
      '9999-12-31T23:59:59-01:00',
    ]) {
      expect(canonicalTimestamp(wrong), wrong).toBeUndefined();
    }
  });

  it('refuse dates that no calendar has', () => {
    expect(encode('DATE', '2024-02-29')).toBe('2024-02-29');
    expect(ruleOf('DATE', '2023-02-29')).toBe('date');
    expect(ruleOf('DATE', '0000-01-01')).toBe('date');
  });

  it('count a STRING in characters and BYTES in bytes', () => {
    expect(encode('STRING', '😀😀', 2)).toBe('😀😀');
    expect(ruleOf('STRING', '😀😀😀', 2)).toBe('maxLength');
    expect(encode('BYTES', 'AAEC', 3)).toBe('AAEC');
    expect(ruleOf('BYTES', 'AAECAw==', 3)).toBe('maxLength');
    expect(ruleOf('BYTES', 'AAE', 3)).toBe('base64');
  });

  it('refuse strings that no database would keep: lone surrogates and NUL, in JSON too', () => {
    expect(ruleOf('STRING', '\ud800')).toBe('unicode');
    expect(ruleOf('STRING', 'a\0b')).toBe('unicode');
    expect(ruleOf('JSON', { a: ['\udc00'] })).toBe('unicode');
    expect(ruleOf('JSON', { 'a\0': 1 })).toBe('unicode');
    expect(ruleOf('JSON', { a: new InexactNumber('9007199254740993') })).toBe('exact');
    expect(ruleOf('JSON', JSON.parse(`${'['.repeat(80)}${']'.repeat(80)}`))).toBe('accepted');
    expect(ruleOf('JSON', JSON.parse(`${'['.repeat(5000)}${']'.repeat(5000)}`))).toBe('maxDepth');
  });

  it('name the place of a wrong element of an array', () => {
    try {
      encodeCell({ scalar: 'INT64', array: true }, [1, 'x']);
      expect.unreachable();
    } catch (error) {
      expect((error as CellError).pointer).toBe('/1');
    }
  });

  it('write JSON with its member names in order, and read it back equal', () => {
    const value = { b: 1, a: [{ d: null, c: 'x' }], __proto__x: {} };
    const cell = encode('JSON', value);
    expect(cell).toBe('{"__proto__x":{},"a":[{"c":"x","d":null}],"b":1}');
    expect(decodeCell({ scalar: 'JSON', array: false }, cell as string, false)).toEqual(value);
  });

  it('give a bounded INT64 back as a number, and one beyond a double as a string', () => {
    expect(decodeCell({ scalar: 'INT64', array: false }, '7', true)).toBe(7);
    expect(decodeCell({ scalar: 'INT64', array: false }, '9007199254740993', true)).toBe('9007199254740993');
    expect(decodeCell({ scalar: 'INT64', array: true }, ['7', '8'], false)).toEqual(['7', '8']);
  });
});

describe('mergePatch', () => {
  // https://www.rfc-editor.org/rfc/rfc7396#appendix-A
  const cases: readonly (readonly [target: string, patch: string, result: string])[] = [
    ['{"a":"b"}', '{"a":"c"}', '{"a":"c"}'],
    ['{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'],
    ['{"a":"b"}', '{"a":null}', '{}'],
    ['{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'],
    ['{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'],
    ['{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'],
    ['{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'],
    ['{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'],
    ['["a","b"]', '["c","d"]', '["c","d"]'],
    ['{"a":"b"}', '["c"]', '["c"]'],
    ['{"a":"foo"}', 'null', 'null'],
    ['{"a":"foo"}', '"bar"', '"bar"'],
    ['{"e":null}', '{"a":1}', '{"a":1,"e":null}'],
    ['[1,2]', '{"a":"b","c":null}', '{"a":"b"}'],
    ['{}', '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'],
  ];
  it.each(cases)('of %s with %s is %s', (target, patch, result) => {
    expect(mergePatch(target, patch)).toBe(result);
  });

  it('starts from nothing where the column has no value', () => {
    expect(mergePatch(null, '{"a":1,"b":null}')).toBe('{"a":1}');
  });
});
