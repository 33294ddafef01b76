/** Tokens that an attacker would try (RFC 8725): each is refused in the same few words, and none reaches the queue. */
import { createHmac, randomBytes, sign as signBytes } from 'node:crypto';
import { type IncomingHttpHeaders, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { CompactEncrypt, exportJWK, exportPKCS8, exportSPKI, importJWK, type JWTPayload } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MAX_TOKEN_BYTES } from '../../producers/gateway/identity.ts';
import { startTestGateway, type TestGateway } from '../fixtures/gateways.ts';
import { goodClaims, type KeyServer, makeKey, publicJwk, sign, startKeyServer } from '../fixtures/key-server.ts';

let home: KeyServer;
let lax: KeyServer;
let attacker: KeyServer;
let gateway: TestGateway;
const [ours, rsa, theirs, attackers] = await Promise.all([
  makeKey('ours'),
  makeKey('rsa', 'RS256'),
  makeKey('theirs'),
  makeKey('ours-too'),
]);

beforeAll(async () => {
  [home, lax, attacker] = await Promise.all([startKeyServer(), startKeyServer(), startKeyServer()]);
  await Promise.all([home.publish(ours, rsa), lax.publish(theirs), attacker.publish(attackers)]);
  gateway = await startTestGateway({
    issuers: [home.settings(), lax.settings({ tokenTypes: ['JWT', 'none'], tenants: ['u1', 'u2'], audiences: ['other', 'others'] })],
  });
});
afterAll(async () => {
  await gateway.close();
  await Promise.all([home.close(), lax.close(), attacker.close()]);
});

const write = { method: 'PUT', url: '/v1/orders/o1', payload: { customer: 'c1', status: 'open' } } as const;
const claims = (changes: JWTPayload = {}): JWTPayload => goodClaims(home.url, changes);
const laxClaims = (changes: JWTPayload = {}): JWTPayload => goodClaims(lax.url, { aud: 'other', tenant: 'u1', ...changes });
const seconds = (fromNow: number): number => Math.floor(Date.now() / 1000) + fromNow;
const encoded = (part: unknown): string => Buffer.from(typeof part === 'string' ? part : JSON.stringify(part)).toString('base64url');

/** Whatever header and payload, with whatever signature over them. */
function forged(header: unknown, payload: unknown, signature: (head: string) => Buffer): string {
  const head = `${encoded(header)}.${encoded(payload)}`;
  return `${head}.${signature(head).toString('base64url')}`;
}
const rsaPem = await exportPKCS8(rsa.privateKey);
const byOurKey = (head: string): Buffer => signBytes('sha256', Buffer.from(head), rsaPem);
const hmac = (key: string | Buffer) => (head: string) => createHmac('sha256', key).update(head).digest();
const RS = { alg: 'RS256', typ: 'at+jwt', kid: 'rsa' };

