/** Packs signed with Ed25519 (RFC 8032): the gateway alone can sign, and the appliers can only check. */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto';
import { type Signer, type Verifier, parseKeys, type SignedParts } from './key-ring.ts';

interface Key {
  readonly id: string;
  readonly key: KeyObject;
}

export class Ed25519Signer implements Signer {
  readonly algorithm = 'ed25519';
  readonly #key: Key;

  constructor(key: Key) {
    this.#key = key;
  }

  sign(parts: SignedParts): { readonly keyId: string; readonly signature: Buffer } {
    return { keyId: this.#key.id, signature: sign(null, joined(parts), this.#key.key) };
  }
}

export class Ed25519Verifier implements Verifier {
  readonly algorithm = 'ed25519';
  readonly #keys: ReadonlyMap<string, KeyObject>;

  constructor(keys: readonly Key[]) {
    this.#keys = new Map(keys.map(({ id, key }) => [id, key]));
  }

  verify(keyId: string, parts: SignedParts, signature: Uint8Array): boolean | undefined {
    const key = this.#keys.get(keyId);
    return key && verify(null, joined(parts), key, signature);
  }
}

/** Lines of `ID BASE64` with private keys (PKCS #8, DER); the first signs. */
export function parseEd25519Signer(secretName: string, text: string): Ed25519Signer {
  const [first] = parse(secretName, text, 'an Ed25519 private key (PKCS #8, DER)', (der) =>
    createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }),
  );
  return new Ed25519Signer(first as Key);
}

/** Lines of `ID BASE64` with public keys (SPKI, DER). */
export function parseEd25519Verifier(secretName: string, text: string): Ed25519Verifier {
  return new Ed25519Verifier(
    parse(secretName, text, 'an Ed25519 public key (SPKI, DER)', (der) => createPublicKey({ key: der, format: 'der', type: 'spki' })),
  );
}

/** A new pair: a line for the signer's secret and one for the verifiers'. */
export function newEd25519Lines(id: string): { readonly signing: string; readonly verification: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return {
    signing: `${id} ${privateKey.export({ format: 'der', type: 'pkcs8' }).toString('base64')}`,
    verification: `${id} ${publicKey.export({ format: 'der', type: 'spki' }).toString('base64')}`,
  };
}

function parse(secretName: string, text: string, expected: string, read: (der: Buffer) => KeyObject): readonly Key[] {
  const readable = (der: Buffer): KeyObject | undefined => {
    try {
      const key = read(der);
      return key.asymmetricKeyType === 'ed25519' ? key : undefined;
    } catch {
      return undefined;
    }
  };
  const named = parseKeys(secretName, text, expected, (der) => readable(der) !== undefined);
  return named.map(({ id, key }) => ({ id, key: readable(Buffer.from(key)) as KeyObject }));
}

function joined(parts: SignedParts): Buffer {
  return Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)));
}
