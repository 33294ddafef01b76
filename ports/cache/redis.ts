/**
 * A cache in Redis: `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE][?takeWithinMs=N]`, or `rediss://…` for TLS. One server
 * has all of it, its primary where it has replicas; a Redis Cluster is not supported, since scripts take keys of any slot.
 */
import { Redis, type RedisOptions } from 'ioredis';
import { pauseMs } from '../backoff.ts';
import { AdapterConfigError, PortUnavailableError } from '../errors.ts';
import { intervalOf, levelOf, LocalBuckets, TAKE_SCRIPT } from './buckets.ts';
import type { Bucket, Cache, Listener, Taken } from './port.ts';
import { OUTDATE_SCRIPT, PUT_SCRIPT, RedisVersionedValues, type VersionedRedis } from './redis-versioned.ts';
import { Subscriptions } from './redis-subscriptions.ts';

/** Before every key and channel, so that a server can be shared with others. */
function prefixOf(namespace: string): string {
  return `spanway:cache:${namespace}:`;
}

/** The port promises a second; this leaves something for the work around the wait. */
const ANSWER_WITHIN_MS = 800;
/** How long `take` waits for the server, unless the URL says otherwise: long for a server that is near, short for a caller. */
const TAKE_WITHIN_MS = 50;
/** After a `take` that was not answered in time, how long the next ones do not ask. */
const TAKE_ALONE_MS = 1000;
/** Buckets of this process alone, for that time. */
const OWN_BUCKETS = 10_000;
const CONNECT_TIMEOUT_MS = 5_000;
const MAX_RECONNECT_MS = 2_000;

/**
 * Resolves when the server has answered or one connection has failed: with no server at all it opens too, calls
 * throw, and it connects when there is one.
 * @throws AdapterConfigError
 */
export async function openRedisCache(url: URL, namespace: string): Promise<RedisCache> {
  const place = readRedisUrl(url);
  const commands = makeConnection(place);
  const subscriber = makeConnection(place);
  await Promise.all([firstAttempt(commands.redis), firstAttempt(subscriber.redis)]);
  return new RedisCache(commands, subscriber, { prefix: prefixOf(namespace), takeWithinMs: takeWithin(url) });
}

export class RedisCache implements Cache {
  readonly versioned: RedisVersionedValues;
  readonly #commands: Connection;
  readonly #subscriber: Connection;
  readonly #subscriptions: Subscriptions;
  readonly #prefix: string;
  readonly #takeWithinMs: number;
  readonly #ownBuckets = new LocalBuckets(OWN_BUCKETS, () => performance.now());
  #takesAlone: { readonly until: number; readonly why: Error } | undefined;

