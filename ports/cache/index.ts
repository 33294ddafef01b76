/** Opens the cache that a URL names: `redis://HOST:PORT`, `rediss://HOST:PORT` or `memory:`. */
import { type Adapter, type AdapterTable, openAdapter } from '../adapter.ts';
import type { Cache } from './port.ts';

type Given = [namespace: string];

const redis: Adapter<Cache, Given> = {
  options: ['takeWithinMs'],
  open: async (url, namespace) => (await import('./redis.ts')).openRedisCache(url, namespace),
};

export const cacheAdapters: AdapterTable<Cache, Given> = {
  redis,
  rediss: redis,
  memory: {
    options: ['maxEntries'],
    open: async (url, namespace) => (await import('./memory.ts')).openMemoryCache(url, namespace),
  },
};

/**
 * `namespace`: whose values, signals and buckets these are. Caches of other namespaces on the same server see nothing
 * of them.
 * @throws AdapterConfigError
 */
export function openCache(url: string, namespace: string): Promise<Cache> {
  return openAdapter('cache', cacheAdapters, url, namespace);
}
