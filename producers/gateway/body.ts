/**
 * The body of a request: one JSON text that every reader behind the gateway takes for the same value, or a refusal
 * that says where it is not. RFC 8259 leaves repeated names and the depth to the reader; I-JSON (RFC 7493, section
 * 2.3) refuses repeated names, and so does this.
 */
import { ValidationError } from '../../schemas/errors.ts';
import { escapePointer } from '../../schemas/resource/cells.ts';
import { InexactNumber, parseExactJson } from '../../schemas/resource/inexact-number.ts';
import { RequestError } from './errors.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const COMMA = 0x2c;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** With its byte order mark, if it has one. */
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Undefined for an empty body. `maxDepth`: levels of arrays and objects.
 * @throws RequestError (`malformed_json`) for what is not JSON in UTF-8, ValidationError for JSON that is refused.
 */
export function parseBody(body: Buffer, maxDepth: number): unknown {
  if (body.length === 0) return undefined;
  const text = decode(body);
  const { depth, members } = shapeOf(text);
  if (depth > maxDepth) {
    // Malformed comes first. Without a reviver V8 parses any depth without recursion.
    parseAs(JSON.parse, text);
    throw refusal('', 'maxDepth', `is nested ${depth} levels deep; at most ${maxDepth} are taken`);
  }
  const value = parseAs(parseExactJson, text);
  const names = namesOf(value);
  if (names.ofPrototype !== undefined) {
    throw refusal(names.ofPrototype, 'prototype', 'is a name that JavaScript programs may take for the prototype of an object');
  }
  if (names.count !== members) throw refusal(repeatedName(text), 'uniqueNames', 'is there twice in its object');
  return value;
}

function decode(body: Buffer): string {
  let text: string;
  try {
    text = utf8.decode(body);
  } catch (cause) {
    throw malformed('it is not UTF-8', cause);
  }
  // A sender must not add one, a reader need not take it: https://www.rfc-editor.org/rfc/rfc8259#section-8.1
  if (text.startsWith('\ufeff')) throw malformed('it starts with a byte order mark');
  return text;
}

function parseAs(parse: (text: string) => unknown, text: string): unknown {
  try {
    return parse(text);
  } catch (cause) {
    // V8 quotes the body around what it did not expect.
    throw malformed((cause as SyntaxError).message.replace(/, (?:\.{3})?".*"(?:\.{3})? is not valid JSON$/s, ''));
  }
}

function malformed(why: string, cause?: unknown): RequestError {
  return new RequestError('malformed_json', `the body is not JSON: ${why}`, { cause });
}

function refusal(pointer: string, rule: string, message: string): ValidationError {
  return new ValidationError([{ pointer, rule, message }]);
}

/**
 * The deepest level, and the members of all objects, as they are written. Of a text that is not JSON, any numbers.
 * Every body is read by this, so it is one loop without calls.
 */
function shapeOf(text: string): { readonly depth: number; readonly members: number } {
  let level = 0;
  let depth = 0;
  let members = 0;
  for (let i = 0; i < text.length; i += 1) {
    const char = text.charCodeAt(i);
    if (char === QUOTE) {
      for (i += 1; i < text.length && text.charCodeAt(i) !== QUOTE; i += 1) if (text.charCodeAt(i) === BACKSLASH) i += 1;
    } else if (char === COLON) members += 1;
    else if (char === OPEN_ARRAY || char === OPEN_OBJECT) {
      level += 1;
      if (level > depth) depth = level;
    } else if (char === CLOSE_ARRAY || char === CLOSE_OBJECT) level -= 1;
  }
  return { depth, members };
}

/** How many members all objects of a parsed value have, and the place of the first that names a prototype. */
function namesOf(value: unknown): { readonly count: number; readonly ofPrototype: string | undefined } {
  let count = 0;
  const visit = (item: unknown): string | undefined => {
    if (typeof item !== 'object' || item === null || item instanceof InexactNumber) return undefined;
    if (Array.isArray(item)) {
      for (let i = 0; i < item.length; i += 1) {
        const below = visit(item[i]);
        if (below !== undefined) return `/${i}${below}`;
      }
      return undefined;
    }
    // What JSON.parse makes has no enumerable members but its own.
    for (const name in item) {
      count += 1;
      const member = (item as Record<string, unknown>)[name];
      if (name === '__proto__') return '/__proto__';
      if (typeof member !== 'object' || member === null) continue;
      if (name === 'constructor' && Object.hasOwn(member, 'prototype')) return '/constructor/prototype';
      const below = visit(member);
      if (below !== undefined) return `/${escapePointer(name)}${below}`;
    }
    return undefined;
  };
  const ofPrototype = visit(value);
  return { count, ofPrototype };
}

/** The place of the first name that its object has a second time, in a text that is JSON. */
function repeatedName(text: string): string {
  const path: { readonly names?: Set<string>; step: string | number }[] = [];
  let nameIsNext = false;
  for (let i = 0; i < text.length; i += 1) {
    const within = path.at(-1);
    switch (text.charCodeAt(i)) {
      case OPEN_OBJECT:
        path.push({ names: new Set(), step: '' });
        nameIsNext = true;
        break;
      case OPEN_ARRAY:
        path.push({ step: 0 });
        nameIsNext = false;
        break;
      case CLOSE_OBJECT:
      case CLOSE_ARRAY:
        path.pop();
        break;
      case COMMA:
        nameIsNext = within?.names !== undefined;
        if (typeof within?.step === 'number') within.step += 1;
        break;
      case QUOTE: {
        const start = i;
        i = closingQuote(text, start);
        if (!nameIsNext || !within?.names) break;
        within.step = JSON.parse(text.slice(start, i + 1)) as string;
        if (within.names.has(within.step)) return path.map(({ step }) => `/${escapePointer(String(step))}`).join('');
        within.names.add(within.step);
        nameIsNext = false;
        break;
      }
      default:
    }
  }
  return '';
}

/** Of the string that starts at `start`. Not by a regular expression: that runs out of its stack in a string of some megabytes. */
function closingQuote(text: string, start: number): number {
  let i = start + 1;
  while (i < text.length && text.charCodeAt(i) !== QUOTE) i += text.charCodeAt(i) === BACKSLASH ? 2 : 1;
  return i;
}
