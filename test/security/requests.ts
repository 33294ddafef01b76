/** Requests as a client might send them that errs, guesses or attacks: near what the gateway takes, or far from it. */
import fc from 'fast-check';

export interface FuzzRequest {
  readonly method: string;
  readonly target: string;
  /** As they are written, one below the other. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Buffer;
  /** How the end of the body is told: truly, by chunks, or not as it is. */
  readonly framing: 'length' | 'chunks' | 'none' | 'too_long' | 'both';
}

/** What only a test's own gateway knows. */
export interface Known {
  readonly tokens: readonly string[];
  readonly receiptId: string;
}

/** Where parsers, encoders and databases differ. */
const oddText = fc.oneof(
  fc.constantFrom(
    '',
    '\0',
    '\ud800',
    '\udfff\ud800',
    '\ufeff',
    '\uffff',
    '\u202e',
    '\u2028',
    '😀',
    'a/b',
    '%00',
    '__proto__',
    'constructor',
    "';--",
  ),
  fc.string({ unit: 'binary', maxLength: 30 }),
  fc.string({ unit: 'grapheme', maxLength: 30 }),
  fc.constantFrom(64, 65, 200, 201, 2000, 2001).map((length) => 'é'.repeat(length)),
);

/** A JSON value that is written as it is, so that it can be what `JSON.stringify` never writes. */
const oddJson = fc.oneof(
  { weight: 6, arbitrary: fc.json({ maxDepth: 3 }) },
  { weight: 3, arbitrary: oddText.map((text) => JSON.stringify(text)) },
  {
    weight: 4,
    arbitrary: fc.constantFrom(
      ...['null', '-0', '1e400', '1e-400', '-1E+2', '0.1000000000000000055', '9007199254740993', '18446744073709551616', '1e999999999'],
      ...['"-9223372036854775808"', '"9223372036854775808"', '"1e5"', '"0.0000000001"', '"2026-02-30"', '"2026-11-24T24:00:00Z"', '"AA=="'],
      ...[
        '{"__proto__":{}}',
        '{"a":1,"a":2}',
        '{"constructor":{"prototype":1}}',
        '{"source":"1"}',
        '"\\u0000"',
        '"\\ud800"',
        'NaN',
        '[1,]',
      ],
    ),
  },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 200 }).map((levels) => '['.repeat(levels) + ']'.repeat(levels)) },
);

/** The members of an object, each there or not, each right or odd. */
function nearly(fields: Readonly<Record<string, fc.Arbitrary<unknown>>>): fc.Arbitrary<string> {
  const members = Object.entries(fields).map(([name, right]) =>
    fc
      .oneof({ weight: 6, arbitrary: right.map((value) => JSON.stringify(value)) }, { weight: 1, arbitrary: oddJson })
      .map((text) => `${JSON.stringify(name)}:${text}`),
  );
  const more = fc.tuple(oddText, oddJson).map(([name, text]) => `${JSON.stringify(name)}:${text}`);
  return fc
    .tuple(
      ...members.map((member) => fc.option(member, { freq: 12 })),
      fc.oneof({ weight: 8, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: fc.oneof(more, ...members) }),
    )
    .map((given) => `{${given.filter((member) => member !== null).join(',')}}`);
}

const oneKey = fc.constantFrom('k1', 'k2', 'o1', 'o 2', 'ö/%');
const json = fc.jsonValue({ maxDepth: 4 });
const bodies: Readonly<Record<string, fc.Arbitrary<string>>> = {
  orders: nearly({
    customer: fc.string({ minLength: 1, maxLength: 20 }),
    status: fc.constantFrom('open', 'paid'),
    total: fc.constantFrom(12.5, '12.50', 7),
    note: fc.string({ maxLength: 40 }),
    metadata: json,
  }),
  'order-lines': nearly({
    sku: fc.string({ minLength: 1, maxLength: 9 }),
    quantity: fc.integer({ min: 1, max: 9 }),
    unitPrice: fc.constant('1.5'),
  }),
  'all-types': nearly({
    text: fc.string({ maxLength: 20 }),
    big: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String),
    float: fc.double({ noNaN: true, noDefaultInfinity: true }),
    amount: fc.constantFrom('0.5', -3),
    flag: fc.boolean(),
    moment: fc.date({ noInvalidDate: true, min: new Date('0001-01-01'), max: new Date('9999-12-31') }),
    day: fc.constant('2026-11-24'),
    blob: fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.from(bytes).toString('base64')),
    document: json,
    tags: fc.array(fc.string({ maxLength: 10 }), { maxLength: 4 }),
    numbers: fc.array(fc.integer(), { maxLength: 4 }),
  }),
};
const resource = fc.constantFrom('orders', 'orders', 'order-lines', 'all-types');
const withKey = resource.chain((name) =>
  fc.record({ name: fc.constant(name), key: name === 'order-lines' ? fc.tuple(oneKey, fc.integer({ min: 1, max: 9 })) : fc.tuple(oneKey) }),
);