  constructor(commands: Connection, subscriber: Connection, settings: { readonly prefix: string; readonly takeWithinMs: number }) {
    this.#prefix = settings.prefix;
    this.#takeWithinMs = settings.takeWithinMs;
    this.#commands = commands;
    this.#subscriber = subscriber;
    this.versioned = new RedisVersionedValues(commands.redis, this.#prefix, (call) => answered(commands, call));
    this.#subscriptions = new Subscriptions(subscriber.redis);
  }

  async get(key: string): Promise<string | undefined> {
    return (await answered(this.#commands, this.#commands.redis.get(this.#prefix + key))) ?? undefined;
  }

  async add(key: string, value: string, ttlMs: number): Promise<void> {
    const ttl = Math.floor(ttlMs);
    // Redis refuses a TTL of 0.
    if (ttl >= 1) await answered<unknown>(this.#commands, this.#commands.redis.set(this.#prefix + key, value, 'PX', ttl, 'NX'));
  }

  async signal(channels: readonly string[]): Promise<void> {
    if (channels.length === 0) return;
    const pipeline = this.#commands.redis.pipeline();
    for (const channel of channels) pipeline.publish(this.#prefix + channel, '');
    const published = pipeline.exec().then((results) => {
      const failed = results?.find(([error]) => error !== null);
      if (failed?.[0]) throw failed[0];
    });
    await answered(this.#commands, published);
  }

  listen(channel: string): Promise<Listener> {
    return answered(this.#subscriber, this.#subscriptions.listen(this.#prefix + channel));
  }

  async take(buckets: readonly Bucket[]): Promise<Taken> {
    if (buckets.length === 0) return { taken: true, levels: [] };
    // Closed, not away.
    if (this.#commands.redis.status === 'end') throw new PortUnavailableError('cache', 'redis: it is closed');
    if (!this.#takesAlone || this.#takesAlone.until <= performance.now()) {
      try {
        const taken = await this.#takeThere(buckets);
        this.#takesAlone = undefined;
        return taken;
      } catch (error) {
        this.#takesAlone = { until: performance.now() + TAKE_ALONE_MS, why: error as Error };
      }
    }
    return { ...this.#ownBuckets.take(buckets), fallback: this.#takesAlone.why };
  }

  async #takeThere(buckets: readonly Bucket[]): Promise<Taken> {
    const keys = buckets.map(({ key }) => this.#prefix + key);
    const intervals = buckets.flatMap((bucket) => [intervalOf(bucket), intervalOf(bucket) * bucket.burst]);
    const call = this.#commands.redis.spanwayTake(keys.length, ...keys, ...intervals);
    const [taken, ...fullIn] = await answered(this.#commands, inTime(call, this.#takeWithinMs));
    return { taken: taken === 1, levels: buckets.map((bucket, i) => levelOf(bucket, fullIn[i] ?? 0)) };
  }

  async ping(): Promise<void> {
    await answered(this.#commands, this.#commands.redis.ping());
    // Signals come by the other connection, which can be away alone.
    const { redis, lastError } = this.#subscriber;
    if (redis.status !== 'ready')
      throw new PortUnavailableError('cache', `redis: the connection for signals is away: ${lastError ?? redis.status}`);
  }

  /** Lets calls under way be answered, and ends every wait. */
  async close(): Promise<void> {
    this.#subscriptions.close();
    await Promise.all([this.#commands, this.#subscriber].map(({ redis }) => redis.quit().catch(() => redis.disconnect())));
  }
}

/** Rejects where the call takes longer. An answer that has arrived by then, and waits only for this process, still counts. */
async function inTime<T>(call: Promise<T>, ms: number): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => setImmediate(() => late.reject(new Error(`no answer in ${ms} ms`))), ms);
  try {
    return await Promise.race([call, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** A client that knows the scripts. */
type ScriptedRedis = VersionedRedis & { spanwayTake(keyCount: number, ...keysAndArguments: (string | number)[]): Promise<number[]> };

/** A connection, and why it is away: a call that is made meanwhile says only that it is. */
interface Connection {
  readonly redis: ScriptedRedis;
  lastError: string | undefined;
}

/** The call's answer. Of an error only the text is kept: ioredis hangs the command's arguments on it, a password among them. */
async function answered<T>(connection: Connection, call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    const why = connection.redis.status === 'ready' || connection.lastError === undefined ? text : connection.lastError;
    throw new PortUnavailableError('cache', `redis: ${why}`, { cause: new Error(text) });
  }
}

function makeConnection(place: Place): Connection {
  const redis = new Redis({
    ...place,
    connectTimeout: CONNECT_TIMEOUT_MS,
    // Calls fail at once while it is away: nothing is kept to be sent later.
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    // A server that hangs: the call fails, then the connection is given up and made anew.
    commandTimeout: ANSWER_WITHIN_MS,
    socketTimeout: ANSWER_WITHIN_MS,
    // Subscriptions knows which channels are still wanted.
    autoResubscribe: false,
    retryStrategy: (attempt) => pauseMs({ minMs: 100, maxMs: MAX_RECONNECT_MS }, attempt),
    // After a failover the old primary still answers, and takes no writes.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
  });
  redis.defineCommand('spanwayTake', { lua: TAKE_SCRIPT });
  redis.defineCommand('spanwayPut', { lua: PUT_SCRIPT, numberOfKeys: 1 });
  redis.defineCommand('spanwayOutdate', { lua: OUTDATE_SCRIPT });
  const connection: Connection = { redis: redis as ScriptedRedis, lastError: undefined };
  // Without a listener ioredis would print.
  redis.on('error', (error) => (connection.lastError = error.message));
  redis.on('ready', () => (connection.lastError = undefined));
  return connection;
}

function firstAttempt(redis: Redis): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      redis.off('ready', done).off('close', done);
      resolve();
    };
    const timer = setTimeout(done, ANSWER_WITHIN_MS);
    redis.once('ready', done).once('close', done);
  });
}

function takeWithin(url: URL): number {
  const text = url.searchParams.get('takeWithinMs');
  if (text === null) return TAKE_WITHIN_MS;
  const ms = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (ms >= 1 && ms <= ANSWER_WITHIN_MS) return ms;
  throw new AdapterConfigError(`cache: takeWithinMs=${text} in the ${url.protocol} URL; expected 1 to ${ANSWER_WITHIN_MS}`);
}

type Place = Pick<RedisOptions, 'host' | 'port' | 'username' | 'password' | 'db' | 'tls'>;

function readRedisUrl(url: URL): Place {
  // The URL may hold a password, so it is not repeated.
  const refuse = (why: string) => new AdapterConfigError(`cache: the ${url.protocol} URL ${why}; expected ${url.protocol}//HOST:PORT`);
  if (url.hostname === '') throw refuse('names no host');
  const database = /^\/?(\d{0,4})$/.exec(url.pathname)?.[1];
  if (database === undefined) throw refuse('names a database that is no number');
  return {
    // An IPv6 address stands in brackets.
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: Number(url.port || '6379'),
    ...(url.username === '' ? {} : { username: decodeURIComponent(url.username) }),
    ...(url.password === '' ? {} : { password: decodeURIComponent(url.password) }),
    db: Number(database),
    ...(url.protocol === 'rediss:' ? { tls: {} } : {}),
  };
}
