/** What only the cache in memory does: it forgets by count, and its clock can be set. */
import { expect, it } from 'vitest';
import { openCache } from '../../ports/cache/index.ts';
import { MemoryCache } from '../../ports/cache/memory.ts';
import { AdapterConfigError } from '../../ports/errors.ts';

it('gives a value up to its TTL and not at it', async () => {
  let now = 1_000;
  const cache = new MemoryCache({ now: () => now });
  await cache.add('key', 'value', 500);
  now = 1_499;
  expect(await cache.get('key')).toBe('value');
  now = 1_500;
  expect(await cache.get('key')).toBeUndefined();
});

it('forgets the least recently used entry when it is full', async () => {
  const cache = new MemoryCache({ maxEntries: 3 });
  for (const key of ['a', 'b', 'c']) await cache.add(key, key, 60_000);
  await cache.get('a');
  await cache.get('b');
  // Kept, and not used by it.
  await cache.add('c', 'again', 60_000);
  await cache.add('d', 'd', 60_000);
  expect(await Promise.all(['a', 'b', 'c', 'd'].map((key) => cache.get(key)))).toEqual(['a', 'b', undefined, 'd']);
});

it('fills a bucket at its rate, to the microsecond, and no further than its burst', async () => {
  let now = 1_000;
  const cache = new MemoryCache({ now: () => now });
  const take = () => cache.take([{ key: 'b', perSecond: 3, burst: 2 }]);
  expect(await take()).toEqual({ taken: true, levels: [{ left: 1, nextMs: 333.334 }] });
  expect(await take()).toEqual({ taken: true, levels: [{ left: 0, nextMs: 333.334 }] });
  now = 1_333;
  expect(await take()).toEqual({ taken: false, levels: [{ left: 0, nextMs: 0.334 }] });
  now = 1_334;
  expect((await take()).taken).toBe(true);
  now = 100_000;
  expect((await take()).levels[0]?.left).toBe(1);
});

it('forgets the least recently used bucket when it has too many', async () => {
  const cache = new MemoryCache({ maxEntries: 2 });
  const left = async (key: string) => (await cache.take([{ key, perSecond: 0.001, burst: 9 }])).levels[0]?.left;
  for (const key of ['a', 'b', 'a', 'c']) await left(key);
  expect([await left('a'), await left('b')]).toEqual([6, 8]);
});

it('takes its size from the URL', async () => {
  const cache = await openCache('memory:?maxEntries=1', 'test');
  await cache.add('a', 'a', 60_000);
  await cache.add('b', 'b', 60_000);
  expect(await cache.get('a')).toBeUndefined();
  for (const wrong of ['0', '1e3', '10000000'])
    await expect(openCache(`memory:?maxEntries=${wrong}`, 'test')).rejects.toThrow(AdapterConfigError);
});
