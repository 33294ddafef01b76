/** The Redis cache while its server is away, hangs or is shared: what the suite cannot ask of every adapter. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, it, onTestFinished } from 'vitest';
import { startLocalServer } from '../../cli/local-servers/index.ts';
import type { Started } from '../../cli/local-servers/server.ts';
import { openCache } from '../../ports/cache/index.ts';
import type { Bucket, Cache } from '../../ports/cache/port.ts';
import { AdapterConfigError, PortUnavailableError } from '../../ports/errors.ts';
import { describeWithServer } from '../servers.ts';

const LONG_MS = 20_000;

type RedisServer = Started<{ readonly url: string }>;

async function startRedis(port?: number): Promise<RedisServer> {
  const server = await startLocalServer('redis', { log: () => {}, ...(port === undefined ? {} : { port }) });
  if (typeof server === 'string') throw new Error(server);
  onTestFinished(() => server.stop());
  return server;
}

async function open(url: string): Promise<Cache> {
  const cache = await openCache(url, 'test');
  onTestFinished(() => cache.close());
  return cache;
}

const everyCall: readonly (readonly [string, (cache: Cache) => Promise<unknown>])[] = [
  ['get', (cache) => cache.get('key')],
  ['add', (cache) => cache.add('key', 'value', LONG_MS)],
  ['signal', (cache) => cache.signal(['one', 'two'])],
  ['listen', (cache) => cache.listen('channel')],
  ['ping', (cache) => cache.ping()],
  ['get with a version', (cache) => cache.versioned.get('key')],
  ['put', (cache) => cache.versioned.put('key', 'value', 1, LONG_MS)],
  ['outdate', (cache) => cache.versioned.outdate([{ key: 'key', version: 1 }], LONG_MS)],
];

/** Each call alone, so that none hides behind the failure of another. */
async function expectUnavailableWithinASecond(cache: Cache): Promise<void> {
  for (const [name, call] of everyCall) {
    const begun = performance.now();
    await expect(call(cache), name).rejects.toThrow(PortUnavailableError);
    expect(performance.now() - begun, name).toBeLessThan(1_000);
  }
}

describeWithServer('redis', 'the Redis cache', ({ redis }) => {
  it('throws from every call while the server is away, and works by itself when it is back', async () => {
    const server = await startRedis();
    const port = Number(new URL(server.address.url).port);
    const [cache, other] = await Promise.all([open(server.address.url), open(server.address.url)]);
    const listener = await cache.listen('channel');
    await cache.add('before', 'value', LONG_MS);

    await server.stop();
    await expectUnavailableWithinASecond(cache);

    await startRedis(port);
    await expect.poll(() => cache.ping(), { timeout: 10_000 }).toBeUndefined();
    await expect.poll(() => other.ping(), { timeout: 10_000 }).toBeUndefined();
    // Nothing was kept to be sent later, and the server kept nothing either.
    expect(await cache.get('key')).toBeUndefined();
    await cache.add('key', 'value', LONG_MS);
    expect(await other.get('key')).toBe('value');

    // A listener from before hears again, as soon as its connection has told the server.
    const heard = listener.wait(LONG_MS);
    const signals = setInterval(() => void other.signal(['channel']).catch(() => {}), 20);
    expect(await heard).toBe(true);
    clearInterval(signals);
    const next = await cache.listen('channel');
    await other.signal(['channel']);
    expect(await next.wait(LONG_MS)).toBe(true);
  });

  it("counts the tokens of this process alone while the server is away, and everybody's when it is back", async () => {
    const server = await startRedis();
    const [cache, other] = await Promise.all([1, 2].map(() => open(`${server.address.url}?takeWithinMs=800`)));
    const bucket: Bucket = { key: '{t}:bucket', perSecond: 0.001, burst: 2 };
    await cache?.take([bucket]);
    await cache?.take([bucket]);
    await server.stop();
    for (const side of [cache, other]) {
      const takes = [await side?.take([bucket]), await side?.take([bucket]), await side?.take([bucket])];
      expect(takes.map((take) => take?.taken)).toEqual([true, true, false]);
      expect(takes.map((take) => take?.fallback)).toEqual([1, 2, 3].map(() => expect.any(PortUnavailableError) as Error));
    }
    await startRedis(Number(new URL(server.address.url).port));
    await expect.poll(async () => (await cache?.take([bucket]))?.fallback, { timeout: 10_000 }).toBeUndefined();
    await expect.poll(async () => (await other?.take([bucket]))?.fallback, { timeout: 10_000 }).toBeUndefined();
    expect((await other?.take([bucket]))?.taken).toBe(false);
  });

  it('keeps no bucket for longer than it takes to fill', async () => {
    const server = await startRedis();
    const cache = await open(server.address.url);
    const raw = new Redis(server.address.url);
    onTestFinished(() => raw.disconnect());
    await cache.take([{ key: 'slow', perSecond: 0.1, burst: 5 }]);
    expect(await raw.pttl('spanway:cache:test:slow')).toBeGreaterThan(0);
    expect(await raw.pttl('spanway:cache:test:slow')).toBeLessThanOrEqual(10_000);
    await cache.take([{ key: 'quick', perSecond: 1000, burst: 5 }]);
    await expect.poll(() => raw.exists('spanway:cache:test:quick')).toBe(0);
  });

  it('opens where there is no server yet, and works once there is', async () => {
    const server = await startRedis();
    await server.stop();
    const cache = await open(server.address.url);
    await expectUnavailableWithinASecond(cache);
    await startRedis(Number(new URL(server.address.url).port));
    await expect.poll(() => cache.ping(), { timeout: 10_000 }).toBeUndefined();
  });

  it('throws within a second from a server that takes connections and says nothing', async () => {
    const silent = createServer();
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => {
      silent.close();
    });
    const begun = performance.now();
    const cache = await open(`redis://127.0.0.1:${(silent.address() as { port: number }).port}`);
    expect(performance.now() - begun).toBeLessThan(2_000);
    await expectUnavailableWithinASecond(cache);
  });

  it('refuses options it does not know, without repeating the password', async () => {
    const error = await openCache('redis://user:hush-hush@127.0.0.1:1?tls=1', 'test').catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(AdapterConfigError);
    expect(String(error)).not.toContain('hush-hush');
    await expect(openCache('redis://127.0.0.1:1?takeWithinMs=801', 'test')).rejects.toThrow(/takeWithinMs=801.*1 to 800/);
    await expect(openCache('redis:', 'test')).rejects.toThrow(AdapterConfigError);
    await expect(openCache('redis://host/name', 'test')).rejects.toThrow(AdapterConfigError);
  });

  it('says that the password is wrong, and not what it was', async () => {
    const cache = await open(redis.url.replace('redis://', 'redis://somebody:hush-hush@'));
    const error = await cache.get('key').catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(PortUnavailableError);
    expect(String(error)).toContain('WRONGPASS');
    expect(JSON.stringify([error, (error as Error).cause]) + String((error as Error).stack)).not.toContain('hush-hush');
  });

  it('keeps values out of errors', async () => {
    const server = await startRedis();
    const cache = await open(server.address.url);
    const raw = new Redis(server.address.url);
    onTestFinished(() => raw.disconnect());
    // Full: from now on it refuses writes, and ioredis names the whole command in its error.
    await raw.config('SET', 'maxmemory', '1');
    const error = await cache.add('key', 'hush-hush', LONG_MS).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(PortUnavailableError);
    expect(String(error)).toContain('OOM');
    expect(JSON.stringify([error, (error as Error).cause])).not.toContain('hush-hush');
  });

  it('keeps all keys and channels under its prefix, and subscribes to a channel once, while it is listened to', async () => {
    const server = await startRedis();
    const cache = await open(server.address.url);
    const raw = new Redis(server.address.url);
    onTestFinished(() => raw.disconnect());

    await cache.add('key', 'value', LONG_MS);
    const listeners = await Promise.all([cache.listen('channel'), cache.listen('channel')]);
    expect(await raw.keys('*')).toEqual(['spanway:cache:test:key']);
    expect(await raw.pubsub('NUMSUB', 'spanway:cache:test:channel')).toEqual(['spanway:cache:test:channel', 1]);
    expect(await raw.pubsub('CHANNELS')).toEqual(['spanway:cache:test:channel']);

    listeners[0].close();
    // A round trip on the subscriber's connection, so that an UNSUBSCRIBE would have been carried out.
    (await cache.listen('another')).close();
    expect(await raw.pubsub('CHANNELS', 'spanway:cache:test:channel')).toEqual(['spanway:cache:test:channel']);
    listeners[1].close();
    await expect.poll(() => raw.pubsub('CHANNELS')).toEqual([]);
  });
});

