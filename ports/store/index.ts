/** Opens the store that a URL names. */
import { type AdapterTable, openAdapter } from '../adapter.ts';
import type { SchemaAdmin, Store } from './port.ts';

const adapters: AdapterTable<Store & SchemaAdmin> = {
  sqlite: async (url) => (await import('./sqlite.ts')).openSqliteStore(url),
  spanner: async (url) => (await import('./spanner.ts')).openSpannerStore(url),
};

/** A test fails for one of these that the conformance suite does not run. */
export const STORE_SCHEMES: readonly string[] = Object.keys(adapters);

/** `sqlite:PATH`, or `spanner://PROJECT/INSTANCE/DATABASE`. */
export function openStore(url: string): Promise<Store & SchemaAdmin> {
  return openAdapter('store', adapters, url);
}
