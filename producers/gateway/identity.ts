/** Who is calling: a bearer JWT checked against the keys that its issuer publishes (RFC 8725, RFC 9068). */
import type { IncomingMessage } from 'node:http';
import { LRUCache } from 'lru-cache';
import { decodeJwt, errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify, type ProtectedHeaderParameters } from 'jose';
import type { Caller } from '../../schemas/envelope/envelope.ts';
import type { Background } from './background.ts';
import { callerOf, type ClaimRules, claimOfAnotherToken } from './claims.ts';
import { RequestError, UnavailableError } from './errors.ts';
import { issuerKeys, type KeySource } from './issuer-keys.ts';

/**
 * The `typ` of an access token: `at+jwt` (RFC 9068, section 2.1), or what issuers that do not follow it give, `JWT` or
 * no `typ` at all (`none`), which their ID tokens have too.
 */
export const TOKEN_TYPES = ['at+jwt', 'JWT', 'none'] as const;
export type TokenType = (typeof TOKEN_TYPES)[number];

export interface IssuerSettings extends ClaimRules {
  /** `iss` must equal it. */
  readonly issuer: string;
  readonly keys: KeySource;
  /** `aud` must hold one of them. */
  readonly audiences: readonly string[];
  /** Signature algorithms that are taken, asymmetric ones only. */
  readonly algorithms: readonly string[];
  readonly tokenTypes: readonly TokenType[];
  /** How far the clocks may differ. */
  readonly clockToleranceSeconds: number;
}

export interface Identity {
  /**
   * `authorization`: every header of this name, in order. `request`: what it came with, where there is more to know.
   * @throws RequestError (`unauthenticated`), UnavailableError when the keys cannot be fetched.
   */
  verify(authorization: readonly string[], request?: IncomingMessage): Promise<Caller>;
  /** For how many milliseconds more such headers, and they alone, say what they said last. Absent: it takes another look each time. */
  knownForMs?(authorization: readonly string[]): number;
}

/** Verified tokens kept, and for how long at most: so soon does a key that its issuer withdrew stop working. */
const KEPT_TOKENS = 10_000;
const KEPT_MS = 30_000;

/** Of a token, which is ASCII. Larger ones are not decoded. Node takes 16 KiB of headers in all. */
export const MAX_TOKEN_BYTES = 8192;

/** `nowMs`: a clock that only moves forward, for the age of the keys. `background` hears of keys that are fetched beside the requests. */
export function createIdentity(
  issuers: readonly IssuerSettings[],
  nowMs: () => number = () => performance.now(),
  background?: Background,
): Identity {
  const verifiers = new Map(issuers.map((settings) => [settings.issuer, verifierOf(settings, issuerKeys(settings, nowMs, background))]));
  // A signature costs more to verify than all else that an accept does, and a client sends its token many times.
  // The whole token is the key, and its `iss` is a part of it: what one issuer's settings let in stands for no other's.
  const verified = new LRUCache<string, Caller>({ max: KEPT_TOKENS, ttl: KEPT_MS });
  return {
    async verify(authorization) {
      const token = bearerOf(authorization);
      const known = verified.get(token);
      if (known) return known;
      const verifier = verifiers.get(claimedIssuer(token));
      if (!verifier) throw new RequestError('unauthenticated', NOT_VALID);
      const { caller, validMs } = await verifier(token);
      if (validMs > 0) verified.set(token, caller, { ttl: Math.min(KEPT_MS, validMs) });
      return caller;
    },
    knownForMs: (authorization) => verified.getRemainingTTL(bearerOf(authorization)),
  };
}

/** The same for an issuer that nobody trusts as for a bad signature: which issuers are trusted is nobody's to try out. */
const NOT_VALID = 'the token is not valid';

function bearerOf(authorization: readonly string[]): string {
  const token = authorization.length === 1 ? /^Bearer +([^\s]+)$/i.exec(authorization[0] ?? '')?.[1] : undefined;
  if (token === undefined) throw new RequestError('unauthenticated', 'send one "Authorization: Bearer" header with a token');
  if (token.length > MAX_TOKEN_BYTES) throw new RequestError('unauthenticated', `the token is larger than ${MAX_TOKEN_BYTES} bytes`);
  return token;
}

/** The `iss`, before anything is verified: it picks the settings that everything is then verified against. */
function claimedIssuer(token: string): string {
  try {
    const { iss }: { iss?: unknown } = decodeJwt(token);
    return typeof iss === 'string' ? iss : '';
  } catch (cause) {
    throw refusal(cause);
  }
}

type Verifier = (token: string) => Promise<{ readonly caller: Caller; readonly validMs: number }>;

function verifierOf(settings: IssuerSettings, keys: JWTVerifyGetKey): Verifier {
  const options = {
    issuer: settings.issuer,
    audience: [...settings.audiences],
    algorithms: [...settings.algorithms],
    clockTolerance: settings.clockToleranceSeconds,
    requiredClaims: ['exp'],
  };
  return async (token) => {
    let payload: JWTPayload;
    let header: ProtectedHeaderParameters;
    try {
      ({ payload, protectedHeader: header } = await jwtVerify(token, keys, options));
    } catch (cause) {
      throw refusal(cause);
    }
    const type = typeOf(header.typ);
    if (!settings.tokenTypes.some((t) => t.toLowerCase() === type)) throw claimRefused('typ');
    const foreign = claimOfAnotherToken(payload, type);
    if (foreign !== undefined) throw claimRefused(foreign);
    const validMs = ((payload.exp ?? 0) + settings.clockToleranceSeconds) * 1000 - Date.now();
    return { caller: callerOf(payload, settings), validMs };
  };
}

/** A media type, where `application/` may be left out and case does not count (RFC 7515, section 4.1.9). */
function typeOf(typ: string | undefined): string {
  return typ === undefined ? 'none' : typ === 'none' ? '' : typ.toLowerCase().replace(/^application\/(?=[^/]+$)/, '');
}

function claimRefused(claim: string, cause?: unknown): RequestError {
  return new RequestError('unauthenticated', `the token's ${claim} claim is not accepted here`, { cause });
}

function refusal(cause: unknown): Error {
  if (cause instanceof errors.JWTExpired) return new RequestError('unauthenticated', 'the token has expired', { cause });
  if (cause instanceof errors.JWTClaimValidationFailed) return claimRefused(cause.claim, cause);
  if (cause instanceof UnavailableError) return cause;
  // A key that cannot be used, and what else is the issuer's fault and not the token's.
  if (cause instanceof errors.JWKSInvalid || !(cause instanceof errors.JOSEError)) {
    return new UnavailableError("the issuer's keys cannot be used", { cause });
  }
  return new RequestError('unauthenticated', NOT_VALID, { cause });
}
