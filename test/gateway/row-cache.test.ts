/** Rows in the cache: who is given them, how old they may be, and what becomes of reads while cache or database is away. */
import type { LightMyRequestResponse } from 'fastify';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { defineResource, field, Type } from '../../index.ts';
import { Announcer } from '../../consumers/applier/announce.ts';
import { planWork } from '../../consumers/applier/plan.ts';
import { MemoryCache } from '../../ports/cache/memory.ts';
import type { Cache } from '../../ports/cache/port.ts';
import { PortUnavailableError, StoreError } from '../../ports/errors.ts';
import { envelopeText } from '../../schemas/envelope/pack.ts';
import type { AccessRule } from '../../schemas/resource/access.ts';
import type { CacheRule } from '../../schemas/resource/define.ts';
import { ResourceSet } from '../../schemas/resource/registry.ts';
import { rowCacheKey, versionOf } from '../../schemas/resource/row-cache.ts';
import { COMMIT_TIMESTAMP } from '../../schemas/resource/table.ts';
import { boundCache } from '../fixtures/caches.ts';
import { startTestGateway, type TestGateway } from '../fixtures/gateways.ts';

const schema = Type.Object({
  id: Type.String({ maxLength: 10 }),
  note: Type.Optional(Type.String({ maxLength: 100 })),
  secret: Type.Optional(Type.String({ maxLength: 100 })),
  updatedAt: field.commitTimestamp(),
});
const thing = (name: string, cache?: CacheRule): ReturnType<typeof defineResource> => {
  const access: AccessRule[] = [
    { actions: ['read'], scope: 'read' },
    { actions: ['read'], scope: 'peek', fields: ['note'] },
    { actions: ['upsert'], scope: 'write' },
  ];
  return defineResource({ name, key: ['id'], schema, access, ...(cache ? { cache } : {}) });
};
const parts = defineResource({
  name: 'kept-parts',
  key: ['id', 'part'],
  parent: { resource: 'kept', onDelete: 'cascade' },
  schema: Type.Object({ id: Type.String({ maxLength: 10 }), part: Type.String({ maxLength: 10 }) }),
  cache: { seconds: 60 },
  access: [{ actions: ['read'], scope: 'read' }],
});
const set = new ResourceSet([
  parts,
  thing('kept', { seconds: 60 }),
  thing('kept-by-default', { seconds: 60, byDefault: true }),
  thing('plain'),
]);

let gateway: TestGateway;
const cache = new MemoryCache();
/** Keys of each read of rows. */
let reads: number[] = [];
let storeIsDown = false;
let cacheIsDown = false;

/** The memory cache, while it is not down. */
const breakable: Cache = {
  ...boundCache(cache),
  versioned: {
    get: (key) => (cacheIsDown ? Promise.reject(new PortUnavailableError('cache', 'away')) : cache.versioned.get(key)),
    put: (...args) => (cacheIsDown ? Promise.reject(new PortUnavailableError('cache', 'away')) : cache.versioned.put(...args)),
    outdate: (...args) => cache.versioned.outdate(...args),
  },
};

beforeAll(async () => {
  gateway = await startTestGateway({
    resources: { current: set },
    cache: () => breakable,
    store: (store) => ({
      ...store,
      capabilities: store.capabilities,
      commit: (...args) => store.commit(...args),
      readWrite: (...args) => store.readWrite(...args),
      read: (...args) => store.read(...args),
      readRange: (...args) => store.readRange(...args),
      scan: (...args) => store.scan(...args),
      ping: () => store.ping(),
      close: () => store.close(),
      readAt: (table, keys, columns, options) => {
        reads.push(keys.length);
        return storeIsDown ? Promise.reject(new StoreError('transient', 'away')) : store.readAt(table, keys, columns, options);
      },
    }),
  });
  await gateway.store.apply((await gateway.store.compare(set.tables())).missing);
});
afterAll(async () => {
  await gateway.close();
  await cache.close();
});
beforeEach(() => {
  cache.versioned.clear();
  reads = [];
  storeIsDown = false;
  cacheIsDown = false;
  return () => vi.useRealTimers();
});

