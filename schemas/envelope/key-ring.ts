/** Keys that rotate: the first signs, every one verifies. */
import { timingSafeEqual } from 'node:crypto';
import { SpanwayError } from '../errors.ts';
import { HmacKey } from './hmac.ts';

export type SignatureAlgorithm = 'hmac-sha256' | 'ed25519';

/** What is signed, in parts that follow each other. */
export type SignedParts = readonly (string | Uint8Array)[];

/** Signs packs: the gateway's. And seals: the replay worker's, with keys of its own. */
export interface Signer {
  readonly algorithm: SignatureAlgorithm;
  sign(parts: SignedParts): { readonly keyId: string; readonly signature: Buffer };
}

/** Checks packs: the applier's. And seals. It takes its own algorithm alone, so that no other can be passed off for it. */
export interface Verifier {
  readonly algorithm: SignatureAlgorithm;
  /** Undefined where the key is not known. */
  verify(keyId: string, parts: SignedParts, signature: Uint8Array): boolean | undefined;
}

/** `ALGORITHM;KEY_ID;BASE64URL` */
export function signatureOf(parts: SignedParts, signer: Signer): string {
  const { keyId, signature } = signer.sign(parts);
  return `${signer.algorithm};${keyId};${signature.toString('base64url')}`;
}

/** What `signatureOf` gives, taken apart. Of any other text the parts are such as no verifier takes. */
export function readSignature(text: string): { readonly algorithm: string; readonly keyId: string; readonly signature: Buffer } {
  const [algorithm = '', keyId = '', signature = ''] = text.split(';');
  return { algorithm, keyId, signature: Buffer.from(signature, 'base64url') };
}

export interface NamedKey {
  readonly id: string;
  readonly key: Uint8Array;
}

interface Secret {
  readonly id: string;
  readonly key: HmacKey;
}

/** Secret keys of HMAC-SHA256 (RFC 2104): who can verify can also sign. */
export class KeyRing implements Signer, Verifier {
  readonly algorithm = 'hmac-sha256';
  readonly #keys: readonly Secret[];

  constructor(keys: readonly NamedKey[]) {
    if (keys.length === 0) throw new SpanwayError('key_ring', 'a key ring needs at least one key');
    this.#keys = keys.map(({ id, key }) => ({ id, key: new HmacKey(key) }));
  }

  get current(): Secret {
    return this.#keys[0] as Secret;
  }

  all(): readonly HmacKey[] {
    return this.#keys.map((k) => k.key);
  }

  sign(parts: SignedParts): { readonly keyId: string; readonly signature: Buffer } {
    return { keyId: this.current.id, signature: this.current.key.mac(...parts) };
  }

  verify(keyId: string, parts: SignedParts, signature: Uint8Array): boolean | undefined {
    const key = this.#keys.find((k) => k.id === keyId)?.key;
    if (!key) return undefined;
    const expected = key.mac(...parts);
    return signature.length === expected.length && timingSafeEqual(signature, expected);
  }
}

/**
 * A secret's text as a ring: one `ID BASE64` a line, the signing key first. A rotation puts a new line on top
 * and removes the old one when nothing signed with it is under way.
 * @throws SpanwayError (`key_ring`) naming the secret and the line, never the key.
 */
export function parseKeyRing(secretName: string, text: string): KeyRing {
  // RFC 2104, section 3: a key shorter than the hash's output weakens the MAC.
  return new KeyRing(parseKeys(secretName, text, 'a key of at least 32 bytes', (key) => key.length >= 32));
}

/** The lines of a secret, each key one that `fits`. */
export function parseKeys(secretName: string, text: string, expected: string, fits: (key: Buffer) => boolean): readonly NamedKey[] {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  if (lines.length === 0) throw new SpanwayError('key_ring', `secret ${secretName} is empty: expected lines of "ID BASE64"`);
  return lines.map((line, i): NamedKey => {
    const [id = '', base64 = '', ...more] = line.trim().split(/\s+/);
    const key = Buffer.from(base64, 'base64');
    if (!/^[\w.-]{1,64}$/.test(id) || more.length > 0 || !fits(key)) {
      throw new SpanwayError('key_ring', `secret ${secretName}, line ${i + 1}: expected "ID BASE64" with ${expected}`);
    }
    return { id, key };
  });
}