const mutation = withKey.chain(({ name, key }) =>
  fc
    .tuple(
      fc.constantFrom('insert', 'update', 'upsert', 'delete', 'upsert'),
      fc.oneof({ weight: 8, arbitrary: fc.constant(JSON.stringify(key)) }, { weight: 1, arbitrary: oddJson }),
      fc.oneof({ weight: 8, arbitrary: bodies[name] ?? oddJson }, { weight: 1, arbitrary: oddJson }),
    )
    .map(([op, keyText, value]) => `{"op":"${op}","resource":"${name}","key":${keyText}${op === 'delete' ? '' : `,"value":${value}`}}`),
);
const submission = fc.oneof(
  { weight: 6, arbitrary: fc.array(mutation, { minLength: 1, maxLength: 3 }).map((items) => `{"mutations":[${items.join(',')}]}`) },
  { weight: 1, arbitrary: oddJson.map((text) => `{"mutations":${text}}`) },
);

/** A body as it is, or cut, or with some bytes in it that do not belong there. */
function spoiled(text: fc.Arbitrary<string>): fc.Arbitrary<Buffer> {
  const whole = text.map((t) => Buffer.from(t));
  return fc.oneof(
    { weight: 8, arbitrary: whole },
    { weight: 1, arbitrary: fc.tuple(whole, fc.nat()).map(([body, at]) => body.subarray(0, at % (body.length + 1))) },
    {
      weight: 1,
      arbitrary: fc.tuple(whole, fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 3 })).map(([body, at, bytes]) => {
        const place = at % (body.length + 1);
        return Buffer.concat([body.subarray(0, place), bytes, body.subarray(place)]);
      }),
    },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(Buffer.alloc(0), Buffer.from('\ufeff{}'), Buffer.from('{}', 'utf16le'), Buffer.alloc(5000, ' ')),
    },
  );
}