/** Straight into the database, of which no cache hears. Its commit timestamp. */
async function write(name: string, id: string, note: string, tenant = 't1'): Promise<string> {
  const { table } = set.get(name) ?? expect.unreachable();
  const columns = ['tenant', 'id', 'note', 'secret', 'updated_at'];
  const { commitTimestamp } = await gateway.store.commit(
    [{ op: 'upsert', table, columns, values: [tenant, id, note, 'hidden', COMMIT_TIMESTAMP] }],
    { tag: 'test' },
  );
  return commitTimestamp;
}

async function get(url: string, consistency?: string, scopes = ['read'], tenant = 't1'): Promise<LightMyRequestResponse> {
  const authorization = `Bearer ${await gateway.token({ scopes, tenant })}`;
  return gateway.app.inject({
    method: 'GET',
    url,
    headers: { authorization, ...(consistency === undefined ? {} : { 'read-consistency': consistency }) },
  });
}

const noteOf = (response: LightMyRequestResponse): unknown => response.json<{ note: unknown }>().note;
const statusOf = (response: LightMyRequestResponse): unknown => response.headers['cache-status'];

describe('a row of a resource that is kept', () => {
  it('is read once for those that allow its age, and strong for those that do not', async () => {
    await write('kept', 'a', 'one');
    const first = await get('/v1/kept/a', 'max-staleness=10');
    expect([noteOf(first), statusOf(first), reads]).toEqual(['one', 'spanway; fwd=miss', [1]]);
    await write('kept', 'a', 'two');
    const second = await get('/v1/kept/a', 'max-staleness=10');
    expect([noteOf(second), statusOf(second), reads]).toEqual(['one', 'spanway; hit', [1]]);
    expect([second.headers['etag'], second.headers['read-timestamp']]).toEqual([first.headers['etag'], first.headers['read-timestamp']]);
    for (const consistency of [undefined, 'strong', 'max-staleness=0']) expect(noteOf(await get('/v1/kept/a', consistency))).toBe('two');
    expect(reads).toEqual([1, 1, 1, 1]);
  });

  it('is kept by default only where the resource says so, and then a caller may still have it strong', async () => {
    await write('kept-by-default', 'a', 'one');
    await get('/v1/kept-by-default/a');
    await write('kept-by-default', 'a', 'two');
    expect(noteOf(await get('/v1/kept-by-default/a'))).toBe('one');
    expect(noteOf(await get('/v1/kept-by-default/a', 'strong'))).toBe('two');
    await write('plain', 'a', 'one');
    await get('/v1/plain/a', 'max-staleness=60');
    await write('plain', 'a', 'two');
    const plain = await get('/v1/plain/a', 'max-staleness=60');
    expect([noteOf(plain), statusOf(plain)]).toEqual(['two', undefined]);
  });

  it('is never given when it is older than its reader allows', async () => {
    await write('kept', 'b', 'one');
    await get('/v1/kept/b', 'max-staleness=60');
    await write('kept', 'b', 'two');
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 5000 });
    expect(noteOf(await get('/v1/kept/b', 'max-staleness=6'))).toBe('one');
    expect(noteOf(await get('/v1/kept/b', 'max-staleness=4'))).toBe('two');
    expect(noteOf(await get('/v1/kept/b', 'max-staleness=4'))).toBe('two');
    expect(reads).toHaveLength(2);
  });

  it('is kept as missing too', async () => {
    expect((await get('/v1/kept/none', 'max-staleness=9')).statusCode).toBe(404);
    expect((await get('/v1/kept/none', 'max-staleness=9')).statusCode).toBe(404);
    expect(reads).toHaveLength(1);
  });

  it('is shown to each by what policy lets it see, and to its tenant alone', async () => {
    await write('kept', 'c', 'ours');
    expect((await get('/v1/kept/c', 'max-staleness=9')).json()).toMatchObject({ secret: 'hidden' });
    expect((await get('/v1/kept/c', 'max-staleness=9', ['peek'])).json()).toEqual({ id: 'c', note: 'ours' });
    expect((await get('/v1/kept/c?fields=id', 'max-staleness=9')).json()).toEqual({ id: 'c' });
    expect((await get('/v1/kept/c', 'max-staleness=9', ['other'])).statusCode).toBe(403);
    expect((await get('/v1/kept/c', 'max-staleness=9', ['read'], 't2')).statusCode).toBe(404);
    expect(reads).toEqual([1, 1]);
    storeIsDown = true;
    expect((await get('/v1/kept/c', 'stale-if-error=60')).json()).toMatchObject({ note: 'ours' });
    expect((await get('/v1/kept/c', 'stale-if-error=60', ['read'], 't3')).statusCode).toBe(503);
  });

  it('is read by one of those who miss it at once', async () => {
    await write('kept', 'd', 'one');
    const answers = await Promise.all(Array.from({ length: 50 }, () => get('/v1/kept/d', 'max-staleness=9')));
    expect(answers.map(noteOf)).toEqual(Array.from({ length: 50 }, () => 'one'));
    expect(reads).toEqual([1]);
  });

  it('is never older than its reader allows either where it went with its parent, of which the cache does not hear', async () => {
    await write('kept', 'p', 'parent');
    const tables = ['kept', 'kept-parts'].map((name) => (set.get(name) ?? expect.unreachable()).table);
    const [parent, part] = tables as [(typeof tables)[0], (typeof tables)[0]];
    const columns = ['tenant', 'id', 'part'];
    await gateway.store.commit([{ op: 'insert', table: part, columns, values: ['t1', 'p', '1'] }], { tag: 'test' });
    const status = async (consistency?: string): Promise<number> => (await get('/v1/kept-parts/p/1', consistency)).statusCode;
    expect(await status('max-staleness=60')).toBe(200);
    await gateway.store.commit([{ op: 'delete', table: parent, key: ['t1', 'p'] }], { tag: 'test' });
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 5000 });
    expect(await status('max-staleness=6')).toBe(200);
    for (const consistency of [undefined, 'max-staleness=4', 'max-staleness=4, stale-if-error=60', 'strong'])
      expect(await status(consistency)).toBe(404);
    // The read that found it gone has taken its place, for those too who would have taken it.
    expect(await status('max-staleness=6')).toBe(404);
    expect(await status('max-staleness=60')).toBe(404);
  });

  it('is outdated by the applier when it was written, even for a reader that comes late with the row before', async () => {
    await write('kept', 'e', 'one');
    await get('/v1/kept/e', 'max-staleness=60');
    const key = rowCacheKey((set.get('kept') ?? expect.unreachable()).table, ['t1', 'e']);
    const before = (await cache.versioned.get(key)) ?? '';
    const readAt = versionOf(before.split('\n')[1] ?? '');

    await gateway.call({
      method: 'PUT',
      url: '/v1/kept/e',
      payload: { note: 'two' },
      headers: { authorization: `Bearer ${await gateway.token({ scopes: ['write'] })}` },
    });
    const commitTimestamp = await write('kept', 'e', 'two');
    const [envelope] = await gateway.queued();
    if (!envelope) expect.unreachable();
    const signal = new AbortController();
    const events = { send: () => Promise.resolve(), provision: () => Promise.resolve(), close: () => Promise.resolve() };
    const announcer = new Announcer({
      cache: breakable,
      events: events as never,
      log: pino({ level: 'silent' }),
      backoff: { minMs: 1, maxMs: 1 },
      signal: signal.signal,
    });
    await new Promise<void>((done) => {
      const work = planWork(envelope, envelopeText(envelope), set);
      announcer.announce(work, { verdict: { outcome: 'applied' }, commitTimestamp, duplicate: false }, done);
    });
    await announcer.drain();

    expect(await cache.versioned.get(key)).toBeUndefined();
    await cache.versioned.put(key, before, readAt, 60_000);
    expect(await cache.versioned.get(key)).toBeUndefined();
    expect(noteOf(await get('/v1/kept/e', 'max-staleness=60'))).toBe('two');
    expect(statusOf(await get('/v1/kept/e', 'max-staleness=60'))).toBe('spanway; hit');
  });
});

