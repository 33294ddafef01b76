/**
 * Reads over HTTP, the load generator on the same machine. Rows from the cache against a bare Fastify route that returns
 * the same JSON; rows from Google's Spanner emulator against one `table.read` for each request; and what writes at full
 * speed do to the slowest of a hundred reads.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startLocalServers } from '../cli/local-servers/index.ts';
import orders from '../schemas/orders.ts';
import { COMMIT_TIMESTAMP } from '../schemas/resource/table.ts';
import { ownSecrets } from '../test/fixtures/real-adapters.ts';
import { preparedStore, spannerUrl } from '../test/fixtures/stores.ts';
import { Client, prepareRoles, startDev, type Stack } from '../test/fixtures/stacks.ts';
import { inFolder } from './parts/folder.ts';
import { ready } from './parts/gateway.ts';
import { httpLoad } from './parts/http-load.ts';
import { percentile, rate, ratioInTurns } from './parts/measure.ts';
import type { Results } from './run.ts';

const CALLERS = 64;
const READS = 20_000;
const CACHED_READS = 60_000;
const CACHED_RUNS = 5;
const SPANNER_RUNS = 3;
const SPANNER_ROWS = 500;
const SPANNER_WARM_UP = 1_000;
const SPANNER_READS = 2_000;
/** Enough of them to keep the queue and the applier busy. */
const WRITERS = 16;
const QUIET = { SPANWAY_LOG_LEVEL: 'warn' };

/** The example orders, kept in the cache. */
const KEPT = `import { defineResource, field, Type } from 'spanway';
export default defineResource({
  name: 'kept-orders',
  key: ['orderId'],
  schema: Type.Object({
    orderId: Type.String({ maxLength: 64 }),
    customer: Type.String({ maxLength: 200 }),
    status: Type.Enum(['open', 'paid', 'shipped', 'cancelled']),
    total: Type.Optional(field.numeric()),
    note: Type.Optional(Type.String({ maxLength: 2000 })),
    updatedAt: field.commitTimestamp(),
  }),
  cache: { seconds: 3600 },
  access: [{ actions: ['read', 'upsert'], scope: 'orders:read' }],
});
`;

/** By the names that `npm run bench -- read [NAME…]` takes; without one, all. */
const PARTS = { cached: measureCached, writes: measureUnderWrites, spanner: measureSpanner };

export async function bench(say: (line: string) => void, args: readonly string[]): Promise<Results> {
  const results: Results[] = [];
  for (const [name, measure] of Object.entries(PARTS))
    if (args.length === 0 || args.includes(name)) results.push(await inFolder((folder) => measure(say, folder)));
  return {
    figures: Object.assign({}, ...results.map(({ figures }) => figures)) as Results['figures'],
    ratios: Object.assign({}, ...results.map(({ ratios }) => ratios)) as Results['ratios'],
  };
}

async function measureCached(say: (line: string) => void, folder: string): Promise<Results> {
  await mkdir(join(folder, 'schemas'));
  await writeFile(join(folder, 'schemas', 'kept-orders.ts'), KEPT);
  const stack = await startDev(folder, [], QUIET);
  try {
    const order = { customer: 'customer-1', status: 'open', total: '12.50', note: 'by the door' };
    await stack.client.call('PUT', '/v1/kept-orders/o1', { body: order, headers: { prefer: 'wait=10' } });
    const row = await stack.client.call('GET', '/v1/kept-orders/o1');
    if (row.status !== 200) throw new Error(JSON.stringify(row.body));
    const headers = { 'read-consistency': 'max-staleness=3600' };
    // The same request, token and all, in turns, so that both meet the same machine.
    const rates = { cached: [] as number[], bare: [] as number[] };
    await withBaseline([JSON.stringify(row.body)], async (baseline) => {
      for (let run = 0; run <= CACHED_RUNS; run += 1) {
        const cached = await reads(stack.client, '/v1/kept-orders/o1', CACHED_READS, headers);
        const bare = await reads(stack.client, '/bare', CACHED_READS, headers, baseline);
        // The first warms up.
        if (run === 0) continue;
        rates.cached.push(cached);
        rates.bare.push(bare);
      }
    });
    const [cached, bare] = [percentile(rates.cached, 50), percentile(rates.bare, 50)];
    say(`embedded: ${cached.toFixed(0)} rows/s from the cache; a bare Fastify route: ${bare.toFixed(0)}/s`);
    return { figures: { cached, bare }, ratios: { cachedVsBareRoute: ratioInTurns(rates.cached, rates.bare) } };
  } finally {
    await stack.stop();
  }
}

