/** The cache suite on every adapter. */
import { openCache } from '../../ports/cache/index.ts';
import { describeWithServer } from '../servers.ts';
import { cacheConformance } from './cache.ts';

cacheConformance('memory', async () => {
  // It reaches no other process: the two are one.
  const cache = await openCache('memory:');
  return { cache, other: cache, remove: () => cache.close() };
});

describeWithServer('redis', 'on redis-server', ({ redis }) => {
  cacheConformance('redis', async () => {
    // A machine that is busy with tests may be slow to answer.
    const url = `${redis.url}?takeWithinMs=800`;
    const [cache, other] = await Promise.all([openCache(url), openCache(url)]);
    return {
      cache,
      other,
      async remove() {
        await Promise.all([cache.close(), other.close()]);
      },
    };
  });
});