describe('what is put into the cache after an answer', () => {
  const started = async (put: Cache['versioned']['put'], lines: Record<string, unknown>[] = []): Promise<TestGateway> => {
    const started = await startTestGateway({
      resources: { current: set },
      cache: () => ({
        ...boundCache(cache),
        versioned: { get: (key) => cache.versioned.get(key), put, outdate: (...args) => cache.versioned.outdate(...args) },
      }),
      onLog: (line) => lines.push(line),
    });
    await started.store.apply((await started.store.compare(set.tables())).missing);
    return started;
  };
  const read = async (from: TestGateway): Promise<number> => {
    const authorization = `Bearer ${await from.token({ scopes: ['read'] })}`;
    const headers = { authorization, 'read-consistency': 'max-staleness=60' };
    return (await from.app.inject({ method: 'GET', url: '/v1/kept/z', headers })).statusCode;
  };

  it('is waited for by a stop', async () => {
    const gate = Promise.withResolvers<undefined>();
    const other = await started(() => gate.promise);
    const done = await started(() => Promise.resolve());
    for (const each of [done, other]) expect(await read(each)).toBe(404);
    let closed = false;
    const closing = other.app.close().then(() => (closed = true));
    // A stop that begins later and has nothing to wait for.
    await done.app.close();
    expect(closed).toBe(false);
    gate.resolve(undefined);
    await closing;
    for (const each of [done, other]) await each.close();
  });

  it('is logged where it fails, and fails nothing else', async () => {
    const lines: Record<string, unknown>[] = [];
    const other = await started(() => Promise.reject(new Error('no room')), lines);
    expect(await read(other)).toBe(404);
    await other.close();
    expect(lines).toContainEqual(expect.objectContaining({ err: expect.objectContaining({ message: 'no room' }) as unknown }));
  });
});