async function measureUnderWrites(say: (line: string) => void, folder: string): Promise<Results> {
  const stack = await startDev(folder, [], QUIET);
  try {
    const { quietP99Ms, busyP99Ms } = await underWrites(say, stack);
    return { figures: { quietP99Ms, busyP99Ms }, ratios: { p99UnderWrites: busyP99Ms / quietP99Ms } };
  } finally {
    await stack.stop();
  }
}

/** Strong reads of random rows, with and without writers. */
async function underWrites(say: (line: string) => void, stack: Stack): Promise<{ quietP99Ms: number; busyP99Ms: number }> {
  const headers = { authorization: `Bearer ${await stack.client.token()}`, 'content-type': 'application/json' };
  const body = JSON.stringify({ customer: 'customer-1', status: 'open', total: '12.50' });
  const ids = Array.from({ length: 1000 }, () => randomUUID());
  let next = 0;
  const write = (amount: number): Promise<unknown> =>
    httpLoad({
      url: stack.url,
      connections: WRITERS,
      amount,
      request: () => ({ method: 'PUT', path: `/v1/orders/${ids[(next += 1) % ids.length] ?? ''}`, headers, body }),
    });
  await write(ids.length);
  const last = await stack.client.call('PUT', '/v1/orders/last', { body: JSON.parse(body), headers: { prefer: 'wait=30' } });
  if (last.body['status'] !== 'applied') throw new Error(JSON.stringify(last.body));
  const p99 = async (): Promise<number> => {
    const took: number[] = [];
    await readsOf(
      stack.url,
      () => `/v1/orders/${ids[(next += 1) % ids.length] ?? ''}`,
      READS,
      headers,
      (ms) => took.push(ms),
    );
    return percentile(took, 99);
  };
  await p99();
  const quietP99Ms = await p99();
  const reading = new AbortController();
  let written = 0;
  const begun = performance.now();
  const writes = (async () => {
    while (!reading.signal.aborted) {
      await write(500);
      written += 500;
    }
  })();
  const busyP99Ms = await p99();
  reading.abort();
  await writes;
  const perSecond = (written / (performance.now() - begun)) * 1000;
  say(`embedded: p99 of a read ${quietP99Ms.toFixed(1)} ms; beside ${perSecond.toFixed(0)} writes/s ${busyP99Ms.toFixed(1)} ms`);
  return { quietP99Ms, busyP99Ms };
}

/** In turns, each on an emulator of its own: it gets slower with every read that it has answered. */
async function measureSpanner(say: (line: string) => void, folder: string): Promise<Results> {
  const runs: { coalesced: number[]; single: number[] } = { coalesced: [], single: [] };
  for (let run = 1; run <= SPANNER_RUNS; run += 1) {
    const coalesced = await onNewSpanner(say, (url, ids) => throughGateway(join(folder, String(run)), url, ids));
    const single = await onNewSpanner(say, oneByOne);
    if (coalesced === undefined || single === undefined) return { figures: {}, ratios: {} };
    runs.coalesced.push(coalesced);
    runs.single.push(single);
  }
  const [coalesced, single] = [percentile(runs.coalesced, 50), percentile(runs.single, 50)];
  say(`Spanner emulator, ${CALLERS} callers: ${coalesced.toFixed(0)} rows/s; one table.read each: ${single.toFixed(0)}/s`);
  return { figures: { coalesced, single }, ratios: { coalescedVsSingle: coalesced / single } };
}

