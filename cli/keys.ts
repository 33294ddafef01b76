/** The pipeline's own keys, out of the secrets port, read again while the process runs so that a rotation needs no restart. */
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Secrets } from '../ports/secrets/port.ts';
import { newEd25519Lines, parseEd25519Signer, parseEd25519Verifier } from '../schemas/envelope/ed25519.ts';
import { type Signer, type Verifier, parseKeyRing, type SignatureAlgorithm } from '../schemas/envelope/key-ring.ts';
import { writeNew } from './write-new.ts';

/** Signs packs: the gateway has it, and with HMAC the appliers too. */
export const PACK_KEYS = 'pack-signing-keys';
/** Checks packs signed with Ed25519: the appliers have it. */
const PACK_VERIFICATION_KEYS = 'pack-verification-keys';
/** Signs seals: the replay workers have it, and with HMAC who verifies. */
export const SEAL_KEYS = 'seal-signing-keys';
/** Checks seals signed with Ed25519: who verifies has it. */
const SEAL_VERIFICATION_KEYS = 'seal-verification-keys';
/** Makes receipt ids: the gateway alone has it. */
export const RECEIPT_KEYS = 'receipt-keys';

/** How soon a rotated secret is in use. */
const REFRESH_MS = 30_000;
/** Between two reads of a secret. */
const SOONEST_MS = 1000;

export interface Keys<K> {
  readonly current: () => K;
  /** Reads the secret again; rejects where it cannot be read. */
  readonly refresh: () => Promise<K>;
  stop(): void;
}

/** @throws MissingSecretError, SpanwayError (`key_ring`) */
export async function followKeys<K>(
  secrets: Secrets,
  name: string,
  parse: (name: string, text: string) => K,
  log: Logger,
): Promise<Keys<K>> {
  let ring = parse(name, await secrets.get(name));
  let readAt = performance.now();
  let reading: Promise<K> | undefined;
  const read = async (): Promise<K> => {
    // However many ask, the secret is not read more often; who asks gets what a read that begins after that finds.
    await sleep(Math.max(0, readAt + SOONEST_MS - performance.now()));
    readAt = performance.now();
    ring = parse(name, await secrets.get(name));
    return ring;
  };
  const refresh = async (): Promise<K> => {
    // Nothing else is there to be found.
    if (!secrets.capabilities.rotates) return ring;
    return (reading ??= read().finally(() => (reading = undefined)));
  };
  const timer = setInterval(() => {
    refresh().catch((err: unknown) => log.error({ err, secret: name }, 'cannot read a secret again; the keys read before stay in use'));
  }, REFRESH_MS).unref();
  return { current: () => ring, refresh, stop: () => clearInterval(timer) };
}

/** `name`: PACK_KEYS or SEAL_KEYS. */
export function followSigner(secrets: Secrets, name: string, algorithm: SignatureAlgorithm, log: Logger): Promise<Keys<Signer>> {
  return followKeys<Signer>(secrets, name, algorithm === 'ed25519' ? parseEd25519Signer : parseKeyRing, log);
}

/** @throws MissingSecretError, SpanwayError (`key_ring`) */
export async function readSealVerifier(secrets: Secrets, algorithm: SignatureAlgorithm): Promise<Verifier> {
  return algorithm === 'ed25519'
    ? parseEd25519Verifier(SEAL_VERIFICATION_KEYS, await secrets.get(SEAL_VERIFICATION_KEYS))
    : parseKeyRing(SEAL_KEYS, await secrets.get(SEAL_KEYS));
}

export function followVerifier(secrets: Secrets, algorithm: SignatureAlgorithm, log: Logger): Promise<Keys<Verifier>> {
  return algorithm === 'ed25519'
    ? followKeys<Verifier>(secrets, PACK_VERIFICATION_KEYS, parseEd25519Verifier, log)
    : followKeys<Verifier>(secrets, PACK_KEYS, parseKeyRing, log);
}

/** A line for a key ring's secret. 32 bytes: the output length of SHA-256 (RFC 2104, section 3). */
export function newKeyLine(): string {
  return `${newKeyId()} ${randomBytes(32).toString('base64')}`;
}

/** A line for `pack-signing-keys` and the one for `pack-verification-keys` that goes with it. */
export function newEd25519KeyLines(): { readonly signing: string; readonly verification: string } {
  return newEd25519Lines(newKeyId());
}

function newKeyId(): string {
  return `k${Date.now().toString(36)}`;
}

/** Development keys, made once. */
export async function ensureDevelopmentKeys(folder: string, algorithm: SignatureAlgorithm): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const lines = {
    [RECEIPT_KEYS]: newKeyLine(),
    ...signingLines(algorithm, PACK_KEYS, PACK_VERIFICATION_KEYS),
    ...signingLines(algorithm, SEAL_KEYS, SEAL_VERIFICATION_KEYS),
  };
  for (const [name, line] of Object.entries(lines)) await writeNew(join(folder, name), `${line}\n`);
}

function signingLines(algorithm: SignatureAlgorithm, signs: string, verifies: string): Record<string, string> {
  if (algorithm === 'hmac-sha256') return { [signs]: newKeyLine() };
  const { signing, verification } = newEd25519KeyLines();
  return { [signs]: signing, [verifies]: verification };
}
