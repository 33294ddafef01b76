/** Concurrent writers and readers through a whole Spanway, and what its answers have of what no consistency allows. */
import type { AddressInfo } from 'node:net';
import type { LightMyRequestResponse } from 'fastify';
import { startLocalServer } from '../../cli/local-servers/index.ts';
import { Rng } from '../../ports/rng.ts';
import { type Reading, violationsOf } from './model.ts';
import { read } from './readers.ts';
import { SCOPES, startSystem } from './system.ts';
import { ITEMS, type Sent, write } from './writers.ts';

export interface Request {
  readonly method: string;
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly payload?: object;
}

export type Answer = Pick<LightMyRequestResponse, 'statusCode' | 'headers' | 'body' | 'json'>;

/** A request of a tenant, over HTTP. */
export type Call = (tenant: string, request: Request) => Promise<Answer>;

export interface ModelOptions {
  readonly seed: number;
  /** URLs. */
  readonly store: string;
  readonly cache: string;
  /** Whether the rows are kept in the cache. */
  readonly cached: boolean;
  /** Of each writer; there are eight. */
  readonly writes: number;
  /** What happens once this part of the writes was sent. */
  readonly events?: readonly { readonly part: number; readonly happens: () => Promise<unknown> }[];
}

export interface ModelReport {
  readonly violations: readonly string[];
  readonly writes: number;
  readonly reads: number;
  /** Of them, those that the cache answered. */
  readonly fromCache: number;
}

/** By their names, what is between the reads and the store. */
export const CACHES = {
  none: (run) => run({ cache: 'memory:', cached: false }),
  memory: (run) => run({ cache: 'memory:', cached: true }),
  'redis-dies': (run) => withMortalRedis(run, false),
  'redis-comes-back': (run) => withMortalRedis(run, true),
} satisfies Record<string, (run: RunWith) => Promise<ModelReport>>;

type RunWith = (options: Pick<ModelOptions, 'cache' | 'cached' | 'events'>) => Promise<ModelReport>;

/** A Redis of its own, which is killed half-way, and may come back. */
async function withMortalRedis(run: RunWith, comesBack: boolean): Promise<ModelReport> {
  const start = async (port?: number) => {
    const started = await startLocalServer('redis', { log: () => {}, ...(port === undefined ? {} : { port }) });
    if (typeof started === 'string') throw new Error(started);
    return started;
  };
  let redis = await start();
  const { url } = redis.address;
  const killed = { part: 0.5, happens: () => redis.stop() };
  const back = { part: 0.7, happens: async () => (redis = await start(Number(new URL(url).port))) };
  try {
    return await run({ cache: url, cached: true, events: comesBack ? [killed, back] : [killed] });
  } finally {
    await redis.stop();
  }
}

/** They use the same keys. */
const TENANTS = ['t1', 't2'];
const READERS = 8;

export async function runModel({ seed, writes, events = [], ...where }: ModelOptions): Promise<ModelReport> {
  const { gateway, commits, stop } = await startSystem({ ...where, rng: new Rng(seed, 'hops') });
  try {
    const tokens = new Map<string, string>();
    for (const tenant of TENANTS) tokens.set(tenant, `Bearer ${await gateway.token({ tenant, scopes: SCOPES, ttlSeconds: 36_000 })}`);
    await gateway.app.listen({ host: '127.0.0.1', port: 0 });
    const { port } = gateway.app.server.address() as AddressInfo;
    const call: Call = async (tenant, { method, url, headers, payload }) => {
      const answer = await fetch(`http://127.0.0.1:${port}${url}`, {
        method,
        headers: { authorization: tokens.get(tenant) ?? '', ...headers, ...(payload ? { 'content-type': 'application/json' } : {}) },
        ...(payload ? { body: JSON.stringify(payload) } : {}),
      });
      const body = await answer.text();
      return { statusCode: answer.status, headers: Object.fromEntries(answer.headers), body, json: () => JSON.parse(body) as never };
    };
    const sent: Sent[] = [];
    const readings: Reading[] = [];
    const happenings: Promise<unknown>[] = [];
    const left = [...events].sort((a, b) => a.part - b.part);
    const total = TENANTS.length * ITEMS.length * writes;
    let [last, over] = [0, false];
    const perTenant = new Map(TENANTS.map((tenant) => [tenant, [] as Sent[]]));
    const writers = TENANTS.flatMap((tenant) =>
      ITEMS.map((item) =>
        write({
          tenant,
          item,
          amount: writes,
          rng: new Rng(seed, `writer ${tenant} ${item}`),
          call,
          next: () => (last += 1),
          onSent: (one) => {
            sent.push(one);
            perTenant.get(tenant)?.push(one);
            while (left[0] && sent.length >= left[0].part * total) happenings.push((left.shift() as (typeof left)[0]).happens());
          },
        }),
      ),
    );
    const readers = TENANTS.flatMap((tenant) =>
      Array.from({ length: READERS }, (_, i) =>
        read({
          tenant,
          rng: new Rng(seed, `reader ${tenant} ${i}`),
          call,
          sent: perTenant.get(tenant) ?? [],
          isOver: () => over,
          onRead: (reading) => readings.push(reading),
        }),
      ),
    );
    const done = Promise.all(writers)
      .then(() => Promise.all([...happenings, ...sent.map(({ written }) => written)]))
      .finally(() => (over = true));
    // A reader that fails ends the run; the others end with the writers.
    await Promise.all([done, ...readers]);
    return {
      violations: await violationsOf(await Promise.all(sent.map(({ written }) => written)), commits, readings),
      writes: sent.length,
      reads: readings.length,
      fromCache: readings.filter(({ request }) => request.endsWith('spanway; hit')).length,
    };
  } finally {
    await stop();
  }
}
