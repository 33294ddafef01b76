import type { LightMyRequestResponse } from 'fastify';
import { afterEach, expect, it } from 'vitest';
import type { Cache } from '../../ports/cache/port.ts';
import type { Rates } from '../../producers/gateway/rate-limits.ts';
import { boundCache } from '../fixtures/caches.ts';
import { startTestGateway, type TestGateway } from '../fixtures/gateways.ts';

let gateway: TestGateway | undefined;
afterEach(async () => {
  await gateway?.close();
  gateway = undefined;
});

/** Nothing flows in while a test runs. */
const slow = (burst: number) => ({ perSecond: 0.01, burst });

type Who = Parameters<TestGateway['token']>[0];

async function start(rates: Rates, more: Parameters<typeof startTestGateway>[0] = {}) {
  const started = await startTestGateway({ ...more, settings: { rates: () => rates } });
  gateway = started;
  const call = async (method: 'GET' | 'PUT', who: Who = {}): Promise<LightMyRequestResponse> =>
    started.call({
      method,
      url: '/v1/orders/o1',
      ...(method === 'PUT' ? { payload: { customer: 'c1', status: 'open' } } : {}),
      headers: { authorization: `Bearer ${await started.token(who)}` },
    });
  return { write: (who?: Who) => call('PUT', who), read: (who?: Who) => call('GET', who) };
}

const statuses = (answers: readonly LightMyRequestResponse[]): number[] => answers.map(({ statusCode }) => statusCode);

it('a batch of reads is a read, and another POST a write', async () => {
  const started = await startTestGateway({ settings: { rates: () => ({ tenantReads: slow(5), tenantWrites: slow(9) }) } });
  gateway = started;
  const post = async (url: string, payload: object): Promise<unknown> =>
    (await started.call({ method: 'POST', url, payload })).headers['ratelimit'];
  expect(await post('/v1/orders:batchGet', { keys: ['o1'] })).toBe('"tenant-reads";r=4;t=100');
  expect(await post('/v1/orders', { orderId: 'o1', customer: 'c1', status: 'open' })).toBe('"tenant-writes";r=8;t=100');
});

it('without limits, answers have no header of any', async () => {
  const { write } = await start({});
  const answer = await write();
  expect(answer.statusCode).toBe(202);
  expect(answer.headers).not.toHaveProperty('ratelimit');
  expect(answer.headers).not.toHaveProperty('ratelimit-policy');
});

it('a caller has its burst and then gets 429, with what it needs to come back', async () => {
  const lines: Record<string, unknown>[] = [];
  const { write } = await start({ tenantWrites: slow(10), callerWrites: slow(2) }, { onLog: (line) => lines.push(line) });
  const first = await write();
  expect(first.statusCode).toBe(202);
  expect(first.headers['ratelimit-policy']).toBe('"tenant-writes";q=10;w=1000, "caller-writes";q=2;w=200');
  expect(first.headers['ratelimit']).toBe('"tenant-writes";r=9;t=100, "caller-writes";r=1;t=100');
  await write();
  const refused = await write();
  expect(refused.statusCode).toBe(429);
  expect(refused.headers['content-type']).toMatch(/^application\/problem\+json/);
  expect(refused.headers['retry-after']).toBe('100');
  // Nothing was taken from the tenant for it.
  expect(refused.headers['ratelimit']).toMatch(/^"tenant-writes";r=8;t=\d+, "caller-writes";r=0;t=100$/);
  expect(refused.json()).toMatchObject({
    type: '/problems/rate_limited',
    status: 429,
    detail: 'too many requests for caller-writes; there is room again in 100 s',
    correlationId: refused.headers['correlation-id'],
    'violated-policies': ['caller-writes'],
  });
  expect(lines.filter((line) => line['decision'] === 'deny')).toMatchObject([
    { reason: 'rate_limited', policies: ['caller-writes'], tenant: 't1', subject: 'me', correlationId: refused.headers['correlation-id'] },
  ]);
  expect((await gateway?.queued())?.length).toBe(2);
});