/** What may be said of why: no more than the name of a claim of a token that its issuer did sign. */
const DETAILS =
  /^(?:the token is not valid|the token has expired|the token is larger than \d+ bytes|send one "Authorization: Bearer" header with a token|the token's [a-z_.]+ claim (?:is not accepted here|names nobody|names no tenant))$/;

async function expectRefused(...authorization: readonly string[]): Promise<string> {
  // More than one is what `IncomingHttpHeaders` has no type for.
  const headers = { authorization } as unknown as IncomingHttpHeaders;
  const response = await gateway.app.inject({ ...write, headers });
  expect([response.statusCode, response.headers['www-authenticate']]).toEqual([401, 'Bearer']);
  expect(response.headers['content-type']).toMatch(/^application\/problem\+json/);
  const problem = response.json<{ detail: string }>();
  expect(problem).toEqual({
    type: '/problems/unauthenticated',
    title: 'No valid token',
    status: 401,
    detail: expect.stringMatching(DETAILS) as string,
    correlationId: response.headers['correlation-id'],
  });
  expect(await gateway.queued()).toEqual([]);
  return problem.detail;
}

describe('what is let in, so that a refusal below is for what its name says', () => {
  const taken: readonly (readonly [what: string, token: () => Promise<string>])[] = [
    ['an access token', () => sign(ours, claims())],
    ['one of another algorithm of the same issuer', () => sign(rsa, claims())],
    ['one made by hand', async () => forged(RS, claims(), byOurKey)],
    ['a typ as a whole media type', () => sign(ours, claims(), { typ: 'application/AT+JWT' })],
    ['several audiences with ours among them', () => sign(ours, claims({ aud: ['x', 'spanway'] }))],
    ['an issuer whose tokens have no typ', () => sign(theirs, laxClaims(), { typ: undefined })],
    ['an issuer whose tokens are JWT', () => sign(theirs, laxClaims({ token_use: 'access', aud: 'others' }), { typ: 'JWT' })],
  ];
  it.each(taken)('%s', async (_what, token) => {
    const response = await gateway.app.inject({ ...write, headers: { authorization: `Bearer ${await token()}` } });
    expect(response.statusCode).toBe(202);
    expect(await gateway.queued()).toHaveLength(1);
  });
});

describe('what is refused', () => {
  const refused: readonly (readonly [what: string, token: () => Promise<string> | string, claim?: string])[] = [
    // The algorithm. RFC 8725, sections 3.1 and 3.2
    ['alg none', () => forged({ alg: 'none', typ: 'at+jwt' }, claims(), () => Buffer.alloc(0))],
    ['alg nOnE, with the kid of a key', () => forged({ ...RS, alg: 'nOnE' }, claims(), () => Buffer.alloc(0))],
    ['no alg', () => forged({ typ: 'at+jwt', kid: 'rsa' }, claims(), byOurKey)],
    ['HS256 by the public key as PEM', async () => forged({ ...RS, alg: 'HS256' }, claims(), hmac(await exportSPKI(rsa.publicKey)))],
    ['HS256 by the public key as JWK', async () => forged({ ...RS, alg: 'HS256' }, claims(), hmac(JSON.stringify(await publicJwk(rsa))))],
    [
      'HS256 by the modulus',
      async () => forged({ ...RS, alg: 'HS256' }, claims(), hmac(Buffer.from((await exportJWK(rsa.publicKey)).n ?? '', 'base64url'))),
    ],
    ['HS256 by an empty key', () => forged({ alg: 'HS256', typ: 'at+jwt', kid: '' }, claims(), hmac(''))],
    ['an algorithm that is not allowed, by the right key', () => forged({ ...RS, alg: 'RS512' }, claims(), byOurKey)],
    ["the algorithm of another of the issuer's keys", () => forged({ ...RS, alg: 'ES256' }, claims(), byOurKey)],
    ['an ECDSA signature of zeros', () => forged({ alg: 'ES256', typ: 'at+jwt', kid: 'ours' }, claims(), () => Buffer.alloc(64))],
    ['an encrypted token', async () => encrypted()],

    // The key. RFC 8725, sections 3.8 and 3.10
    ['a kid that is not there', () => sign(ours, claims(), { kid: 'other' })],
    ['a kid that is a path', () => forged({ ...RS, alg: 'HS256', kid: '../../../../dev/null' }, claims(), hmac(''))],
    ['a kid that is SQL', () => sign(attackers, claims(), { kid: "x' UNION SELECT 'secret' -- " })],
    ['a very long kid', () => sign(attackers, claims(), { kid: 'k'.repeat(4000) })],
    ['a kid that is no text', () => forged({ ...RS, kid: ['rsa'] }, claims(), byOurKey)],
    ['a kid of the prototype', () => sign(attackers, claims(), { kid: '__proto__' })],
    ['no kid, by a key that is not the issuer’s', () => sign(attackers, claims(), { kid: undefined })],
    ['the kid of a key and a signature by another', () => sign(attackers, claims(), { kid: 'ours' })],
    ['jku to the keys of the attacker', () => sign(attackers, claims(), { jku: attacker.jwksUrl })],
    ['x5u to a certificate of the attacker', () => sign(attackers, claims(), { x5u: `${attacker.url}/cert.pem`, kid: 'ours' })],
    ['jwk with the key of the attacker', async () => sign(attackers, claims(), { jwk: await publicJwk(attackers) })],
    [
      'x5c with a certificate of the attacker',
      () => sign(attackers, claims(), { x5c: [randomBytes(300).toString('base64')], kid: 'ours' }),
    ],

    // The issuer and the audience. RFC 8725, sections 3.8 and 3.9
    ['an issuer that nobody trusts, with its own keys', () => sign(attackers, goodClaims(attacker.url))],
    ['no issuer', () => sign(ours, claims({ iss: undefined as never }))],
    ['issuers in an array', () => sign(ours, claims({ iss: [home.url] as never }))],
    ['the issuer with a slash more', () => sign(ours, claims({ iss: `${home.url}/` }))],
    ['an issuer of the prototype', () => sign(ours, claims({ iss: '__proto__' }))],
    ["another trusted issuer's key", () => sign(theirs, claims())],
    ["another trusted issuer's key under the kid of one", () => sign(theirs, claims(), { kid: 'ours' })],
    ["a token of the one issuer with the other's audience", () => sign(ours, claims({ aud: 'other' })), 'aud'],
    ['the typ that only the other issuer may have', () => sign(ours, claims(), { typ: 'JWT' }), 'typ'],
    ['a tenant that the issuer may not speak for', () => sign(theirs, laxClaims({ tenant: 't1' }), { typ: 'JWT' }), 'tenant'],
    ['another audience', () => sign(ours, claims({ aud: 'spanway.example' })), 'aud'],
    ['an audience that begins like ours', () => sign(ours, claims({ aud: ['spanway2', 'SPANWAY'] })), 'aud'],
    ['no audience', () => sign(ours, claims({ aud: undefined as never })), 'aud'],

    // What kind of token it is. RFC 8725, sections 3.11 and 3.12; RFC 9068, section 4
    ['no typ', () => sign(ours, claims(), { typ: undefined }), 'typ'],
    ['the typ that a setting calls none', () => sign(theirs, laxClaims(), { typ: 'none' }), 'typ'],
    ['at+jwt of an issuer that does not give it', () => sign(theirs, laxClaims(), { typ: 'at+jwt' }), 'typ'],
    ['a logout token', () => sign(ours, claims(), { typ: 'logout+jwt' }), 'typ'],
    ['a logout token that says at+jwt', () => sign(ours, claims({ events: { [LOGOUT]: {} } })), 'events'],
    ['a logout token without a typ', () => sign(theirs, laxClaims({ events: { [LOGOUT]: {} } }), { typ: undefined }), 'events'],
    ['an ID token with a nonce', () => sign(theirs, laxClaims({ nonce: 'n' }), { typ: 'JWT' }), 'nonce'],
    ['an ID token with at_hash', () => sign(theirs, laxClaims({ at_hash: 'h' }), { typ: undefined }), 'at_hash'],
    ['an ID token of Cognito', () => sign(theirs, laxClaims({ token_use: 'id' }), { typ: undefined }), 'token_use'],
    ['a refresh token of Keycloak', () => sign(theirs, laxClaims({ typ: 'Refresh' }), { typ: 'JWT' }), 'typ'],
    ['a DPoP proof', () => sign(ours, claims(), { typ: 'dpop+jwt' }), 'typ'],

    // crit. RFC 7515, section 4.1.11
    ['a crit that nobody here understands', () => forged({ ...RS, crit: ['exp2'], exp2: 1 }, claims(), byOurKey)],
    ['an empty crit', () => forged({ ...RS, crit: [] }, claims(), byOurKey)],
    ['a crit that is no array', () => forged({ ...RS, crit: 'b64' }, claims(), byOurKey)],
    ['a crit without its parameter', () => forged({ ...RS, crit: ['b64'] }, claims(), byOurKey)],
    ['a payload that is not encoded', () => forged({ ...RS, crit: ['b64'], b64: false }, claims(), byOurKey)],

    // Time
    ['an expired token', () => sign(ours, claims({ exp: seconds(-1) }))],
    ['a token that is not yet valid', () => sign(ours, claims({ nbf: seconds(60) })), 'nbf'],
    ['an exp that is text', () => forged(RS, { ...claims(), exp: '9999999999' }, byOurKey), 'exp'],
    ['no exp', () => sign(ours, claims({ exp: undefined as never })), 'exp'],

    // What was changed on its way
    ['a truncated signature', async () => (await sign(ours, claims())).slice(0, -4)],
    ['no signature', async () => (await sign(ours, claims())).replace(/[^.]+$/, '')],
    ['two parts', async () => (await sign(ours, claims())).replace(/\.[^.]+$/, '')],
    ['an altered signature', async () => replaced(await sign(ours, claims()), 2, (part) => flipped(part))],
    ['an altered payload', async () => replaced(await sign(ours, claims()), 1, () => encoded(claims({ tenant: 't2' })))],
    [
      'an altered header',
      async () => replaced(await sign(ours, claims()), 0, () => encoded({ alg: 'ES256', typ: 'at+jwt', kid: 'ours', x: 1 })),
    ],
    ['a payload that is no object', () => forged(RS, '"text"', byOurKey)],
    ['a payload that is no JSON', () => forged(RS, '{"iss":', byOurKey)],
    ['a header that is no JSON', () => forged('{', claims(), byOurKey)],
    ['nothing but dots', () => '..'],

    // Who it names
    ['no sub', () => sign(ours, claims({ sub: undefined as never })), 'sub'],
    ['no tenant', () => sign(ours, claims({ tenant: undefined })), 'tenant'],
    ...[7, ['t1'], { id: 't1' }, true, null, '', 't'.repeat(129), '\ud800'].map(
      (tenant) =>
        [`the tenant ${JSON.stringify(tenant).slice(0, 20)}`, () => forged(RS, { ...claims(), tenant }, byOurKey), 'tenant'] as const,
    ),
    ...[7, ['me'], null, ''].map(
      (sub) => [`the sub ${JSON.stringify(sub)}`, () => forged(RS, { ...claims(), sub }, byOurKey), 'sub'] as const,
    ),
    ...['robot', {}, { sub: 7 }, { sub: '' }].map(
      (act) => [`the act ${JSON.stringify(act)}`, () => sign(ours, claims({ act })), 'act.sub'] as const,
    ),
  ];

  for (const [what, token, claim] of refused) {
    it(what, async () => {
      const detail = await expectRefused(`Bearer ${await token()}`);
      if (claim === undefined) expect(detail).toMatch(/^the token (?:is not valid|has expired)$/);
      else expect(detail).toContain(`the token's ${claim} claim`);
    });
  }

  it('a token that is too large, before anything of it is decoded', async () => {
    const large = await sign(ours, claims({ padding: 'x'.repeat(MAX_TOKEN_BYTES) }));
    const ofNothing = `${'a'.repeat(MAX_TOKEN_BYTES)}.`;
    for (const token of [large, ofNothing]) expect(await expectRefused(`Bearer ${token}`)).toContain('is larger than');
  });

  it('two Authorization headers, in whatever order, over a real connection', async () => {
    const token = await sign(ours, claims());
    const others = [`Bearer ${await sign(ours, claims({ tenant: 't2' }))}`, 'Bearer x', 'Basic dTpw', `Bearer ${token}`];
    for (const other of others)
      for (const both of [
        [`Bearer ${token}`, other],
        [other, `Bearer ${token}`],
      ]) {
        await expectRefused(...both);
        expect(await statusOverTheWire(both)).toBe(401);
      }
    expect(await statusOverTheWire([`Bearer ${token}, Bearer ${token}`])).toBe(401);
    expect(await gateway.queued()).toEqual([]);
    expect(await statusOverTheWire([`Bearer ${token}`])).toBe(202);
    expect(await gateway.queued()).toHaveLength(1);
  });

  it('a token anywhere but in the header', async () => {
    const token = await sign(ours, claims());
    const response = await gateway.app.inject({
      ...write,
      url: `${write.url}?access_token=${token}`,
      headers: { cookie: `access_token=${token}`, 'proxy-authorization': `Bearer ${token}`, 'x-authorization': `Bearer ${token}` },
    });
    expect(response.statusCode).toBe(401);
    expect(await gateway.queued()).toEqual([]);
  });

  it('without ever asking the attacker for keys, and with few questions to the issuers', () => {
    expect(attacker.asked()).toBe(0);
    // The first fetch, and one for the first kid that was not there; more only where the tests took longer than the cooldown.
    expect(home.asked()).toBeLessThan(10);
  });
});

describe('a token that was verified', () => {
  it('says nothing for another that differs in its issuer alone', async () => {
    const good = await sign(ours, claims());
    const authorization = `Bearer ${good}`;
    expect((await gateway.app.inject({ ...write, headers: { authorization } })).statusCode).toBe(202);
    expect(await gateway.queued()).toHaveLength(1);
    await expectRefused(`Bearer ${replaced(good, 1, () => encoded(claims({ iss: lax.url })))}`);
  });
});

const LOGOUT = 'http://schemas.openid.net/event/backchannel-logout';

function replaced(token: string, part: number, change: (text: string) => string): string {
  return token
    .split('.')
    .map((text, i) => (i === part ? change(text) : text))
    .join('.');
}

/** Another first byte. */
function flipped(part: string): string {
  const bytes = Buffer.from(part, 'base64url');
  bytes[0] = (bytes[0] ?? 0) ^ 1;
  return bytes.toString('base64url');
}

async function encrypted(): Promise<string> {
  return new CompactEncrypt(Buffer.from(await sign(ours, claims())))
    .setProtectedHeader({ alg: 'RSA-OAEP-256', enc: 'A256GCM', cty: 'JWT' })
    .encrypt(await importJWK(await exportJWK(rsa.publicKey), 'RSA-OAEP-256'));
}

async function statusOverTheWire(authorization: readonly string[]): Promise<number | undefined> {
  if (!gateway.app.server.listening) await gateway.app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = gateway.app.server.address() as AddressInfo;
  const headers = ['Host', 'gateway', 'Content-Type', 'application/json', ...authorization.flatMap((value) => ['Authorization', value])];
  return new Promise((resolve, reject) => {
    const body = JSON.stringify(write.payload);
    httpRequest({ port, method: write.method, path: write.url, headers: [...headers, 'Content-Length', String(body.length)] })
      .once('response', (response) => {
        response.resume();
        resolve(response.statusCode);
      })
      .once('error', reject)
      .end(body);
  });
}
