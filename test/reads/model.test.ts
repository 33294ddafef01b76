/** No read is older than its consistency allows, whatever is between it and the rows. Longer runs are `npm run reads`. */
import { describe, expect, it, onTestFinished } from 'vitest';
import { startLocalServer } from '../../cli/local-servers/index.ts';
import { spannerUrl } from '../fixtures/stores.ts';
import { describeWithServer } from '../servers.ts';
import { temporaryFolder } from '../temp.ts';
import { type ModelOptions, runModel } from './run-model.ts';

const SEED = Number(process.env['SPANWAY_TEST_READS_SEED'] ?? '1');
const WRITES = Number(process.env['SPANWAY_TEST_READS_WRITES'] ?? '40');

async function holds(where: Pick<ModelOptions, 'store' | 'cache' | 'cached' | 'events'>): Promise<void> {
  const { violations, reads, fromCache } = await runModel({ seed: SEED, writes: WRITES, ...where });
  expect(violations.slice(0, 10), `seed ${SEED}`).toEqual([]);
  expect(reads).toBeGreaterThan(WRITES);
  if (where.cached) expect(fromCache).toBeGreaterThan(0);
  else expect(fromCache).toBe(0);
}

const sqlite = async (): Promise<string> => `sqlite:${await temporaryFolder()}/rows.db`;
const PATIENCE_MS = 600_000;

/** One of its own, that is killed half-way, and may come back. */
async function withMortalRedis(store: string, comesBack: boolean): Promise<void> {
  const start = async (port?: number) => {
    const started = await startLocalServer('redis', { log: () => {}, ...(port === undefined ? {} : { port }) });
    if (typeof started === 'string') throw new Error(started);
    return started;
  };
  let redis = await start();
  onTestFinished(() => redis.stop());
  const { url } = redis.address;
  const killed = { part: 0.5, happens: () => redis.stop() };
  const back = { part: 0.7, happens: async () => (redis = await start(Number(new URL(url).port))) };
  await holds({ store, cache: url, cached: true, events: comesBack ? [killed, back] : [killed] });
}

describe('reads beside writes, on the embedded store', () => {
  it(
    'are as new as they must be, without a cache',
    async () => holds({ store: await sqlite(), cache: 'memory:', cached: false }),
    PATIENCE_MS,
  );
  it(
    'are as new as they must be, with one in memory',
    async () => holds({ store: await sqlite(), cache: 'memory:', cached: true }),
    PATIENCE_MS,
  );
  describeWithServer('redis', 'and Redis', () => {
    it('are as new as they must be while it dies', async () => withMortalRedis(await sqlite(), false), PATIENCE_MS);
    it('are as new as they must be while it dies and comes back', async () => withMortalRedis(await sqlite(), true), PATIENCE_MS);
  });
});

describeWithServer('spanner', 'reads beside writes, on the Spanner emulator', ({ spanner }) => {
  const url = (): string => spannerUrl(spanner.host);
  it('are as new as they must be, without a cache', () => holds({ store: url(), cache: 'memory:', cached: false }), PATIENCE_MS);
  it('are as new as they must be, with one in memory', () => holds({ store: url(), cache: 'memory:', cached: true }), PATIENCE_MS);
  describeWithServer('redis', 'and Redis', () => {
    it('are as new as they must be while it dies', () => withMortalRedis(url(), false), PATIENCE_MS);
    it('are as new as they must be while it dies and comes back', () => withMortalRedis(url(), true), PATIENCE_MS);
  });
});
