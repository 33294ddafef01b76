import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConfigError, readConfig } from '../../cli/config.ts';
import { readIssuers } from '../../cli/issuers.ts';
import { createIdentity, type IssuerSettings } from '../../producers/gateway/identity.ts';
import type { Caller } from '../../schemas/envelope/envelope.ts';
import { goodClaims, type KeyServer, makeKey, sign, startKeyServer } from '../fixtures/key-server.ts';
import { temporaryFolder } from '../temp.ts';

let server: KeyServer;
const key = await makeKey('k1');
beforeAll(async () => {
  server = await startKeyServer('https://login.example');
  await server.publish(key);
});
afterAll(() => server.close());

/** The issuers of a file with this content, in a gateway with these settings. */
async function fromFile(content: unknown, env: Record<string, string> = {}): Promise<readonly IssuerSettings[]> {
  const file = join(await temporaryFolder(), 'issuers.json');
  await writeFile(file, typeof content === 'string' ? content : JSON.stringify(content));
  return readIssuers(readConfig({ SPANWAY_OIDC_ISSUERS: file, ...env }));
}

describe('the issuers of a file', () => {
  it('have what the settings say where they say nothing themselves', async () => {
    const issuers = await fromFile(
      [
        { issuer: 'https://a.example/', tenants: 'any' },
        {
          issuer: 'https://b.example',
          jwksUrl: 'https://keys.example/b',
          tenants: ['t1', 't2'],
          audiences: ['api://spanway'],
          algorithms: ['RS256'],
          tokenTypes: ['JWT', 'none'],
          claims: { tenant: ['org', 'id'], subject: 'oid', scopes: 'scp', client: 'appid' },
          clockToleranceSeconds: 0,
        },
        { issuer: 'urn:c', discoveryUrl: 'http://127.0.0.1:8000/.well-known/oauth-authorization-server', tenants: ['t3'] },
      ],
      { SPANWAY_OIDC_TENANT_CLAIM: 'tid', NODE_ENV: 'production' },
    );
    expect(issuers[0]).toEqual({
      issuer: 'https://a.example/',
      keys: { discoveryUrl: 'https://a.example/.well-known/openid-configuration' },
      tenants: 'any',
      audiences: ['spanway'],
      algorithms: ['RS256', 'PS256', 'ES256', 'EdDSA'],
      tokenTypes: ['at+jwt'],
      claims: {
        subject: ['sub'],
        tenant: ['tid'],
        scopes: ['scope'],
        roles: ['roles'],
        client: [['client_id'], ['azp']],
        actor: ['act', 'sub'],
      },
      clockToleranceSeconds: 5,
    });
    expect(issuers[1]).toEqual({
      issuer: 'https://b.example',
      keys: { jwksUrl: 'https://keys.example/b' },
      tenants: ['t1', 't2'],
      audiences: ['api://spanway'],
      algorithms: ['RS256'],
      tokenTypes: ['JWT', 'none'],
      claims: { subject: ['oid'], tenant: ['org', 'id'], scopes: ['scp'], roles: ['roles'], client: [['appid']], actor: ['act', 'sub'] },
      clockToleranceSeconds: 0,
    });
    expect(issuers[2]?.keys).toEqual({ discoveryUrl: 'http://127.0.0.1:8000/.well-known/oauth-authorization-server' });
  });

  const a = { issuer: 'https://a.example', tenants: 'any' };
  const wrong: readonly (readonly [content: unknown, message: string])[] = [
    ['[', 'it must be a JSON file'],
    [{}, 'the whole is {}; it must be an array of one issuer or more'],
    [[], 'the whole is []; it must be an array of one issuer or more'],
    [['a'], '[0] is "a"; it must be an object'],
    [[{ tenants: 'any' }], '[0].issuer is missing; it must be the iss of its tokens'],
    [[{ issuer: 'https://a.example' }], '[0].tenants is missing; it must be an array of tenants, or "any"'],
    [[{ ...a, tenants: 'all' }], '[0].tenants is "all"; it must be an array of tenants, or "any"'],
    [[{ ...a, tenants: [] }], '[0].tenants is []; it must be an array of tenants, or "any"'],
    [[{ ...a, audience: 'x' }], '[0].audience is no field of it; it may have issuer, jwksUrl, '],
    [[{ ...a, audiences: 'x' }], '[0].audiences is "x"; it must be an array of one text or more'],
    [[{ ...a, audiences: [1] }], '[0].audiences[0] is 1; it must be a text that is not empty'],
    [[{ ...a, algorithms: ['RS256', 'HS256'] }], '[0].algorithms[1] is "HS256"; it must be an asymmetric signature algorithm'],
    [[{ ...a, algorithms: ['none'] }], '[0].algorithms[0] is "none"; it must be an asymmetric signature algorithm'],
    [[{ ...a, tokenTypes: ['id'] }], '[0].tokenTypes[0] is "id"; it must be one of at+jwt, JWT, none'],
    [[{ ...a, claims: { tenant: [] } }], "[0].claims.tenant is []; it must be a claim's name"],
    [[{ ...a, claims: { tenants: 'x' } }], '[0].claims.tenants is no field of it; it may have subject, tenant, '],
    [[{ ...a, clockToleranceSeconds: 301 }], '[0].clockToleranceSeconds is 301; it must be a whole number from 0 to 300'],
    [[{ ...a, jwksUrl: 'a.example' }], '[0].jwksUrl is "a.example"; it must be an https URL'],
    [[{ ...a, discoveryUrl: 'http://a.example/' }], '[0].discoveryUrl is "http://a.example/"; it must be an https URL'],
    [[{ ...a, jwksUrl: 'https://a.example', discoveryUrl: 'https://a.example' }], '[0].jwksUrl and discoveryUrl are both set'],
    [[{ ...a, issuer: 'urn:a' }], '[0].issuer is "urn:a"; it must be an https URL where nothing else says where its keys are'],
    [[a, a], '[1].issuer is "https://a.example" again; it must be an issuer that no other entry has'],
  ];
  for (const [content, message] of wrong) {
    it(`are refused as ${JSON.stringify(content)}, with the file, the field and what it must be`, async () => {
      const failure = await fromFile(content, { NODE_ENV: 'production' }).catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(ConfigError);
      expect((failure as Error).message).toContain(message);
      expect((failure as Error).message).toContain('issuers.json (SPANWAY_OIDC_ISSUERS)');
    });
  }

  it('are as docs/identity.md shows them', async () => {
    const page = await readFile(new URL('../../docs/identity.md', import.meta.url), 'utf8');
    const [, example = ''] = /^```json\n([^]*?)^```$/m.exec(page) ?? [];
    const issuers = await fromFile(example, { NODE_ENV: 'production' });
    expect(issuers.map(({ tenants }) => tenants)).toEqual(['any', ['partner'], ['t1', 't2']]);
  });

  it('are not there beside the issuer of the settings, and one of both must be', async () => {
    await expect(fromFile([a], { SPANWAY_OIDC_ISSUER: 'https://b.example' })).rejects.toThrow('it must be one or the other');
    await expect(readIssuers(readConfig({}))).rejects.toThrow('neither SPANWAY_OIDC_ISSUER nor SPANWAY_OIDC_ISSUERS is set');
    await expect(readIssuers(readConfig({ SPANWAY_OIDC_ISSUERS: 'none.json' }))).rejects.toThrow('cannot read none.json');
  });
});

