/** Who is calling: a bearer JWT checked against the issuer's published keys (RFC 8725, RFC 9068). */
import { LRUCache } from 'lru-cache';
import { createRemoteJWKSet, errors, type JWTPayload, jwtVerify } from 'jose';
import type { Caller } from '../../schemas/envelope/envelope.ts';
import { TENANT_TYPE } from '../../schemas/resource/define.ts';
import { RequestError, UnavailableError } from './errors.ts';

export interface IdentitySettings {
  /** `iss` must equal it. */
  readonly issuer: string;
  /** `aud` must hold it. */
  readonly audience: string;
  /** Where the issuer publishes its keys (RFC 7517). */
  readonly jwksUrl: string;
  /** Signature algorithms that are taken, asymmetric ones only. */
  readonly algorithms: readonly string[];
  /** The claim that names the tenant. */
  readonly tenantClaim: string;
  /** How far the clocks may differ. */
  readonly clockToleranceSeconds: number;
}

export interface Identity {
  /** @throws RequestError (`unauthenticated`), UnavailableError when the keys cannot be fetched. */
  verify(authorization: string | undefined): Promise<Caller>;
}

/** Verified tokens kept, and for how long at most: so soon does a key that its issuer withdrew stop working. */
const KEPT_TOKENS = 10_000;
const KEPT_MS = 30_000;

export function createIdentity(settings: IdentitySettings): Identity {
  const keys = createRemoteJWKSet(new URL(settings.jwksUrl));
  // A signature costs more to verify than all else that an accept does, and a client sends its token many times.
  const verified = new LRUCache<string, Caller>({ max: KEPT_TOKENS, ttl: KEPT_MS });
  return {
    async verify(authorization) {
      const token = /^Bearer +([^\s]+)$/i.exec(authorization ?? '')?.[1];
      if (token === undefined) throw new RequestError('unauthenticated', 'send an "Authorization: Bearer" header with a token');
      const known = verified.get(token);
      if (known) return known;
      let payload: JWTPayload;
      try {
        ({ payload } = await jwtVerify(token, keys, {
          issuer: settings.issuer,
          audience: settings.audience,
          algorithms: [...settings.algorithms],
          clockTolerance: settings.clockToleranceSeconds,
          requiredClaims: ['sub', 'exp'],
        }));
      } catch (cause) {
        throw refusal(cause);
      }
      const caller = callerOf(payload, settings);
      const validMs = ((payload.exp ?? 0) + settings.clockToleranceSeconds) * 1000 - Date.now();
      if (validMs > 0) verified.set(token, caller, { ttl: Math.min(KEPT_MS, validMs) });
      return caller;
    },
  };
}

function refusal(cause: unknown): Error {
  if (cause instanceof errors.JWTExpired) return new RequestError('unauthenticated', 'the token has expired', { cause });
  if (cause instanceof errors.JWTClaimValidationFailed)
    return new RequestError('unauthenticated', `the token's ${cause.claim} claim is not accepted here`, { cause });
  if (cause instanceof errors.JWKSTimeout || cause instanceof errors.JWKSInvalid || !(cause instanceof errors.JOSEError)) {
    return new UnavailableError("the issuer's keys cannot be fetched", { cause });
  }
  // `ERR_JOSE_GENERIC` is what jose throws when the key endpoint answers anything but 200.
  if (cause.code === 'ERR_JOSE_GENERIC') return new UnavailableError("the issuer's keys cannot be fetched", { cause });
  return new RequestError('unauthenticated', 'the token is not valid', { cause });
}

function callerOf(payload: JWTPayload, settings: IdentitySettings): Caller {
  const tenant = payload[settings.tenantClaim];
  if (typeof tenant !== 'string' || tenant === '' || tenant.length > (TENANT_TYPE.maxLength ?? 0) || !tenant.isWellFormed()) {
    throw new RequestError('unauthenticated', `the token's ${settings.tenantClaim} claim names no tenant`);
  }
  const subject: unknown = payload.sub;
  if (typeof subject !== 'string' || subject === '' || !subject.isWellFormed()) {
    throw new RequestError('unauthenticated', "the token's sub claim names nobody");
  }
  const scope = payload['scope'];
  const client = payload['client_id'] ?? payload['azp'];
  const actor = (payload['act'] as { sub?: unknown } | undefined)?.sub;
  return {
    issuer: settings.issuer,
    subject,
    tenant,
    scopes: typeof scope === 'string' ? scope.split(' ').filter((s) => s !== '') : [],
    ...(typeof client === 'string' ? { client } : {}),
    ...(typeof actor === 'string' ? { actor } : {}),
  };
}
