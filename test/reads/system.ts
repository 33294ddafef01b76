/** A gateway with the bridge and the applier behind it, each with connections of its own, and hops that take their time. */
import { setTimeout as sleep } from 'node:timers/promises';
import { defineResource, field, Type } from '../../index.ts';
import { openCache } from '../../ports/cache/index.ts';
import type { Cache } from '../../ports/cache/port.ts';
import { openStore } from '../../ports/store/index.ts';
import type { CommitResult, Store } from '../../ports/store/port.ts';
import { ResourceSet } from '../../schemas/resource/registry.ts';
import type { Rng } from '../../ports/rng.ts';
import { boundCache } from '../fixtures/caches.ts';
import { startTestGateway, type TestGateway } from '../fixtures/gateways.ts';
import { startConsumers } from '../fixtures/consumers.ts';
import { preparedStore } from '../fixtures/stores.ts';
import type { Commit } from './model.ts';

/** Items with parts that go with them. */
function itemsAndParts(cached: boolean): ResourceSet {
  const cache = cached ? { cache: { seconds: 60 } } : {};
  const access = (name: string) => [{ actions: ['read', 'insert', 'update', 'upsert', 'delete'] as const, scope: `${name}:all` }];
  const id = Type.String({ maxLength: 10 });
  const held = field.int64({ minimum: 0, maximum: 1e9 });
  return new ResourceSet([
    defineResource({
      name: 'items',
      key: ['id'],
      schema: Type.Object({ id, kind: Type.String({ maxLength: 10 }), held, updatedAt: field.commitTimestamp() }),
      indexes: [{ fields: ['kind'] }],
      access: access('items'),
      ...cache,
    }),
    defineResource({
      name: 'parts',
      key: ['id', 'part'],
      parent: { resource: 'items', onDelete: 'cascade' },
      schema: Type.Object({ id, part: Type.String({ maxLength: 10 }), held, updatedAt: field.commitTimestamp() }),
      access: access('parts'),
      ...cache,
    }),
  ]);
}

export const SCOPES = ['items:all', 'parts:all'];

interface System {
  readonly gateway: TestGateway;
  /** Of the applier, so far. */
  readonly commits: readonly Commit[];
  stop(): Promise<void>;
}

export async function startSystem(options: {
  readonly store: string;
  readonly cache: string;
  readonly cached: boolean;
  readonly rng: Rng;
}): Promise<System> {
  const set = itemsAndParts(options.cached);
  const store = await preparedStore(options.store, set);
  const [appliers, cache, appliersCache] = await Promise.all([
    openStore(options.store),
    openCache(options.cache, 'test'),
    openCache(options.cache, 'test'),
  ]);
  const gateway = await startTestGateway({
    resources: { current: set },
    store: () => slowStore(store, options.rng),
    cache: () => slowCache(cache, options.rng),
  });
  const commits: Commit[] = [];
  const pipeline = await startConsumers(gateway, {
    store: recorded(appliers, commits),
    cache: slowCache(appliersCache, options.rng),
    resources: set,
  });
  return {
    gateway,
    commits,
    async stop() {
      await pipeline.stop();
      await gateway.close();
      await Promise.all([store.close(), appliers.close(), cache.close(), appliersCache.close()]);
    },
  };
}

const LONGEST_HOP_MS = 30;

/** Some of the calls take time on their way, and some of the answers: so others overtake them. */
async function hop<T>(rng: Rng, call: () => Promise<T>): Promise<T> {
  const [there, back] = [rng, rng].map((r) => (r.chance(0.3) ? r.int(0, LONGEST_HOP_MS) : undefined));
  if (there !== undefined) await sleep(there);
  const answer = await call();
  if (back !== undefined) await sleep(back);
  return answer;
}

function recorded(store: Store, commits: Commit[]): Store {
  const record = <T extends CommitResult>(result: T): T => {
    commits.push({ commitTimestamp: result.commitTimestamp, answeredMs: performance.now() });
    return result;
  };
  return {
    capabilities: store.capabilities,
    commit: async (...args) => record(await store.commit(...args)),
    readWrite: async (...args) => record(await store.readWrite(...args)),
    read: (...args) => store.read(...args),
    readAt: (...args) => store.readAt(...args),
    readRange: (...args) => store.readRange(...args),
    scan: (...args) => store.scan(...args),
    ping: () => store.ping(),
    close: () => store.close(),
  };
}

function slowStore(store: Store, rng: Rng): Store {
  return {
    capabilities: store.capabilities,
    commit: (...args) => store.commit(...args),
    readWrite: (...args) => store.readWrite(...args),
    read: (...args) => store.read(...args),
    readAt: (...args) => hop(rng, () => store.readAt(...args)),
    readRange: (...args) => hop(rng, () => store.readRange(...args)),
    scan: (...args) => store.scan(...args),
    ping: () => store.ping(),
    close: () => store.close(),
  };
}

/** What the applier outdates comes late, or is lost. */
function slowCache(cache: Cache, rng: Rng): Cache {
  return {
    ...boundCache(cache),
    versioned: {
      get: (key) => hop(rng, () => cache.versioned.get(key)),
      ...(cache.versioned.getNow ? { getNow: (key) => cache.versioned.getNow?.(key) } : {}),
      put: (...args) => hop(rng, () => cache.versioned.put(...args)),
      outdate: (...args) => (rng.chance(0.3) ? Promise.resolve() : hop(rng, () => cache.versioned.outdate(...args))),
    },
  };
}