describe('while the cache is away', () => {
  it('rows are read from the database', async () => {
    await write('kept', 'f', 'one');
    cacheIsDown = true;
    for (let i = 0; i < 3; i += 1) {
      const answer = await get('/v1/kept/f', 'max-staleness=60');
      expect([answer.statusCode, noteOf(answer)]).toEqual([200, 'one']);
    }
    expect(reads).toEqual([1, 1, 1]);
  });
});

describe('while the database is away', () => {
  it('a row from the cache is given to those who allow its age, and marked', async () => {
    // The cache is left alone for a second after the last test.
    await expect
      .poll(
        async () => {
          await write('kept', 'g', 'one');
          await get('/v1/kept/g', 'max-staleness=60');
          return statusOf(await get('/v1/kept/g', 'max-staleness=60'));
        },
        { timeout: 5000 },
      )
      .toBe('spanway; hit');
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 5000 });
    storeIsDown = true;
    for (const consistency of ['max-staleness=1, stale-if-error=30', 'stale-if-error=30', 'strong, stale-if-error=30']) {
      const answer = await get('/v1/kept/g', consistency);
      expect([answer.statusCode, noteOf(answer), statusOf(answer)]).toEqual([200, 'one', 'spanway; hit; detail=stale-if-error']);
    }
    for (const consistency of ['max-staleness=1', 'strong', undefined, 'max-staleness=1, stale-if-error=2']) {
      const answer = await get('/v1/kept/g', consistency);
      expect([answer.statusCode, answer.headers['retry-after']]).toEqual([503, '1']);
    }
    expect(noteOf(await get('/v1/kept/g', 'max-staleness=10'))).toBe('one');
    expect((await get('/v1/kept/h', 'stale-if-error=30')).statusCode).toBe(503);
  });
});

describe('a cache rule', () => {
  it.each([0, 1.5, 3601])('keeps no rows for %d seconds', (seconds) => {
    expect(() => thing('odd', { seconds })).toThrow(/1 to 3600/);
  });
});
