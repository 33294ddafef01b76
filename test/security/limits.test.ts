import { request as send } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import type { InjectOptions } from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestGateway, type TestGateway } from '../fixtures/gateways.ts';

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startTestGateway({
    settings: { maxBodyBytes: 4096, maxHeaderBytes: 8192, maxJsonDepth: 10, maxKeyBytes: 16, maxSubmissionBytes: 2048, maxMutations: 3 },
  });
  await gateway.app.listen({ host: '127.0.0.1', port: 0 });
});
afterAll(() => gateway.close());

const order = { customer: 'c1', status: 'open' };
const nested = (levels: number): unknown => JSON.parse('['.repeat(levels) + ']'.repeat(levels));
const put = (key: string, payload: object): InjectOptions => ({ method: 'PUT', url: `/v1/orders/${key}`, payload });
const submission = (mutations: object[]): InjectOptions => ({ method: 'POST', url: '/v1/submissions', payload: { mutations } });
const line = (n: number): object => ({ op: 'upsert', resource: 'order-lines', key: ['o1', n], value: { sku: 's', quantity: 1 } });

describe('a limit that is set', () => {
  it.each<[what: string, within: InjectOptions, beyond: InjectOptions, status: number, detail: RegExp, error?: string]>([
    [
      'bytes of a body',
      put('o1', { ...order, note: 'x'.repeat(1000) }),
      put('o1', { ...order, note: 'x'.repeat(4100) }),
      413,
      /than 4096 bytes/,
    ],
    [
      'levels of a body',
      put('o1', { ...order, metadata: nested(9) }),
      put('o1', { ...order, metadata: nested(10) }),
      422,
      /nested 11 levels deep; at most 10 are/,
      ' maxDepth',
    ],
    [
      'bytes of a key',
      put('ö'.repeat(8), order),
      put(encodeURIComponent('ö'.repeat(9)), order),
      422,
      /has 18 bytes; at most 16 are/,
      '/orderId keyBytes',
    ],
    [
      'bytes of a key in a body',
      submission([{ op: 'delete', resource: 'orders', key: ['k'.repeat(16)] }]),
      submission([{ op: 'delete', resource: 'orders', key: ['k'.repeat(17)] }]),
      422,
      /has 17 bytes; at most 16 are/,
      '/mutations/0/key keyBytes',
    ],
    [
      'bytes of a key in an insert',
      { method: 'POST', url: '/v1/orders', payload: { orderId: 'k'.repeat(16), ...order } },
      { method: 'POST', url: '/v1/orders', payload: { orderId: 'k'.repeat(17), ...order } },
      422,
      /has 17 bytes; at most 16 are/,
      '/orderId keyBytes',
    ],
    ['parts of a key', put('o1', order), put('o1/2/3', order), 422, /has 1 part/, ' key'],
    [
      'mutations of a submission',
      submission([1, 2, 3].map(line)),
      submission([1, 2, 3, 4].map(line)),
      422,
      /has 4 mutations; at most 3 are/,
      '/mutations maxItems',
    ],
    [
      'bytes of a submission as it travels',
      put('o1', { ...order, note: 'x'.repeat(1000) }),
      put('o1', { ...order, note: 'x'.repeat(2000) }),
      413,
      /has \d+ bytes as it travels; at most 2048 are/,
    ],
  ])('%s', async (_what, within, beyond, status, detail, error) => {
    expect((await gateway.call(within)).statusCode).toBe(202);
    const refused = await gateway.call(beyond);
    const problem = refused.json<{ status: number; detail: string; errors?: { pointer: string; rule: string }[] }>();
    expect({ http: refused.statusCode, status: problem.status }).toEqual({ http: status, status });
    expect(problem.detail).toMatch(detail);
    expect(problem.errors?.map((e) => `${e.pointer} ${e.rule}`)).toEqual(error === undefined ? undefined : [error]);
  });

  it('bytes of the headers', async () => {
    const { port } = gateway.app.server.address() as AddressInfo;
    const answer = async (bytes: number): Promise<{ status?: number | undefined; body: string }> =>
      new Promise((resolve, reject) => {
        send({ host: '127.0.0.1', port, path: '/healthz', agent: false, headers: { 'x-padding': 'x'.repeat(bytes) } }, (response) => {
          text(response).then((body) => resolve({ status: response.statusCode, body }), reject);
        })
          .on('error', reject)
          .end();
      });
    expect((await answer(7000)).status).toBe(200);
    const refused = await answer(9000);
    expect(refused.status).toBe(431);
    expect(JSON.parse(refused.body)).toMatchObject({
      type: '/problems/invalid_parameter',
      status: 431,
      detail: 'the request line and the headers are larger than 8192 bytes, which the gateway takes at most',
    });
  });

  it('a compressed body, which has no size that can be told', async () => {
    const refused = await gateway.call({ ...put('o1', order), headers: { 'content-encoding': 'gzip' } });
    expect(refused.statusCode).toBe(415);
    expect((await gateway.call({ ...put('o1', order), headers: { 'content-encoding': 'identity' } })).statusCode).toBe(202);
  });
});

it('a name in the path that is longer than any resource has is one that nothing answers', async () => {
  const answer = await gateway.call({ method: 'GET', url: `/v1/${'k'.repeat(200)}/o1` });
  expect(answer.statusCode).toBe(404);
  expect(answer.json()).toMatchObject({ type: '/problems/unknown_route', correlationId: expect.any(String) as string });
});
