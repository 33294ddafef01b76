import { errors, type JWTVerifyGetKey } from 'jose';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UnavailableError } from '../../producers/gateway/errors.ts';
import { COOLDOWN_MS, issuerKeys, type KeySource, MAX_AGE_MS, REFRESH_MS } from '../../producers/gateway/issuer-keys.ts';
import { type KeyServer, makeKey, startKeyServer } from '../fixtures/key-server.ts';

const [first, second] = await Promise.all([makeKey('first'), makeKey('second')]);
const TOKEN = { payload: '', signature: '' };

let server: KeyServer;
let nowMs: number;
let keys: JWTVerifyGetKey;
beforeEach(async () => {
  server = await startKeyServer();
  nowMs = 0;
  keys = keysAt({ jwksUrl: server.jwksUrl });
  await server.publish(first);
});
afterEach(() => server.close());

const keysAt = (source: KeySource): JWTVerifyGetKey => issuerKeys({ issuer: server.url, keys: source }, () => nowMs);
const find = async (kid: string): Promise<unknown> => keys({ alg: 'ES256', kid }, TOKEN);
const findUnknown = (kid: string): Promise<void> => expect(find(kid)).rejects.toBeInstanceOf(errors.JWKSNoMatchingKey);
const unavailable = expect.any(UnavailableError) as UnavailableError;

describe("an issuer's keys", () => {
  it('are fetched once for many requests', async () => {
    await Promise.all(Array.from({ length: 200 }, () => find('first')));
    await find('first');
    expect(server.asked()).toBe(1);
  });

  it('are fetched once more for many tokens with a new key, and none of them is refused', async () => {
    await find('first');
    await server.publish(second, first);
    await Promise.all(Array.from({ length: 200 }, (_, i) => find(i % 2 === 0 ? 'second' : 'first')));
    expect(server.asked()).toBe(2);
  });

  it('are asked for once in the cooldown, however many keys are made up', async () => {
    await find('first');
    await Promise.all(Array.from({ length: 200 }, (_, i) => findUnknown(`at once ${i}`)));
    for (let i = 0; i < 50; i += 1) await findUnknown(`one by one ${i}`);
    expect(server.asked()).toBe(2);
    nowMs += COOLDOWN_MS - 1;
    await findUnknown('too early');
    expect(server.asked()).toBe(2);
    nowMs += 1;
    for (let i = 0; i < 50; i += 1) await findUnknown(`later ${i}`);
    expect(server.asked()).toBe(3);
    await find('first');
  });

  it('are asked for no more often while the issuer fails', async () => {
    await find('first');
    server.serve('/jwks.json', 500);
    for (let i = 0; i < 50; i += 1) await expect(find(`made up ${i}`)).rejects.toEqual(unavailable);
    expect(server.asked()).toBe(2);
    await find('first');
    nowMs += COOLDOWN_MS;
    await server.publish(second);
    await find('second');
    expect(server.asked()).toBe(3);
  });

  it('are asked for once in the cooldown before there are any', async () => {
    server.serve('/jwks.json', 503);
    for (let i = 0; i < 50; i += 1) await expect(find('first')).rejects.toEqual(unavailable);
    expect(server.asked()).toBe(1);
    nowMs += COOLDOWN_MS;
    await server.publish(first);
    await find('first');
  });

  it('stay in use while the issuer is away, until they are too old', async () => {
    await find('first');
    server.serve('/jwks.json', 503);
    nowMs = REFRESH_MS;
    await find('first');
    await expect.poll(() => server.asked()).toBe(2);
    nowMs = MAX_AGE_MS - 1;
    await find('first');
    await expect.poll(() => server.asked()).toBe(3);
    nowMs = MAX_AGE_MS + COOLDOWN_MS;
    await expect(find('first')).rejects.toEqual(unavailable);
  });

  it('stop working once the issuer has withdrawn them and was asked again', async () => {
    await find('first');
    await server.publish(second);
    nowMs = MAX_AGE_MS;
    await findUnknown('first');
  });

  it.each([
    ['no document', 404],
    ['a redirect', 302],
    ['no set of keys', { keys: 'none' }],
    ['no object', null],
  ])('are not taken from %s', async (_what, document) => {
    server.serve('/jwks.json', document);
    await expect(find('first')).rejects.toEqual(unavailable);
  });
});

describe("an issuer's metadata", () => {
  const path = '/.well-known/oauth-authorization-server';

  beforeEach(() => {
    keys = keysAt({ discoveryUrl: `${server.url}${path}` });
  });

  it('says where the keys are, and is read again with them', async () => {
    server.serve(path, { issuer: server.url, jwks_uri: server.jwksUrl });
    await find('first');
    server.serve('/moved.json', { keys: [] });
    server.serve(path, { issuer: server.url, jwks_uri: `${server.url}/moved.json` });
    nowMs = MAX_AGE_MS;
    await findUnknown('first');
  });

  it('counts for its own issuer alone, and only with a URL of keys', async () => {
    for (const document of [
      { issuer: 'https://another.example', jwks_uri: server.jwksUrl },
      { issuer: `${server.url}/`, jwks_uri: server.jwksUrl },
      { jwks_uri: server.jwksUrl },
      { issuer: server.url },
      { issuer: server.url, jwks_uri: 'jwks.json' },
      null,
    ]) {
      server.serve(path, document);
      await expect(find('first')).rejects.toEqual(unavailable);
      nowMs += COOLDOWN_MS;
    }
    expect(server.asked()).toBe(6);
  });
});
