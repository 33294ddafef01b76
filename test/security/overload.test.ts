/** More than the gateway can take: what it takes is bounded in time and applied, and what it does not take is told so. */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, expect, it, onTestFinished } from 'vitest';
import { startLocalServer } from '../../cli/local-servers/index.ts';
import { openQueue } from '../../ports/queue/index.ts';
import type { Queue } from '../../ports/queue/port.ts';
import { startTestGateway, type TestGateway } from '../fixtures/gateways.ts';
import { startConsumers } from '../fixtures/consumers.ts';
import { bound } from '../fixtures/queues.ts';
import { resources } from '../fixtures/stores.ts';
import { describeWithServer } from '../servers.ts';

interface Answer {
  readonly key: string;
  readonly status: number;
  readonly ms: number;
  readonly retryAfter: string | null;
  readonly body: { readonly type?: string; readonly detail?: string; readonly statusUrl?: string };
}

const order = { customer: 'c1', status: 'open' };

async function start(options: Parameters<typeof startTestGateway>[0]): Promise<TestGateway & { readonly url: string }> {
  const gateway = await startTestGateway(options);
  onTestFinished(() => gateway.close());
  await gateway.app.listen({ host: '127.0.0.1', port: 0 });
  return { ...gateway, url: `http://127.0.0.1:${(gateway.app.server.address() as AddressInfo).port}` };
}

async function put(url: string, key: string, authorization: string): Promise<Answer> {
  const begun = performance.now();
  const response = await fetch(`${url}/v1/orders/${key}`, {
    method: 'PUT',
    headers: { authorization, 'content-type': 'application/json' },
    body: JSON.stringify(order),
  });
  const body = (await response.json()) as Answer['body'];
  return { key, status: response.status, ms: performance.now() - begun, retryAfter: response.headers.get('retry-after'), body };
}

describe('five times as many writes as the queue takes', () => {
  const SEND_MS = 100;
  const PER_SEND = 2;
  const CAPACITY = (1000 / SEND_MS) * PER_SEND;
  const SECONDS = 4;
  /** The machine that runs the tests may be slow. What is unbounded would take SECONDS × 5 and more. */
  const SLACK_MS = 2500;
  const settings = { maxSends: 1, maxPackEnvelopes: 1, maxPending: 20, acceptTimeoutMs: 800 };
  /** A queue that takes two writes in a tenth of a second, and not one more. */
  const slow = (queue: Queue): Queue => ({
    ...bound(queue),
    capabilities: { ...queue.capabilities, maxBatchCount: PER_SEND },
    async send(entries) {
      await sleep(SEND_MS);
      return queue.send(entries);
    },
  });

  it('are accepted in bounded time and applied, or refused with 429 or 503, while reads go on', async () => {
    const callerWrites = { perSecond: CAPACITY, burst: CAPACITY };
    const gateway = await start({ queue: slow, settings: { ...settings, rates: () => ({ callerWrites }) } });
    const callers = await Promise.all(['a', 'b', 'greedy'].map(async (subject) => `Bearer ${await gateway.token({ subject })}`));
    const [a = '', b = '', greedy = ''] = callers;
    // Three of five come from one caller, who may send as much as the queue takes in all.
    const turns = [greedy, a, greedy, b, greedy];

    const answers: Promise<Answer>[] = [];
    const reads: Promise<{ status: number; ms: number }>[] = [];
    const begun = performance.now();
    for (let elapsed = 0; elapsed < SECONDS * 1000; elapsed = performance.now() - begun) {
      // Open loop: by the clock, whether or not earlier ones were answered.
      while (answers.length < (elapsed / 1000) * CAPACITY * 5) {
        answers.push(put(gateway.url, `k${answers.length}`, turns[answers.length % turns.length] ?? ''));
      }
      const asked = performance.now();
      reads.push(
        fetch(`${gateway.url}/v1/orders/k0`, { headers: { authorization: a } }).then(async (response) => {
          await response.arrayBuffer();
          return { status: response.status, ms: performance.now() - asked };
        }),
      );
      await sleep(50);
    }
    const all = await Promise.all(answers);
    const byStatus = Object.groupBy(all, ({ status }) => status);
    const { 202: accepted = [], 429: limited = [], 503: shed = [], ...others } = byStatus;
    expect(Object.keys(others)).toEqual([]);
    expect(accepted.length).toBeGreaterThan(0);
    expect(limited.length).toBeGreaterThan(0);
    expect(shed.length).toBeGreaterThan(0);

    // A turn in time, and an answer in time.
    expect(Math.max(...accepted.map(({ ms }) => ms))).toBeLessThan(2 * settings.acceptTimeoutMs + SLACK_MS);
    for (const { retryAfter, body, status } of [...limited, ...shed]) {
      expect(Number(retryAfter)).toBeGreaterThanOrEqual(1);
      expect(body.type).toBe(status === 429 ? '/problems/rate_limited' : '/problems/unavailable');
      if (status === 503) expect(body.detail).toMatch(/not accepted|may have been accepted/);
    }
    for (const read of await Promise.all(reads)) {
      expect([200, 404]).toContain(read.status);
      expect(read.ms).toBeLessThan(SLACK_MS);
    }

    const pipeline = await startConsumers(gateway);
    onTestFinished(() => pipeline.stop());
    for (const { key, body } of accepted) {
      await expect
        .poll(
          async () => {
            const response = await fetch(gateway.url + (body.statusUrl ?? ''), { headers: { authorization: a } });
            return ((await response.json()) as { status: string }).status;
          },
          { timeout: 20_000, message: key },
        )
        .toBe('applied');
    }
    const { table } = resources.get('orders') ?? expect.unreachable();
    const rows = await gateway.store.read(
      table,
      all.map(({ key }) => ['t1', key]),
      ['order_id'],
    );
    const there = new Set(all.filter((_, i) => rows[i] !== undefined).map(({ key }) => key));
    for (const { key } of accepted) expect(there, key).toContain(key);
    const surelyNot = [...limited, ...shed.filter(({ body }) => body.detail?.includes('not accepted') === true)];
    expect(surelyNot.filter(({ key }) => there.has(key))).toEqual([]);
  });
});

