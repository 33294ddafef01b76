/**
 * Claims that API Gateway has turned into texts, as the values they were. How it writes them is seen rather than
 * documented, and it is not exact. An HTTP API writes an array as `[a b]` and an object as JSON (seen in August 2026:
 * https://github.com/floci-io/floci/pull/2011), or as `map[a:b]` (https://github.com/aws/aws-lambda-go/issues/570).
 * A REST API writes an array as `a,b`. What may have been one thing or another is refused.
 */
import type { JWTPayload } from 'jose';
import type { ClaimPath, ClaimPaths } from '../claims.ts';
import { RequestError } from '../errors.ts';
import type { ClaimForm, VouchedClaims } from './vouched.ts';

/** The claims that `paths` lead to, so that `callerOf` can read them. @throws RequestError (`unauthenticated`) naming the claim */
export function claimsOf({ form, values }: VouchedClaims, paths: ClaimPaths): JWTPayload {
  if (form === 'json') return { ...values };
  const claims = { ...values };
  const read = (path: ClaimPath, one: (claim: string, text: string, form: ClaimForm) => unknown): void => {
    const [claim] = path;
    const text = values[claim];
    if (Object.hasOwn(values, claim) && typeof text === 'string')
      claims[claim] = path.length > 1 ? objectIn(claim, text) : one(claim, text, form);
  };
  for (const path of [paths.subject, paths.tenant, ...paths.client, paths.actor]) read(path, nameIn);
  // The parts of a scope have no spaces: https://www.rfc-editor.org/rfc/rfc6749#section-3.3
  read(paths.scopes, (claim, text) => wordsIn(claim, text, form, true));
  read(paths.roles, (claim, text) => wordsIn(claim, text, form, WITHOUT_SPACES.includes(claim)));
  return claims;
}

/** https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_CreateGroup.html */
const WITHOUT_SPACES = ['cognito:groups'];

function objectIn(claim: string, text: string): unknown {
  try {
    const value = JSON.parse(text) as unknown;
    if (typeof value === 'object' && value !== null) return value;
  } catch {
    // Neither is a text that has members.
  }
  throw unreadable(claim);
}

function nameIn(claim: string, text: string, form: ClaimForm): string {
  const isOther = form === 'jwt' ? /^(?:\[.*\]|map\[.*\]|\{.*\})$/s.test(text) : form === 'cognito' && /^[[{]|,/.test(text);
  if (isOther) throw unreadable(claim);
  return text;
}

/** Words with spaces between them stay as they are. */
function wordsIn(claim: string, text: string, form: ClaimForm, withoutSpaces: boolean): string | readonly string[] {
  if (form === 'text') return text;
  if (form === 'cognito') {
    if (/^[[{]|,/.test(text)) throw unreadable(claim);
    return text;
  }
  if (!/^(?:\[|map\[|\{)/.test(text)) return text;
  const within = /^\[([^[\]{}]*)\]$/.exec(text)?.[1];
  if (within === undefined) throw unreadable(claim);
  const words = within === '' ? [] : within.split(' ');
  if (words.includes('') || (words.length > 1 && !withoutSpaces)) throw unreadable(claim);
  return words;
}

function unreadable(claim: string): RequestError {
  return new RequestError('unauthenticated', `the authorizer's ${claim} claim cannot be read exactly`);
}
