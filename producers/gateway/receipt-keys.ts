/** The keys of receipt ids and cursors, which every gateway reads for itself: another one may have newer ones. */
import { isReceiptId, readReceiptId, type ReceiptId } from '../../schemas/envelope/ids.ts';
import type { KeyRing } from '../../schemas/envelope/key-ring.ts';
import { UnavailableError } from './errors.ts';

export interface ReceiptKeys {
  readonly current: () => KeyRing;
  /** Reads them again, shared by all who ask and once a second at most. What it throws means that they could not be read. */
  readonly refresh: () => Promise<KeyRing>;
}

/**
 * What `read` finds, with the keys at hand or, where it finds nothing, as they are read again.
 * @throws UnavailableError where they cannot be read: it may be what another gateway gave out.
 */
export async function withKeys<T>(keys: ReceiptKeys, read: (ring: KeyRing) => T | undefined): Promise<T | undefined> {
  const found = read(keys.current());
  if (found !== undefined) return found;
  let ring: KeyRing;
  try {
    ring = await keys.refresh();
  } catch (cause) {
    throw new UnavailableError('the keys of receipts cannot be read again', { cause });
  }
  return read(ring);
}

/** Undefined for what no gateway made for this tenant. @throws UnavailableError, as `withKeys` does */
export async function findReceiptId(keys: ReceiptKeys, tenant: string, text: string): Promise<ReceiptId | undefined> {
  return isReceiptId(text) ? withKeys(keys, (ring) => readReceiptId(text, tenant, ring.all())) : undefined;
}