/** What an HTTP parser takes in a target: anything but spaces and control characters. */
const targetText = fc.string({ unit: fc.integer({ min: 0x21, max: 0xff }).map((code) => String.fromCharCode(code)), maxLength: 40 });
const segment = fc.oneof(
  fc.uint8Array({ maxLength: 12 }).map((bytes) => [...bytes].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')),
  fc.constantFrom('', '.', '..', '%2e%2e', '%', '%zz', '%00', '%2F', '%ed%a0%80', '__proto__', 'submissions', 'k'.repeat(7000)),
  targetText.filter((text) => !/[?#]/.test(text)),
);
const oddTarget = fc.oneof(
  fc.constantFrom(
    '/',
    '*',
    '//',
    '/v1',
    '/v1/',
    '/v1//x',
    '/v1/orders',
    '/v1/orders/',
    '/V1/orders/o1',
    'http://x/v1/orders/o1',
    'http://[::1',
    'x:80',
  ),
  fc.constantFrom(
    '/healthz',
    '/readyz',
    '/problems/validation',
    '/problems/__proto__',
    '/problems/%zz',
    '/docs/static/../../package.json',
    '/docs/static/%00',
    '/v1/submissions',
    '/v1/__proto__/x',
  ),
  fc.array(segment, { maxLength: 5 }).map((segments) => `/v1/${segments.join('/')}`),
  targetText.map((text) => `/${text}`),
  targetText.map((text) => `/docs/static/${text}`),
);

const headerValue = fc.string({ unit: fc.integer({ min: 0x20, max: 0xff }).map((code) => String.fromCharCode(code)), maxLength: 60 });
/** Headers that the gateway or its HTTP server reads, and some that others read. */
const header = fc.oneof(
  fc.tuple(
    fc.constantFrom(
      ...[
        'Authorization',
        'Idempotency-Key',
        'If-Match',
        'If-None-Match',
        'Prefer',
        'Correlation-Id',
        'Traceparent',
        'Tracestate',
        'Content-Type',
      ],
      ...['Content-Encoding', 'Accept-Version', 'Host', 'Cookie', 'Range', 'X-Request-Id', 'X-Forwarded-For', 'X-HTTP-Method-Override'],
    ),
    headerValue,
  ),
  fc.tuple(fc.constant('Idempotency-Key'), fc.constantFrom('k1', '"k2"', 'k3', '"a b"')),
  fc.tuple(fc.constant('If-Match'), fc.constantFrom('*', '"2026-11-24T00:00:00Z"', '"x"', 'W/"x"', '"a","b"')),
  fc.tuple(fc.constant('If-None-Match'), fc.constantFrom('*', '"x"', 'W/"x"')),
  fc.tuple(fc.constant('Prefer'), fc.constantFrom('wait=1', 'wait=999999999999', 'respond-async, wait="5"; x', 'wait')),
  fc.tuple(fc.constant('Traceparent'), fc.constant('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01')),
  fc.tuple(
    fc.constant('Content-Type'),
    fc.constantFrom(
      'application/json; charset=utf-16',
      'application/JSON',
      'text/json',
      'application/json;',
      'application/merge-patch+json',
      ';',
    ),
  ),
  fc.tuple(fc.constant('Content-Encoding'), fc.constantFrom('gzip', 'identity', 'br, gzip')),
  fc.tuple(fc.constant('X-Padding'), fc.constant('x'.repeat(20_000))),
);

/** A write or read near one of the routes. */
const nearRoute = fc.oneof(
  {
    weight: 8,
    arbitrary: withKey.chain(({ name, key }) =>
      fc.record({
        method: fc.constantFrom('PUT', 'PUT', 'PATCH', 'DELETE', 'GET'),
        target: fc.oneof(
          { weight: 6, arbitrary: fc.constant(`/v1/${name}/${key.map((part) => encodeURIComponent(part)).join('/')}`) },
          {
            weight: 1,
            arbitrary: fc.array(segment, { minLength: 1, maxLength: 3 }).map((segments) => `/v1/${name}/${segments.join('/')}`),
          },
        ),
        body: spoiled(bodies[name] ?? oddJson),
      }),
    ),
  },
  {
    weight: 3,
    arbitrary: resource.chain((name) =>
      fc.record({ method: fc.constant('POST'), target: fc.constant(`/v1/${name}`), body: spoiled(bodies[name] ?? oddJson) }),
    ),
  },
  { weight: 5, arbitrary: fc.record({ method: fc.constant('POST'), target: fc.constant('/v1/submissions'), body: spoiled(submission) }) },
);

export function requests({ tokens, receiptId }: Known): fc.Arbitrary<FuzzRequest> {
  const id = fc.oneof(
    fc.constant(receiptId),
    targetText,
    fc.nat(receiptId.length - 1).map((at) => `${receiptId.slice(0, at)}A${receiptId.slice(at + 1)}`),
  );
  const query = fc.constantFrom('', '?wait=1', '?wait=', '?wait=-1', '?wait=1&wait=2', '?wait[]=1', '?__proto__=1', '?%');
  const status = fc.record({
    method: fc.constantFrom('GET', 'GET', 'HEAD'),
    target: fc.tuple(id, query).map(([text, more]) => `/v1/submissions/${text}${more}`),
    body: fc.constant(Buffer.alloc(0)),
  });
  const odd = fc.record({
    method: fc.constantFrom(
      'GET',
      'PUT',
      'POST',
      'PATCH',
      'DELETE',
      'HEAD',
      'OPTIONS',
      'TRACE',
      'QUERY',
      'PROPFIND',
      'CONNECT',
      'FOO',
      'put',
      '',
    ),
    target: oddTarget,
    body: spoiled(oddJson),
  });
  const authorization = fc
    .oneof({ weight: 20, arbitrary: fc.constantFrom(...tokens) }, { weight: 1, arbitrary: headerValue })
    .map((token) => ['Authorization', `Bearer ${token}`] as const);
  return fc
    .record({
      route: fc.oneof({ weight: 12, arbitrary: nearRoute }, { weight: 2, arbitrary: status }, { weight: 3, arbitrary: odd }),
      authorization,
      contentType: fc.constant(['Content-Type', 'application/json'] as const),
      others: fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, { weight: 2, arbitrary: fc.array(header, { maxLength: 3 }) }),
      framing: fc.oneof(
        { weight: 20, arbitrary: fc.constant('length' as const) },
        { weight: 1, arbitrary: fc.constantFrom('chunks', 'none', 'too_long', 'both' as const) },
      ),
    })
    .map(({ route, authorization: token, contentType, others, framing }) => ({
      ...route,
      headers: [token, contentType, ...others],
      framing,
    }));
}

/** As it goes over the connection, which is closed after the answer. */
export function bytesOf({ method, target, headers, body, framing }: FuzzRequest): Buffer {
  const lines = [
    `${method} ${target} HTTP/1.1`,
    'Host: gateway',
    'Connection: close',
    ...headers.map(([name, value]) => `${name}: ${value}`),
  ];
  if (framing === 'length' || framing === 'both') lines.push(`Content-Length: ${body.length}`);
  if (framing === 'too_long') lines.push(`Content-Length: ${body.length + 7}`);
  if (framing === 'chunks' || framing === 'both') lines.push('Transfer-Encoding: chunked');
  const chunked = Buffer.concat([
    Buffer.from(`${body.length.toString(16)}\r\n`),
    body,
    Buffer.from(body.length > 0 ? '\r\n0\r\n\r\n' : '\r\n'),
  ]);
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), framing === 'chunks' ? chunked : body]);
}
