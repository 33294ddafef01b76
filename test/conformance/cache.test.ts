/** The cache suite on every adapter. */
import { openCache } from '../../ports/cache/index.ts';
import { describeWithServer } from '../servers.ts';
import { cacheConformance } from './cache.ts';

cacheConformance('memory', async () => {
  // It reaches no other process: the two are one.
  const [cache, elsewhere] = await Promise.all([openCache('memory:', 'one'), openCache('memory:', 'two')]);
  return {
    cache,
    other: cache,
    elsewhere,
    async remove() {
      await Promise.all([cache.close(), elsewhere.close()]);
    },
  };
});

describeWithServer('redis', 'on redis-server', ({ redis }) => {
  cacheConformance('redis', async () => {
    // A machine that is busy with tests may be slow to answer.
    const url = `${redis.url}?takeWithinMs=800`;
    const [cache, other, elsewhere] = await Promise.all([openCache(url, 'one'), openCache(url, 'one'), openCache(url, 'two')]);
    return {
      cache,
      other,
      elsewhere,
      async remove() {
        await Promise.all([cache.close(), other.close(), elsewhere.close()]);
      },
    };
  });
});
