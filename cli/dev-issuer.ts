/** The development issuer: tokens for a laptop, signed with a key in the data folder. It refuses to work in production. */
import { mkdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { calculateJwkThumbprint, exportJWK, generateKeyPair, importJWK, type JWK, SignJWT } from 'jose';
import { type Config, ConfigError } from './config.ts';
import type { OidcIssuer } from './issuers.ts';
import { writeNew } from './write-new.ts';

/** A URN: no address could be taken for it. */
const ISSUER = 'urn:spanway:development';
const ALGORITHM = 'ES256';

export interface TokenRequest {
  readonly tenant: string;
  readonly subject: string;
  readonly scopes: readonly string[];
  readonly roles?: readonly string[];
  /** Negative: a token that has expired. */
  readonly ttlSeconds: number;
  /** Who acts for the subject (RFC 8693). */
  readonly actor?: string;
}

/** `onNewKey` hears of the file where the data folder had no key yet: no running gateway takes this token. */
export async function signDevelopmentToken(config: Config, request: TokenRequest, onNewKey?: (file: string) => void): Promise<string> {
  const key = await developmentKey(config, onNewKey);
  const now = Math.floor(Date.now() / 1000);
  return new SignJWT({
    sub: request.subject,
    [config.oidcTenantClaim]: request.tenant,
    scope: request.scopes.join(' '),
    ...(request.roles === undefined ? {} : { roles: request.roles }),
    ...(request.actor === undefined ? {} : { act: { sub: request.actor } }),
  })
    .setProtectedHeader({ alg: ALGORITHM, typ: 'at+jwt', kid: key.kid ?? '' })
    .setIssuer(ISSUER)
    .setAudience(config.oidcAudience)
    .setIssuedAt(now)
    .setExpirationTime(now + request.ttlSeconds)
    .sign(await importJWK(key, ALGORITHM));
}

/** Publishes the development key. `listen.port` 0 takes a free one. */
export async function startDevelopmentIssuer(
  config: Config,
  listen: { readonly host: string; readonly port: number },
): Promise<OidcIssuer & { stop(): Promise<void> }> {
  const { d: _private, ...publicKey } = await developmentKey(config);
  const body = JSON.stringify({ keys: [{ ...publicKey, alg: ALGORITHM, use: 'sig' }] });
  const server = createServer((request, response) => {
    const found = request.url === '/jwks.json' || request.url === '/healthz';
    response
      .writeHead(found ? 200 : 404, { 'content-type': 'application/json' })
      .end(found ? (request.url === '/healthz' ? '{"status":"ok"}' : body) : '{}');
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(listen.port, listen.host, resolve));
  const { port } = server.address() as AddressInfo;
  return {
    issuer: ISSUER,
    jwksUrl: `http://127.0.0.1:${port}/jwks.json`,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** The private key of this data folder, made once. */
async function developmentKey(config: Config, onNewKey?: (file: string) => void): Promise<JWK> {
  if (config.production) throw new ConfigError('the development issuer does not work with NODE_ENV=production: use your own OIDC issuer');
  const file = join(config.dataDir, 'development-issuer.json');
  const read = async (): Promise<JWK> => JSON.parse(await readFile(file, 'utf8')) as JWK;
  try {
    return await read();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const { privateKey } = await generateKeyPair(ALGORITHM, { extractable: true });
  const jwk = await exportJWK(privateKey);
  await mkdir(config.dataDir, { recursive: true });
  await writeNew(file, JSON.stringify({ ...jwk, kid: await calculateJwkThumbprint(jwk) }));
  onNewKey?.(file);
  return read();
}