describe('the issuer of the settings', () => {
  it('is known by the URL of its keys, or found by its own', async () => {
    const [byKeys] = await readIssuers(readConfig({ SPANWAY_OIDC_ISSUER: 'urn:a', SPANWAY_OIDC_JWKS_URL: 'https://a.example/jwks' }));
    expect(byKeys).toMatchObject({ issuer: 'urn:a', keys: { jwksUrl: 'https://a.example/jwks' }, tenants: 'any', audiences: ['spanway'] });
    const [found] = await readIssuers(readConfig({ SPANWAY_OIDC_ISSUER: 'https://a.example' }));
    expect(found?.keys).toEqual({ discoveryUrl: 'https://a.example/.well-known/openid-configuration' });
  });

  it.each([
    [{ SPANWAY_OIDC_JWKS_URL: 'jwks' }, 'SPANWAY_OIDC_JWKS_URL is "jwks"; it must be an http or https URL'],
    [{ SPANWAY_OIDC_JWKS_URL: 'http://a.example', NODE_ENV: 'production' }, 'it must be an https URL'],
    [{ SPANWAY_OIDC_ISSUER: 'urn:a' }, 'SPANWAY_OIDC_ISSUER is "urn:a"; it must be an http or https URL where nothing else says'],
    [{ SPANWAY_OIDC_ALGORITHMS: 'RS256,HS256' }, 'SPANWAY_OIDC_ALGORITHMS holds "HS256", which is not an asymmetric signature algorithm'],
    [{ SPANWAY_OIDC_TOKEN_TYPES: 'jwt' }, 'SPANWAY_OIDC_TOKEN_TYPES holds "jwt", which is not one of at+jwt, JWT, none'],
  ])('is refused with %j', async (env, message) => {
    await expect(readIssuers(readConfig({ SPANWAY_OIDC_ISSUER: 'https://a.example', ...env }))).rejects.toThrow(message);
  });
});

