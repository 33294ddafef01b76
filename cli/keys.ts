/** The pipeline's own keys, out of the secrets port, read again while the process runs so that a rotation needs no restart. */
import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Secrets } from '../ports/secrets/port.ts';
import { type KeyRing, parseKeyRing } from '../schemas/envelope/key-ring.ts';

/** Signs packs: the gateway and the appliers have it. */
export const PACK_KEYS = 'pack-signing-keys';
/** Makes receipt ids: the gateway alone has it. */
export const RECEIPT_KEYS = 'receipt-keys';

/** How soon a rotated secret is in use. */
const REFRESH_MS = 30_000;
/** However many packs name keys that nobody knows, the secret is not read more often. */
const SOONEST_MS = 1000;

export interface Keys {
  readonly current: () => KeyRing;
  /** Reads the secret again now, unless that was done a moment ago. */
  readonly refresh: () => Promise<KeyRing>;
  stop(): void;
}

/** @throws MissingSecretError, SpanwayError (`key_ring`) */
export async function followKeys(secrets: Secrets, name: string, log: Logger): Promise<Keys> {
  let ring = parseKeyRing(name, await secrets.get(name));
  let readAt = performance.now();
  const refresh = async (): Promise<KeyRing> => {
    if (performance.now() - readAt < SOONEST_MS) return ring;
    readAt = performance.now();
    ring = parseKeyRing(name, await secrets.get(name));
    return ring;
  };
  const timer = setInterval(() => {
    refresh().catch((err: unknown) => log.error({ err, secret: name }, 'cannot read a secret again; the keys read before stay in use'));
  }, REFRESH_MS).unref();
  return { current: () => ring, refresh, stop: () => clearInterval(timer) };
}

/** A line for a key ring's secret. 32 bytes: the output length of SHA-256 (RFC 2104, section 3). */
export function newKeyLine(): string {
  return `k${Date.now().toString(36)} ${randomBytes(32).toString('base64')}`;
}

/** Development keys, made once. */
export async function ensureDevelopmentKeys(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  for (const name of [PACK_KEYS, RECEIPT_KEYS]) {
    await writeFile(join(folder, name), `${newKeyLine()}\n`, { mode: 0o600, flag: 'wx' }).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    });
  }
}
