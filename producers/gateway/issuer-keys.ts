/** The keys that an issuer publishes (RFC 7517): fetched when they are needed, and followed as they rotate. */
import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from 'jose';
import type { Background } from './background.ts';
import { UnavailableError } from './errors.ts';

/**
 * Where the keys are: at a URL, or where the issuer's metadata says (OpenID Connect Discovery 1.0, section 4, and
 * RFC 8414, section 3, which have the same `issuer` and `jwks_uri`).
 */
export type KeySource = { readonly jwksUrl: string } | { readonly discoveryUrl: string };

/** Keys of this age are fetched again, while they are still in use. */
export const REFRESH_MS = 300_000;
/** Keys of this age are in use no more. Until then an issuer may be away. */
export const MAX_AGE_MS = 600_000;
/** How long the issuer is left in peace after it failed, and after it was asked for a key that it was not known to have. */
export const COOLDOWN_MS = 5000;
/** Of one document. */
const FETCH_MS = 5000;

interface KeySet {
  readonly keyFor: JWTVerifyGetKey;
  readonly fetchedMs: number;
}

/**
 * Finds the key of a token. However many tokens come, one fetch is under way at most, and a `kid` that is not there
 * makes at most one in `COOLDOWN_MS`, whether the issuer answers or not. (The cooldown of jose's `createRemoteJWKSet`
 * counts from the last success, so while the issuer is down each request would ask it again.)
 * @throws UnavailableError when the keys cannot be fetched; jose's errors when none fits the token
 */
export function issuerKeys(
  of: { readonly issuer: string; readonly keys: KeySource },
  nowMs: () => number,
  background?: Background,
): JWTVerifyGetKey {
  let kept: KeySet | undefined;
  let fetching: Promise<KeySet> | undefined;
  let failure: UnavailableError | undefined;
  let restUntilMs = -Infinity;

  async function fetchSet(): Promise<KeySet> {
    try {
      kept = { keyFor: createLocalJWKSet(await fetchKeys(of)), fetchedMs: nowMs() };
      failure = undefined;
      return kept;
    } catch (cause) {
      restUntilMs = nowMs() + COOLDOWN_MS;
      failure = new UnavailableError("the issuer's keys cannot be fetched", { retryAfterSeconds: COOLDOWN_MS / 1000, cause });
      throw failure;
    } finally {
      fetching = undefined;
    }
  }

  /** Undefined while the issuer is left in peace. */
  function ask(): Promise<KeySet> | undefined {
    if (!fetching && nowMs() >= restUntilMs) fetching = fetchSet();
    return fetching;
  }

  async function current(): Promise<KeySet> {
    const ageMs = kept ? nowMs() - kept.fetchedMs : Infinity;
    if (kept && ageMs < MAX_AGE_MS) {
      // Who comes now does not wait; a failure shows when the keys are too old.
      const asked = ageMs >= REFRESH_MS ? ask()?.catch(() => undefined) : undefined;
      if (asked) background?.add(asked);
      return kept;
    }
    const set = await ask();
    if (set) return set;
    throw failure ?? new UnavailableError("the issuer's keys cannot be fetched");
  }

  /** A set that came after `set`, where the issuer may be asked for one. */
  async function newerThan(set: KeySet): Promise<KeySet | undefined> {
    if (kept !== set) return kept;
    const started = fetching === undefined;
    const asked = ask();
    if (asked && started) restUntilMs = nowMs() + COOLDOWN_MS;
    // Without an answer nobody can say that the token is wrong.
    if (!asked && failure) throw failure;
    return asked;
  }

  return async (header, token) => {
    let set = await current();
    for (;;) {
      try {
        return await set.keyFor(header, token);
      } catch (error) {
        const newer = error instanceof errors.JWKSNoMatchingKey ? await newerThan(set) : undefined;
        if (!newer) throw error;
        set = newer;
      }
    }
  };
}

async function fetchKeys({ issuer, keys }: { readonly issuer: string; readonly keys: KeySource }): Promise<JSONWebKeySet> {
  const url = 'jwksUrl' in keys ? keys.jwksUrl : await discoveredUrl(issuer, keys.discoveryUrl);
  return (await fetchJson(url)) as JSONWebKeySet;
}

async function discoveredUrl(issuer: string, discoveryUrl: string): Promise<string> {
  const metadata = ((await fetchJson(discoveryUrl)) ?? {}) as { issuer?: unknown; jwks_uri?: unknown };
  // OpenID Connect Discovery, section 4.3; RFC 8414, section 3.3: else another issuer's keys would speak for this one.
  if (metadata.issuer !== issuer)
    throw new Error(`${discoveryUrl} is the document of ${JSON.stringify(metadata.issuer)}, not of ${issuer}`);
  const url = metadata.jwks_uri;
  if (typeof url !== 'string' || !URL.canParse(url)) throw new Error(`${discoveryUrl} has no jwks_uri that is a URL`);
  if (discoveryUrl.startsWith('https:') && !url.startsWith('https:')) throw new Error(`the jwks_uri of ${discoveryUrl} is not https`);
  return url;
}

async function fetchJson(url: string): Promise<unknown> {
  const response = await fetch(url, {
    headers: { accept: 'application/json' },
    // Elsewhere is not where the settings say.
    redirect: 'error',
    signal: AbortSignal.timeout(FETCH_MS),
  });
  if (response.status !== 200) {
    await response.body?.cancel();
    throw new Error(`${url} answered ${response.status}`);
  }
  return response.json();
}
