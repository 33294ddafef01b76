/**
 * A cursor: where the next page of a list begins. It is encrypted, since it may name a row that its caller may not
 * read, and bound to the tenant and the query it was made for. It holds no tenant: that is always the caller's own.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import type { HmacKey } from '../../../schemas/envelope/hmac.ts';
import type { KeyRing } from '../../../schemas/envelope/key-ring.ts';
import type { Cell } from '../../../schemas/resource/table.ts';
import { RequestError } from '../errors.ts';
import { type ReceiptKeys, withKeys } from '../receipt-keys.ts';
import type { ListPlan } from './query.ts';

const CIPHER = 'aes-256-gcm';
/** https://nvlpubs.nist.gov/nistpubs/Legacy/SP/nistspecialpublication800-38d.pdf, section 8.2.2: random, and 96 bits */
const IV_BYTES = 12;
const TAG_BYTES = 16;

/** Whose and which list a cursor is of. */
export interface CursorScope {
  readonly tenant: string;
  readonly resource: string;
  readonly plan: ListPlan;
}

/** `after`: the cells, beyond the plan's prefix, of the last row that the page looked at. */
export function makeCursor(keys: KeyRing, scope: CursorScope, after: readonly Cell[]): string {
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv(CIPHER, cursorKey(keys.current.key), iv).setAAD(bound(scope));
  return Buffer.concat([iv, cipher.update(JSON.stringify(after), 'utf8'), cipher.final(), cipher.getAuthTag()]).toString('base64url');
}

/**
 * @throws RequestError (`invalid_parameter`) for what no gateway made for this tenant and query, UnavailableError as
 * `withKeys` does.
 */
export async function readCursor(keys: ReceiptKeys, scope: CursorScope, text: string): Promise<readonly Cell[]> {
  const bytes = Buffer.from(text, 'base64url');
  const isCursor = /^[\w-]+$/.test(text) && bytes.length > IV_BYTES + TAG_BYTES;
  const cells = isCursor ? await withKeys(keys, (ring) => decrypted(bytes, scope, ring)) : undefined;
  if (!cells) throw new RequestError('invalid_parameter', 'cursor is none that was given out for this list; leave it out to begin again');
  return cells;
}

function decrypted(bytes: Buffer, scope: CursorScope, ring: KeyRing): readonly Cell[] | undefined {
  for (const key of ring.all()) {
    try {
      const decipher = createDecipheriv(CIPHER, cursorKey(key), bytes.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES });
      decipher.setAAD(bound(scope)).setAuthTag(bytes.subarray(-TAG_BYTES));
      const plain = Buffer.concat([decipher.update(bytes.subarray(IV_BYTES, -TAG_BYTES)), decipher.final()]);
      return JSON.parse(plain.toString('utf8')) as readonly Cell[];
    } catch {
      // Another key's, or nobody's.
    }
  }
  return undefined;
}

/** All that the rows depend on but the size of the page. */
function bound({ tenant, resource, plan: { order, prefix, lower, upper, descending } }: CursorScope): Buffer {
  return Buffer.from(
    JSON.stringify([tenant, resource, order.map((field) => field.name), prefix, lower ?? null, upper ?? null, descending]),
    'utf8',
  );
}

const derived = new WeakMap<HmacKey, Buffer>();

/** A key of its own, from the one that signs receipts. */
function cursorKey(key: HmacKey): Buffer {
  const known = derived.get(key) ?? key.mac('spanway cursor\0');
  derived.set(key, known);
  return known;
}