it('a refused write is not read: not even its faults are found', async () => {
  const { write } = await start({ callerWrites: slow(1) });
  await write();
  const answer = await gateway?.call({
    method: 'PUT',
    url: '/v1/orders/o1',
    payload: '{',
    headers: { 'content-type': 'application/json' },
  });
  expect(answer?.statusCode).toBe(429);
});

it('writes and reads, callers and tenants have buckets of their own', async () => {
  const { write, read } = await start({ tenantWrites: slow(3), callerWrites: slow(2), callerReads: slow(1) });
  const one = { subject: 'one' };
  expect(statuses([await write(one), await write(one), await write(one)])).toEqual([202, 202, 429]);
  expect(statuses([await read(one), await read(one)])).toEqual([404, 429]);
  const two = [await write({ subject: 'two' }), await write({ subject: 'two' })];
  expect(statuses(two)).toEqual([202, 429]);
  expect(two[1]?.json()).toMatchObject({ 'violated-policies': ['tenant-writes'] });
  expect((await write({ subject: 'one', tenant: 't2' })).statusCode).toBe(202);
});

it('an agent has a bucket of its own, beside that of whom it acts for', async () => {
  const { write } = await start({ callerWrites: slow(3), agentWrites: slow(2) });
  const robot = (subject: string) => ({ subject, actor: 'robot' });
  const first = await write(robot('one'));
  expect(first.headers['ratelimit']).toBe('"caller-writes";r=2;t=100, "agent-writes";r=1;t=100');
  expect((await write(robot('two'))).statusCode).toBe(202);
  const third = await write(robot('one'));
  expect(third.json()).toMatchObject({ status: 429, 'violated-policies': ['agent-writes'] });
  // The person goes on without it, and has lost to it what it took; another agent has its own.
  expect(statuses([await write({ subject: 'one' }), await write({ subject: 'one', actor: 'other' })])).toEqual([202, 202]);
  expect((await write({ subject: 'one' })).json()).toMatchObject({ 'violated-policies': ['caller-writes'] });
});

it('a tenant is named in one way in its keys, and no two tenants share a bucket', async () => {
  const keys: string[] = [];
  const cache = (real: Cache): Cache => ({
    ...boundCache(real),
    take: (buckets) => {
      keys.push(...buckets.map(({ key }) => key));
      return real.take(buckets);
    },
  });
  const { write } = await start({ tenantWrites: slow(1), callerWrites: slow(5) }, { cache });
  for (const tenant of ['}', 'a}b', 'a', 'b:caller:writes']) expect((await write({ tenant })).statusCode, tenant).toBe(202);
  expect(new Set(keys).size).toBe(8);
  expect(keys.map((key) => key.split(':')[1])).toEqual([
    '%7D',
    '%7D',
    'a%7Db',
    'a%7Db',
    'a',
    'a',
    'b%3Acaller%3Awrites',
    'b%3Acaller%3Awrites',
  ]);
});

it('says once that the cache is away and once that it is back, and counts meanwhile', async () => {
  const lines: Record<string, unknown>[] = [];
  let away = false;
  const cache = (real: Cache): Cache => ({
    ...boundCache(real),
    take: async (buckets) => ({ ...(await real.take(buckets)), ...(away ? { fallback: new Error('gone') } : {}) }),
  });
  const { write } = await start({ callerWrites: slow(5) }, { cache, onLog: (line) => lines.push(line) });
  await write();
  away = true;
  await write();
  await write();
  away = false;
  await write();
  await write();
  expect((await write()).statusCode).toBe(429);
  expect(lines.filter((line) => 'rateLimits' in line).map(({ rateLimits }) => rateLimits)).toEqual(['process', 'shared']);
});

it('does not count health checks and documents', async () => {
  const { read } = await start({ tenantReads: slow(1), callerReads: slow(1) });
  await read();
  expect((await read()).statusCode).toBe(429);
  for (const url of ['/healthz', '/readyz', '/openapi.json', '/problems/rate_limited']) {
    const answer = await gateway?.app.inject(url);
    expect(answer?.statusCode, url).toBe(200);
  }
});