describe('a queue that has as many writes as it may', () => {
  it('is no matter to reads, several in a POST too', async () => {
    const [gate, sending] = [Promise.withResolvers<undefined>(), Promise.withResolvers<undefined>()];
    const gateway = await start({
      queue: (queue) => ({
        ...bound(queue),
        send: (entries) => {
          sending.resolve(undefined);
          return gate.promise.then(() => queue.send(entries));
        },
      }),
      settings: { maxPending: 1, acceptTimeoutMs: 20_000, maxLoopDelayMs: 20_000 },
    });
    const write = () => gateway.call({ method: 'PUT', url: '/v1/orders/o1', payload: order });
    const first = write();
    await sending.promise;
    expect((await write()).statusCode).toBe(503);
    expect((await gateway.call({ method: 'GET', url: '/v1/orders' })).statusCode).toBe(200);
    expect((await gateway.call({ method: 'POST', url: '/v1/orders:batchGet', payload: { keys: ['o1'] } })).statusCode).toBe(200);
    gate.resolve(undefined);
    expect((await first).statusCode).toBe(202);
  });
});

describe('an event loop that is late', () => {
  it('takes no writes until it is in time again, and answers reads', async () => {
    const gateway = await start({ settings: { maxLoopDelayMs: 40 } });
    const write = () => gateway.call({ method: 'PUT', url: '/v1/orders/o1', payload: order });
    const occupy = (): void => {
      const until = performance.now() + 100;
      while (performance.now() < until);
    };
    const busy = setInterval(occupy, 1);
    await expect
      .poll(async () => (await write()).json<unknown>(), { timeout: 15_000 })
      .toMatchObject({
        status: 503,
        detail: 'the gateway is busy; the write was not accepted',
      });
    const refused = await write();
    expect(Number(refused.headers['retry-after'])).toBeGreaterThanOrEqual(1);
    expect((await gateway.call({ method: 'GET', url: '/v1/orders/none' })).statusCode).toBe(404);
    expect((await gateway.call({ method: 'POST', url: '/v1/orders:batchGet', payload: { keys: ['o1'] } })).statusCode).toBe(200);
    expect((await gateway.app.inject('/healthz')).statusCode).toBe(200);
    clearInterval(busy);
    await expect.poll(async () => (await write()).statusCode, { timeout: 15_000 }).toBe(202);
  });
});

