/** The gateway with a real OpenID Connect provider: its discovery, its access tokens, and its keys as they rotate. */
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { decodeProtectedHeader, exportJWK, type JWK } from 'jose';
import { Provider } from 'oidc-provider';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { readConfig } from '../../cli/config.ts';
import { readIssuers } from '../../cli/issuers.ts';
import { startTestGateway, type TestGateway } from '../fixtures/gateways.ts';
import { makeKey } from '../fixtures/key-server.ts';

const RESOURCE = 'https://spanway.example';
const SCOPE = 'orders:read orders:write';

/** One key as a JWKS of the provider has it, private part and all. */
async function privateJwk(kid: string): Promise<JWK> {
  const { privateKey } = await makeKey(kid);
  return { ...(await exportJWK(privateKey)), kid, alg: 'ES256', use: 'sig' };
}

/** The provider signs with the first key. */
function providerWith(issuer: string, keys: readonly JWK[]): RequestListener {
  return new Provider(issuer, {
    jwks: { keys },
    cookies: { keys: ['for this test alone'] },
    clients: [
      {
        client_id: 'importer',
        client_secret: 'for-this-test-alone',
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
        id_token_signed_response_alg: 'ES256',
        scope: SCOPE,
      },
    ],
    scopes: SCOPE.split(' '),
    extraTokenClaims: () => ({ org: { tenant: 't7' } }),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          scope: SCOPE,
          audience: 'spanway',
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
  }).callback();
}

let server: Server;
let issuer: string;
let answer: RequestListener;
let gateway: TestGateway;
const jwks: string[] = [];

beforeAll(async () => {
  // The provider says what is not fit for production.
  vi.spyOn(console, 'warn').mockImplementation(() => undefined);
  vi.spyOn(console, 'info').mockImplementation(() => undefined);
  server = createServer((request, response) => {
    if (request.url === '/jwks') jwks.push(request.url);
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  vi.restoreAllMocks();
});

beforeEach(async () => {
  const issuers = await readIssuers(readConfig({ SPANWAY_OIDC_ISSUER: issuer }));
  gateway = await startTestGateway({ issuers: issuers.map((i) => ({ ...i, claims: { ...i.claims, tenant: ['org', 'tenant'] } })) });
  jwks.length = 0;
});
afterEach(() => gateway.close());

/** https://www.rfc-editor.org/rfc/rfc6749#section-4.4, https://www.rfc-editor.org/rfc/rfc8707#section-2.2 */
async function accessToken(): Promise<string> {
  const response = await fetch(`${issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from('importer:for-this-test-alone').toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', resource: RESOURCE, scope: SCOPE }),
  });
  const body = (await response.json()) as { access_token?: string };
  return body.access_token ?? expect.unreachable(JSON.stringify(body));
}

let orders = 0;
async function write(token: string): Promise<number> {
  orders += 1;
  const { statusCode } = await gateway.app.inject({
    method: 'PUT',
    url: `/v1/orders/o${orders}`,
    payload: { customer: 'c1', status: 'open' },
    headers: { authorization: `Bearer ${token}` },
  });
  return statusCode;
}

describe('an OpenID Connect provider', () => {
  it('is found by its issuer alone, and its access tokens say who calls', async () => {
    answer = providerWith(issuer, [await privateJwk('k1')]);
    expect(await write(await accessToken())).toBe(202);
    expect((await gateway.queued())[0]?.data.caller).toEqual({
      issuer,
      subject: 'importer',
      client: 'importer',
      tenant: 't7',
      scopes: SCOPE.split(' '),
    });
  });

  it('rotates its keys in the middle of traffic, and no request is refused', async () => {
    const [old, next] = [await privateJwk('old'), await privateJwk('next')];
    answer = providerWith(issuer, [old]);
    const statuses: number[] = [];
    const kids = new Set<unknown>();
    const client = async (until: () => boolean): Promise<void> => {
      while (!until()) {
        const token = await accessToken();
        kids.add(decodeProtectedHeader(token).kid);
        statuses.push(await write(token), await write(token));
        if (statuses.length === 40) answer = providerWith(issuer, [next, old]);
      }
    };
    await Promise.all(Array.from({ length: 8 }, () => client(() => statuses.length > 100)));
    expect(new Set(statuses)).toEqual(new Set([202]));
    expect(kids).toEqual(new Set(['old', 'next']));
    expect(jwks).toHaveLength(2);
  });
});
