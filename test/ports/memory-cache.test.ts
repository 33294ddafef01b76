/** What only the cache in memory does: it forgets by count, and its clock can be set. */
import { expect, it } from 'vitest';
import { openCache } from '../../ports/cache/index.ts';
import { MemoryCache } from '../../ports/cache/memory.ts';
import { AdapterConfigError } from '../../ports/errors.ts';

it('gives a value up to its TTL and not at it', async () => {
  let now = 1_000;
  const cache = new MemoryCache({ now: () => now });
  await cache.set('key', 'value', 500);
  now = 1_499;
  expect(await cache.get('key')).toBe('value');
  now = 1_500;
  expect(await cache.get('key')).toBeUndefined();
});

it('forgets the least recently used entry when it is full', async () => {
  const cache = new MemoryCache({ maxEntries: 3 });
  for (const key of ['a', 'b', 'c']) await cache.set(key, key, 60_000);
  await cache.get('a');
  await cache.set('b', 'again', 60_000);
  await cache.set('d', 'd', 60_000);
  expect(await Promise.all(['a', 'b', 'c', 'd'].map((key) => cache.get(key)))).toEqual(['a', 'again', undefined, 'd']);
});

it('takes its size from the URL', async () => {
  const cache = await openCache('memory:?maxEntries=1');
  await cache.set('a', 'a', 60_000);
  await cache.set('b', 'b', 60_000);
  expect(await cache.get('a')).toBeUndefined();
  await expect(openCache('memory:?maxEntries=0')).rejects.toThrow(AdapterConfigError);
});
