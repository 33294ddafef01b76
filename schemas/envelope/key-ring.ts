/** Keys that rotate: the first signs, every one verifies. */
import { SpanwayError } from '../errors.ts';

export interface NamedKey {
  readonly id: string;
  readonly key: Uint8Array;
}

export class KeyRing {
  readonly #keys: readonly NamedKey[];

  constructor(keys: readonly NamedKey[]) {
    if (keys.length === 0) throw new SpanwayError('key_ring', 'a key ring needs at least one key');
    this.#keys = keys;
  }

  get current(): NamedKey {
    return this.#keys[0] as NamedKey;
  }

  find(id: string): Uint8Array | undefined {
    return this.#keys.find((k) => k.id === id)?.key;
  }

  all(): readonly Uint8Array[] {
    return this.#keys.map((k) => k.key);
  }
}

/**
 * A secret's text as a ring: one `ID BASE64` a line, the signing key first. A rotation puts a new line on top
 * and removes the old one when nothing signed with it is under way.
 * @throws SpanwayError (`key_ring`) naming the secret and the line, never the key.
 */
export function parseKeyRing(secretName: string, text: string): KeyRing {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  const keys = lines.map((line, i): NamedKey => {
    const [id = '', base64 = '', ...more] = line.trim().split(/\s+/);
    const key = Buffer.from(base64, 'base64');
    // RFC 2104, section 3: a key shorter than the hash's output weakens the MAC.
    if (!/^[\w.-]{1,64}$/.test(id) || more.length > 0 || key.length < 32) {
      throw new SpanwayError('key_ring', `secret ${secretName}, line ${i + 1}: expected "ID BASE64" with a key of at least 32 bytes`);
    }
    return { id, key };
  });
  if (keys.length === 0) throw new SpanwayError('key_ring', `secret ${secretName} is empty: expected lines of "ID BASE64"`);
  return new KeyRing(keys);
}