describeWithServer('redis', 'the Redis cache on a connection that hangs', ({ redis }) => {
  let proxy: Server;
  let port: number;
  const sockets = new Set<Socket>();
  let hanging = false;

  beforeEach(async () => {
    hanging = false;
    proxy = createServer((socket) => {
      const upstream = connect(Number(new URL(redis.url).port), '127.0.0.1');
      for (const [from, to] of [
        [socket, upstream],
        [upstream, socket],
      ] as const) {
        sockets.add(from);
        from.on('data', (data) => {
          if (!hanging) to.write(data);
        });
        from.on('close', () => to.destroy()).on('error', () => {});
      }
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    ({ port } = proxy.address() as { port: number });
  });
  afterEach(() => {
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });

  it('fails a call that comes while the connection is made anew, rather than keep it', async () => {
    const cache = await open(`redis://127.0.0.1:${port}`);
    for (const socket of sockets) socket.destroy();
    // The first one finds out.
    await expect(cache.add('dropped', 'value', LONG_MS)).rejects.toThrow(PortUnavailableError);
    await expect(cache.add('dropped', 'value', LONG_MS)).rejects.toThrow(PortUnavailableError);
    await expect.poll(() => cache.ping(), { timeout: 10_000 }).toBeUndefined();
    expect(await cache.get('dropped')).toBeUndefined();
  });

  it('takes tokens by itself, soon, from a server that does not answer', async () => {
    const cache = await open(`redis://127.0.0.1:${port}?takeWithinMs=1`);
    hanging = true;
    const taken = await cache.take([{ key: 'hung', perSecond: 1, burst: 1 }]);
    expect(taken).toMatchObject({ taken: true, fallback: { message: 'cache: redis: no answer in 1 ms' } });
    // It does not ask each time.
    expect((await cache.take([{ key: 'hung', perSecond: 1, burst: 1 }])).taken).toBe(false);
  });

  it('throws within a second, and comes back when it moves again', async () => {
    const cache = await open(`redis://127.0.0.1:${port}`);
    await cache.ping();
    hanging = true;
    await expectUnavailableWithinASecond(cache);
    hanging = false;
    await expect.poll(() => cache.ping(), { timeout: 10_000 }).toBeUndefined();
    const listener = await cache.listen('hung');
    await cache.signal(['hung']);
    expect(await listener.wait(LONG_MS)).toBe(true);
  });
});
