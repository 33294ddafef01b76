/** Opens the store that a URL names. */
import { resolve } from 'node:path';
import { type AdapterTable, adapterOf, openAdapter, sqlitePath } from '../adapter.ts';
import type { SchemaAdmin, Store } from './port.ts';

export const storeAdapters: AdapterTable<Store & SchemaAdmin> = {
  sqlite: { options: [], open: async (url) => (await import('./sqlite.ts')).openSqliteStore(url) },
  spanner: {
    options: ['emulator', 'timeoutMs', 'transactionTimeoutMs'],
    open: async (url) => (await import('./spanner.ts')).openSpannerStore(url),
  },
};

/** `sqlite:PATH`, or `spanner://PROJECT/INSTANCE/DATABASE`. */
export function openStore(url: string): Promise<Store & SchemaAdmin> {
  return openAdapter('store', storeAdapters, url);
}

/**
 * Which database a URL names, however it is reached: the same for every process of an installation, and another one for
 * each installation.
 * @throws AdapterConfigError
 */
export function storeIdentity(text: string): string {
  const { url } = adapterOf('store', storeAdapters, text);
  return url.protocol === 'sqlite:' ? `sqlite:${resolve(sqlitePath('store', url))}` : `${url.protocol}//${url.host}${url.pathname}`;
}