describe('a caller', () => {
  const settings = (changes: Partial<IssuerSettings> = {}): IssuerSettings =>
    server.settings({ keys: { jwksUrl: server.jwksUrl }, ...changes });

  async function caller(claims: Record<string, unknown>, changes: Partial<IssuerSettings> = {}): Promise<Caller> {
    const token = await sign(key, goodClaims('https://login.example', claims));
    return createIdentity([settings(changes)]).verify([`Bearer ${token}`]);
  }

  it('is who the claims name that the settings map', async () => {
    const claims = {
      oid: 'person',
      org: { id: 't2' },
      scp: ['orders:read', 7, 'orders:write'],
      groups: 'clerk auditor',
      appid: 'web',
      may: { by: { id: 'robot' } },
    };
    const mapped = {
      subject: ['oid'],
      tenant: ['org', 'id'],
      scopes: ['scp'],
      roles: ['groups'],
      client: [['cid'], ['appid']],
      actor: ['may', 'by', 'id'],
    } as const;
    expect(await caller(claims, { claims: mapped })).toEqual({
      issuer: 'https://login.example',
      subject: 'person',
      tenant: 't2',
      scopes: ['orders:read', 'orders:write'],
      roles: ['clerk', 'auditor'],
      client: 'web',
      actor: 'robot',
    });
  });

  it('has the outermost actor alone', async () => {
    const act = { sub: 'agent', act: { sub: 'service' } };
    expect(await caller({ act, azp: 'app' })).toMatchObject({ subject: 'me', actor: 'agent', client: 'app' });
  });

  it('is not read off what every object has', async () => {
    const { claims } = settings();
    const tenant = ['constructor', 'name'] as const;
    await expect(caller({}, { claims: { ...claims, tenant } })).rejects.toThrow("the token's constructor.name claim names no tenant");
  });

  it('is known as long as the clocks differ no more than they may', async () => {
    const exp = Math.floor(Date.now() / 1000) - 30;
    await caller({ exp }, { clockToleranceSeconds: 60 });
    await expect(caller({ exp }, { clockToleranceSeconds: 10 })).rejects.toThrow('the token has expired');
  });

  it('is looked up once for a token that comes again', async () => {
    const identity = createIdentity([settings()]);
    const authorization = [`Bearer ${await sign(key, goodClaims('https://login.example'))}`];
    expect(await identity.verify(authorization)).toBe(await identity.verify(authorization));
  });
});