describe('a request that does not arrive', () => {
  it.each([
    ['in its headers', (token: string) => `PUT /v1/orders/o1 HTTP/1.1\r\nHost: x\r\nAuthorization: ${token}\r\n`],
    [
      'in its body',
      (token: string) =>
        `PUT /v1/orders/o1 HTTP/1.1\r\nHost: x\r\nAuthorization: ${token}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"cust`,
    ],
  ])('%s gets 408, and its connection is closed', async (_where, head) => {
    const gateway = await start({ settings: { requestTimeoutSeconds: 1 } });
    const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1');
    socket.write(head(`Bearer ${await gateway.token()}`));
    const [line = '', ...rest] = (await text(socket)).split('\r\n');
    expect(line).toBe('HTTP/1.1 408 Request Timeout');
    expect(JSON.parse(rest.at(-1) ?? '')).toMatchObject({ type: '/problems/invalid_parameter', status: 408 });
  });
});

describe('a connection on which no byte moves', () => {
  it('is closed where its client sends requests and reads no answer, and makes room for others', async () => {
    const logged: Record<string, unknown>[] = [];
    const gateway = await start({ settings: { stalledAfterMs: 500, maxConnections: 3 }, onLog: (line) => logged.push(line) });
    const { server } = gateway.app;
    const closed: Promise<unknown>[] = [];
    server.on('connection', (socket) => closed.push(once(socket, 'close')));
    const { port } = server.address() as AddressInfo;
    const large = 'GET /docs/static/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(500);
    for (let i = 0; i < 3; i += 1) {
      const socket = connect(port, '127.0.0.1').pause();
      // It may be told of the end while it sends.
      socket.on('error', () => undefined);
      onTestFinished(() => void socket.destroy());
      socket.write(large);
    }
    await expect.poll(() => closed.length).toBe(3);
    await Promise.all(closed);
    expect((await fetch(`${gateway.url}/healthz`)).status).toBe(200);
    expect(logged.filter(({ level }) => Number(level) >= 50)).toEqual([]);
  });

  it('is kept for as long as a request may wait', async () => {
    const settings = { maxWaitSeconds: 600, acceptTimeoutMs: 60_000, readTimeoutMs: 5000 };
    const gateway = await start({ settings });
    expect(gateway.app.server.timeout).toBeGreaterThan(600_000 + 2 * 60_000 + 5000);
    const late = await start({ settings: { requestTimeoutSeconds: 600 } });
    expect(late.app.server.timeout).toBeGreaterThan(600_000);
  });
});

describeWithServer('sqs', 'a queue that is dead', () => {
  it('gets its writes 503, in bounded time, and 202 once it is back', async () => {
    const first = await startLocalServer('sqs', { log: () => {} });
    if (typeof first === 'string') throw new Error(first);
    await first.stop();
    const queueUrl = `sqs:${first.address.endpoint}/000000000000/overload.fifo?region=us-east-1&credentials=local`;
    const queue = await openQueue(queueUrl);
    onTestFinished(() => queue.close());
    const gateway = await start({ queue: () => queue, settings: { acceptTimeoutMs: 1000, maxPending: 20 } });
    const authorization = `Bearer ${await gateway.token()}`;
    const answers = await Promise.all(Array.from({ length: 60 }, (_, i) => put(gateway.url, `k${i}`, authorization)));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([503]));
    for (const { retryAfter } of answers) expect(Number(retryAfter)).toBeGreaterThanOrEqual(1);
    expect(Math.max(...answers.map(({ ms }) => ms))).toBeLessThan(2 * 1000 + 2500);
    expect(await (await fetch(`${gateway.url}/v1/orders/k0`, { headers: { authorization } })).json()).toMatchObject({ status: 404 });

    const again = await startLocalServer('sqs', { log: () => {}, port: Number(new URL(first.address.endpoint).port) });
    if (typeof again === 'string') throw new Error(again);
    onTestFinished(() => again.stop());
    await queue.provision();
    await expect.poll(async () => (await put(gateway.url, 'again', authorization)).status, { timeout: 10_000 }).toBe(202);
  });
});
