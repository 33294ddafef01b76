/** Opens the cache that a URL names: `redis://HOST:PORT`, `rediss://HOST:PORT` or `memory:`. */
import { type AdapterTable, openAdapter } from '../adapter.ts';
import type { Cache } from './port.ts';

const redis = async (url: URL): Promise<Cache> => (await import('./redis.ts')).openRedisCache(url);

export const cacheAdapters: AdapterTable<Cache> = {
  redis,
  rediss: redis,
  memory: async (url) => (await import('./memory.ts')).openMemoryCache(url),
};

/** @throws AdapterConfigError */
export function openCache(url: string): Promise<Cache> {
  return openAdapter('cache', cacheAdapters, url);
}