/** `measure` on an emulator whose orders have some rows, of these ids. Undefined where there is no emulator. */
async function onNewSpanner(
  say: (line: string) => void,
  measure: (url: string, ids: readonly string[]) => Promise<number>,
): Promise<number | undefined> {
  const { servers, missing, stop } = await startLocalServers({ only: ['spanner'], log: () => undefined });
  try {
    if (!servers.spanner) {
      say(`not measured on Spanner's emulator, which is missing: ${JSON.stringify(missing)}`);
      return undefined;
    }
    const url = spannerUrl(servers.spanner.host);
    const ids = Array.from({ length: SPANNER_ROWS }, () => randomUUID());
    const store = await preparedStore(url);
    const columns = ['tenant', 'order_id', 'customer', 'status', 'total', 'updated_at'];
    await store.commit(
      ids.map((id) => ({
        op: 'insert',
        table: orders.table,
        columns,
        values: ['t1', id, 'customer-1', 'open', '12.5', COMMIT_TIMESTAMP],
      })),
      { tag: 'bench' },
    );
    await store.close();
    return await measure(url, ids);
  } finally {
    await stop();
  }
}

async function throughGateway(folder: string, url: string, ids: readonly string[]): Promise<number> {
  await mkdir(folder, { recursive: true });
  const roles = await prepareRoles(folder, { ...ownSecrets(), SPANWAY_STORE: url, ...QUIET });
  const commands = (['issuer', 'gateway'] as const).map(roles.start);
  try {
    const client = new Client(roles.url, folder);
    await ready(client, commands);
    return await warmReads((amount) => reads(client, () => `/v1/orders/${pick(ids)}`, amount));
  } finally {
    for (const command of commands.reverse()) await command.stop();
  }
}

async function oneByOne(url: string, ids: readonly string[]): Promise<number> {
  const { host: project, pathname, searchParams } = new URL(url);
  const [instance = '', database = ''] = pathname.slice(1).split('/');
  return withBaseline(['{}', searchParams.get('emulator') ?? '', project, instance, database], (baseline) =>
    warmReads((amount) => readsOf(baseline, () => `/single/${pick(ids)}`, amount, {})),
  );
}

/** Of a process that is new. */
async function warmReads(read: (amount: number) => Promise<number>): Promise<number> {
  await read(SPANNER_WARM_UP);
  return read(SPANNER_READS);
}

function pick(ids: readonly string[]): string {
  return ids[Math.floor(Math.random() * ids.length)] ?? '';
}

async function reads(
  client: Client,
  path: string | (() => string),
  amount: number,
  headers: Record<string, string> = {},
  url = client.url,
): Promise<number> {
  const authorization = `Bearer ${await client.token()}`;
  return readsOf(url, typeof path === 'string' ? () => path : path, amount, { authorization, ...headers });
}

async function readsOf(
  url: string,
  path: () => string,
  amount: number,
  headers: Record<string, string>,
  onAnswer: (tookMs: number) => void = () => undefined,
): Promise<number> {
  let statuses: ReadonlyMap<number, number> = new Map();
  const perSecond = await rate(amount, async () => {
    statuses = await httpLoad({
      url,
      connections: CALLERS,
      amount,
      request: () => ({ method: 'GET', path: path(), headers, body: '' }),
      onAnswer,
    });
  });
  if (statuses.get(200) !== amount) throw new Error(`not all of ${amount} reads were answered: ${JSON.stringify([...statuses])}`);
  return perSecond;
}

async function withBaseline<T>(args: readonly string[], work: (url: string) => Promise<T>): Promise<T> {
  const child: ChildProcess = fork(fileURLToPath(new URL('parts/read-baseline.ts', import.meta.url)), [...args]);
  try {
    const url = await new Promise<string>((resolve, reject) => {
      child.once('message', (message) => resolve(message as string));
      child.once('exit', () => reject(new Error('the baseline has ended')));
    });
    return await work(url);
  } finally {
    child.kill();
  }
}
