/** What the claims of a verified token say of the caller. */
import type { JWTPayload } from 'jose';
import type { Caller } from '../../schemas/envelope/envelope.ts';
import { TENANT_TYPE } from '../../schemas/resource/define.ts';
import { RequestError } from './errors.ts';

/** A claim by its name, or a member of a claim by the names that lead to it. */
export type ClaimPath = readonly [string, ...string[]];

/** Where the claims are that make a caller. */
export interface ClaimPaths {
  readonly subject: ClaimPath;
  readonly tenant: ClaimPath;
  /** Words with spaces between them (RFC 8693, section 4.2), or an array of strings. */
  readonly scopes: ClaimPath;
  /** In the same forms (RFC 9068, section 2.2.3.1). */
  readonly roles: ClaimPath;
  /** The first that is there counts. */
  readonly client: readonly ClaimPath[];
  /** Who acts for the subject. */
  readonly actor: ClaimPath;
}

export const STANDARD_CLAIMS: ClaimPaths = {
  subject: ['sub'],
  tenant: ['tenant'],
  scopes: ['scope'],
  roles: ['roles'],
  client: [['client_id'], ['azp']],
  // RFC 8693, section 4.1: the outermost actor is the one that acts now.
  actor: ['act', 'sub'],
};

export interface ClaimRules {
  readonly issuer: string;
  readonly claims: ClaimPaths;
  /** The tenants that the issuer may speak for. */
  readonly tenants: readonly string[] | 'any';
}

/** @throws RequestError (`unauthenticated`) naming the claim */
export function callerOf(payload: JWTPayload, { issuer, claims, tenants }: ClaimRules): Caller {
  const tenant = nameAt(payload, claims.tenant);
  if (tenant === undefined || tenant.length > (TENANT_TYPE.maxLength ?? 0) || (tenants !== 'any' && !tenants.includes(tenant))) {
    throw new RequestError('unauthenticated', `the token's ${shown(claims.tenant)} claim names no tenant`);
  }
  const subject = nameAt(payload, claims.subject);
  if (subject === undefined) throw new RequestError('unauthenticated', `the token's ${shown(claims.subject)} claim names nobody`);
  const actor = nameAt(payload, claims.actor);
  // To leave it out would record the subject alone for what another did.
  if (actor === undefined && Object.hasOwn(payload, claims.actor[0])) {
    throw new RequestError('unauthenticated', `the token's ${shown(claims.actor)} claim names nobody`);
  }
  const roles = wordsOf(at(payload, claims.roles));
  const client = claims.client.map((path) => nameAt(payload, path)).find((name) => name !== undefined);
  return {
    issuer,
    subject,
    tenant,
    scopes: wordsOf(at(payload, claims.scopes)),
    ...(roles.length === 0 ? {} : { roles }),
    ...(client === undefined ? {} : { client }),
    ...(actor === undefined ? {} : { actor }),
  };
}

/**
 * A claim that says that this is no access token, though its issuer signed it for this audience (RFC 8725, section
 * 3.12); undefined where there is none.
 */
export function claimOfAnotherToken(payload: JWTPayload, type: string): string | undefined {
  // A security event, as a logout token is one (RFC 8417, section 2.2; OpenID Connect Back-Channel Logout, section 2.4).
  if (Object.hasOwn(payload, 'events')) return 'events';
  if (type === 'at+jwt') return undefined;
  // An ID token (OpenID Connect Core, sections 2 and 3.3.2.11; Financial-grade API for `s_hash`).
  const ofIdToken = ['nonce', 'at_hash', 'c_hash', 's_hash'].find((claim) => Object.hasOwn(payload, claim));
  if (ofIdToken !== undefined) return ofIdToken;
  // Amazon Cognito and Keycloak say in the payload what else it is.
  // https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-access-token.html
  // https://github.com/keycloak/keycloak/blob/main/core/src/main/java/org/keycloak/util/TokenUtil.java
  if (Object.hasOwn(payload, 'token_use') && payload['token_use'] !== 'access') return 'token_use';
  if (['ID', 'Refresh', 'Offline', 'Logout'].includes(String(payload['typ']))) return 'typ';
  return undefined;
}

function at(payload: JWTPayload, path: ClaimPath): unknown {
  return path.reduce<unknown>(
    (value, name) =>
      typeof value === 'object' && value !== null && Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined,
    payload,
  );
}

/** A text that can name someone: not empty, and no half of a surrogate pair, which no store keeps as it is. */
function nameAt(payload: JWTPayload, path: ClaimPath): string | undefined {
  const value = at(payload, path);
  return typeof value === 'string' && value !== '' && value.isWellFormed() ? value : undefined;
}

function wordsOf(value: unknown): readonly string[] {
  if (Array.isArray(value)) return value.filter((word) => typeof word === 'string');
  return typeof value === 'string' ? value.split(' ').filter((word) => word !== '') : [];
}

function shown(path: ClaimPath): string {
  return path.join('.');
}
