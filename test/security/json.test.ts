import canonicalize from 'canonicalize';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseBody } from '../../producers/gateway/body.ts';
import { startTestGateway, type TestGateway } from '../fixtures/gateways.ts';
import { JSON_CASES } from './json-cases.ts';

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startTestGateway();
});
afterAll(() => gateway.close());

/** The status and, of a problem, its name and what it says of the fields. */
async function put(path: string, body: Buffer | string): Promise<{ status: number; problem?: string; errors?: string[]; detail?: string }> {
  const response = await gateway.call({ method: 'PUT', url: path, payload: body, headers: { 'content-type': 'application/json' } });
  if (response.statusCode < 400) return { status: response.statusCode };
  const { type, detail, errors } = response.json<{ type: string; detail: string; errors?: { pointer: string; rule: string }[] }>();
  const problem = type.replace('/problems/', '');
  return { status: response.statusCode, problem, detail, ...(errors ? { errors: errors.map((e) => `${e.pointer} ${e.rule}`) } : {}) };
}

async function documentsQueued(): Promise<unknown[]> {
  return (await gateway.queued()).map((envelope) => envelope.data.mutations[0]?.value?.['document']);
}

const MALFORMED = { status: 400, problem: 'malformed_json' };
const INVALID = { status: 422, problem: 'validation' };

describe('a body', () => {
  it.each(JSON_CASES.filter(({ name }) => name.startsWith('n_')))('$name is refused as no JSON', async ({ body }) => {
    expect(await put('/v1/all-types/x', body)).toMatchObject(MALFORMED);
    expect(await documentsQueued()).toEqual([]);
  });

  it.each(JSON_CASES.filter(({ name }) => name.startsWith('y_')))('$name is taken for JSON', async ({ body }) => {
    const answer = await put('/v1/all-types/x', body);
    expect([202, 422]).toContain(answer.status);
    if (answer.status === 422) expect(answer).toMatchObject(INVALID);
    await gateway.queued();
  });

  it.each(JSON_CASES.filter(({ name }) => name.startsWith('i_')))('$name gets an answer of the contract', async ({ body }) => {
    const { status, problem } = await put('/v1/all-types/x', body);
    expect([MALFORMED, INVALID]).toContainEqual({ status, problem });
    expect(await documentsQueued()).toEqual([]);
  });
});

describe('the value of a JSON field', () => {
  /** JSON that one of the hops, or one reader among many, would not take as it is. */
  const REFUSED: Readonly<Record<string, string>> = {
    y_object_duplicated_key: '/document/a uniqueNames',
    y_object_duplicated_key_and_value: '/document/a uniqueNames',
    y_object_escaped_null_in_key: '/document/foo\0bar unicode',
    y_string_null_escape: '/document/0 unicode',
  };

  it.each(JSON_CASES.filter(({ name }) => name.startsWith('y_')))(
    '$name arrives as it was sent, or is refused by its place',
    async (one) => {
      const answer = await put('/v1/all-types/x', `{"document":${one.body.toString()}}`);
      const refused = REFUSED[one.name];
      if (refused === undefined) {
        expect(answer).toEqual({ status: 202 });
        const value: unknown = JSON.parse(one.body.toString());
        expect(await documentsQueued()).toEqual([value === null ? null : canonicalize(value)]);
      } else {
        expect(answer).toMatchObject({ ...INVALID, errors: [refused] });
      }
    },
  );
});

describe('what is JSON and refused', () => {
  it.each([
    ['a name twice', '{"text":"a","text":"a"}', '/text uniqueNames'],
    ['a name twice, once with an escape', '{"text":"a","t\\u0065xt":"b"}', '/text uniqueNames'],
    ['a name twice, deep down', '{"document":[1,{"a":[{"b":1,"c":"x:y","b":2}]}]}', '/document/1/a/0/b uniqueNames'],
    ['a name with a slash twice', '{"document":{"a/b~c":1,"a/b~c":2}}', '/document/a~1b~0c uniqueNames'],
    ['an empty name twice', '{"document":{"":{"":1},"":2}}', '/document/ uniqueNames'],
    ['a name twice beside strings that look like names', '{"tags":["a","a"],"text":"\\":\\"","text":"\\\\"}', '/text uniqueNames'],
    ['__proto__', '{"text":"a","__proto__":{"flag":true}}', '/__proto__ prototype'],
    ['__proto__ with an escape', '{"document":{"\\u005f_proto__":1}}', '/document/__proto__ prototype'],
    ['__proto__ twice', '{"document":[{"__proto__":1,"__proto__":2}]}', '/document/0/__proto__ prototype'],
    ['constructor.prototype', '{"document":{"constructor":{"prototype":{}}}}', '/document/constructor/prototype prototype'],
    ['a number that a double rounds', '{"document":{"a":[9007199254740993]}}', '/document/a/0 exact'],
    ['a number past a double', '{"document":1e400}', '/document exact'],
    ['a number that a double takes for zero', '{"document":1e-400}', '/document exact'],
    ['a number that a FLOAT64 rounds', '{"float":0.1000000000000000055}', '/float exact'],
    ['a number as the whole body', '1e400', ' type'],
    ['a lone surrogate', '{"text":"\\ud800"}', '/text unicode'],
    ['a lone surrogate in a document', '{"document":{"a":["\\udc00x"]}}', '/document/a/0 unicode'],
    ['NUL', '{"text":"a\\u0000b"}', '/text unicode'],
    ['NUL in a document', '{"document":{"a":"\\u0000"}}', '/document/a unicode'],
    ['more levels than a JSON column has', `{"document":${'['.repeat(81)}${']'.repeat(81)}}`, `/document${'/0'.repeat(80)} maxDepth`],
    ['more levels than the gateway takes', `{"document":${'['.repeat(100)}${']'.repeat(100)}}`, ' maxDepth'],
  ])('%s', async (_what, body, error) => {
    expect(await put('/v1/all-types/x', body)).toMatchObject({ ...INVALID, errors: [error] });
    expect(await documentsQueued()).toEqual([]);
  });

  it.each([
    ['plain', 'x'],
    ['escapes', '\\\\'],
    ['quotes', '\\"'],
  ])('a name twice beside a string of 12 MB of %s', (_what, characters) => {
    const body = Buffer.from(`{"text":"${characters.repeat(12_000_000 / characters.length)}","a":1,"a":2}`);
    const refusal = { problems: [{ pointer: '/a', rule: 'uniqueNames', message: 'is there twice in its object' }] };
    expect(() => parseBody(body, 10)).toThrow(expect.objectContaining(refusal));
  });

  it('NUL in the key of a path', async () => {
    expect(await put('/v1/all-types/a%00b', '{}')).toMatchObject({ ...INVALID, errors: ['/id unicode'] });
  });

  it('a byte order mark, by its name', async () => {
    expect(await put('/v1/all-types/x', '\ufeff{}')).toMatchObject({
      ...MALFORMED,
      detail: 'the body is not JSON: it starts with a byte order mark',
    });
  });
});
