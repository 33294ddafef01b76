/** No read is older than its consistency allows, whatever is between it and the rows. Longer runs are `npm run reads`. */
import { describe, expect, it } from 'vitest';
import { spannerUrl } from '../fixtures/stores.ts';
import { describeWithServer } from '../servers.ts';
import { temporaryFolder } from '../temp.ts';
import { CACHES, runModel } from './run-model.ts';

/** The same choices each time, so that a change is what makes a difference; the long run takes new seeds. */
const SHORT_RUN = { seed: 1, writes: 25 };

type CacheName = keyof typeof CACHES;

function holds(name: CacheName, storeUrl: () => Promise<string>): void {
  it(`are as new as they must be, with this between them: ${name}`, async () => {
    const store = await storeUrl();
    const { violations, reads, fromCache } = await CACHES[name]((options) => runModel({ ...SHORT_RUN, store, ...options }));
    expect(violations.slice(0, 10), `seed ${SHORT_RUN.seed}`).toEqual([]);
    expect(reads).toBeGreaterThan(100);
    if (name === 'none') expect(fromCache).toBe(0);
    else expect(fromCache).toBeGreaterThan(0);
  }, 600_000);
}

describe('reads beside writes, on the embedded store', () => {
  const url = async (): Promise<string> => `sqlite:${await temporaryFolder()}/rows.db`;
  for (const name of ['none', 'memory'] as const) holds(name, url);
  describeWithServer('redis', 'and with Redis', () => {
    for (const name of ['redis-dies', 'redis-comes-back'] as const) holds(name, url);
  });
});

describeWithServer('spanner', 'reads beside writes, on the Spanner emulator', ({ spanner }) => {
  const url = (): Promise<string> => Promise.resolve(spannerUrl(spanner.host));
  for (const name of ['none', 'memory'] as const) holds(name, url);
  describeWithServer('redis', 'and with Redis', () => {
    for (const name of ['redis-dies', 'redis-comes-back'] as const) holds(name, url);
  });
});
