import { generateKeyPair, SignJWT } from 'jose';
import type { InjectOptions, LightMyRequestResponse } from 'fastify';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { StoreError } from '../../ports/errors.ts';
import { ledgerMutations } from '../../schemas/envelope/ledger.ts';
import { envelopeText } from '../../schemas/envelope/pack.ts';
import { COMMIT_TIMESTAMP } from '../../schemas/resource/table.ts';
import { boundCache } from '../fixtures/caches.ts';
import { startTestGateway, type TestGateway } from '../fixtures/gateways.ts';
import { bound } from '../fixtures/queues.ts';
import { FaultyStore, resources } from '../fixtures/stores.ts';

interface Problem {
  type: string;
  status: number;
  detail: string;
  correlationId: string;
  errors?: { pointer: string; rule: string }[];
}

/** While it is more than 1, that many looks at the cache wait for each other. */
let together = 1;
const looking: (() => void)[] = [];

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startTestGateway({
    cache: (cache) => ({
      ...boundCache(cache),
      async get(key) {
        const found = await cache.get(key);
        if (together === 1) return found;
        await new Promise<void>((resolve) => {
          looking.push(resolve);
          if (looking.length === together) for (const look of looking.splice(0)) look();
        });
        return found;
      },
    }),
  });
});
afterAll(() => gateway.close());

const order = { customer: 'c1', status: 'open' };
const put = (path: string, payload: object, headers: Record<string, string> = {}): InjectOptions => ({
  method: 'PUT',
  url: path,
  payload,
  headers,
});

describe('a write', () => {
  it('is answered 202 with a receipt once its envelope is on the queue, signed, with the claims and the trace', async () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const response = await gateway.call(put('/v1/orders/o1', { ...order, total: 12.5 }, { 'correlation-id': 'my-id', traceparent }));
    expect(response.statusCode).toBe(202);
    const receipt = response.json<{ id: string; statusUrl: string }>();
    expect(receipt).toMatchObject({ status: 'accepted', correlationId: 'my-id', statusUrl: `/v1/submissions/${receipt.id}` });
    expect(response.headers['location']).toBe(receipt.statusUrl);
    expect(response.headers['correlation-id']).toBe('my-id');
    const [envelope] = await gateway.queued();
    expect(envelope?.correlationid).toBe('my-id');
    expect(envelope?.traceparent).toMatch(/^00-0af7651916cd43dd8448eb211c80319c-(?!b7ad6b7169203331)[0-9a-f]{16}-01$/);
    expect(envelope?.data.caller).toEqual({
      issuer: 'urn:spanway:development',
      subject: 'me',
      tenant: 't1',
      scopes: expect.any(Array) as string[],
    });
    expect(envelope?.data.mutations).toEqual([
      {
        op: 'upsert',
        resource: 'orders',
        key: ['o1'],
        value: { customer: 'c1', status: 'open', total: '12.5', note: null, metadata: null },
      },
    ]);
  });

  it('takes each verb as its mutation', async () => {
    await gateway.call({ method: 'POST', url: '/v1/orders', payload: { orderId: 'o2', ...order } });
    await gateway.call({
      method: 'PATCH',
      url: '/v1/orders/o2',
      payload: '{"metadata":{"a":null}}',
      headers: { 'content-type': 'application/merge-patch+json' },
    });
    await gateway.call({ method: 'DELETE', url: '/v1/order-lines/o2/7' });
    const mutations = (await gateway.queued()).flatMap((e) => e.data.mutations);
    expect(mutations).toEqual([
      expect.objectContaining({ op: 'insert', key: ['o2'] }),
      { op: 'update', resource: 'orders', key: ['o2'], value: { metadata: '{"a":null}' }, merge: ['metadata'] },
      { op: 'delete', resource: 'order-lines', key: ['o2', '7'] },
    ]);
  });

  it('keeps an encoded slash inside its key', async () => {
    await gateway.call(put('/v1/orders/a%2Fb%20c', order));
    expect((await gateway.queued())[0]?.data.mutations[0]?.key).toEqual(['a/b c']);
  });

  it('makes a key where the resource says so, the same for a retry', async () => {
    const post = (): InjectOptions => ({ method: 'POST', url: '/v1/all-types', payload: {}, headers: { 'idempotency-key': '"k-gen"' } });
    const first = await gateway.call(post());
    const again = await gateway.call(post());
    expect(again.json()).toEqual(first.json());
    const [envelope, ...more] = await gateway.queued();
    expect(more).toEqual([]);
    expect(envelope?.data.mutations[0]?.key[0]).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('gives a retry with the same Idempotency-Key the first receipt, and 422 to another payload', async () => {
    const headers = { 'idempotency-key': 'k1' };
    const first = await gateway.call(put('/v1/orders/o3', order, headers));
    const retry = await gateway.call(put('/v1/orders/o3', { status: 'open', customer: 'c1' }, headers));
    expect(retry.statusCode).toBe(202);
    expect(retry.json()).toEqual(first.json());
    const other = await gateway.call(put('/v1/orders/o3', { ...order, note: 'x' }, headers));
    expect(other.statusCode).toBe(422);
    expect(other.json<Problem>().type).toBe('/problems/idempotency_key_reused');
    const elsewhere = await gateway.call({ method: 'DELETE', url: '/v1/orders/o3', headers });
    expect(elsewhere.statusCode).toBe(202);
    expect(await gateway.queued()).toHaveLength(2);
  });

  it('keeps the first receipt of an Idempotency-Key when two payloads come at once', async () => {
    const headers = { 'idempotency-key': 'at-once' };
    together = 2;
    const both = await Promise.all([
      gateway.call(put('/v1/orders/o6', { ...order, note: 'a' }, headers)),
      gateway.call(put('/v1/orders/o6', { ...order, note: 'b' }, headers)),
    ]);
    together = 1;
    expect(both.map((r) => r.statusCode)).toEqual([202, 202]);
    const [first] = await gateway.queued();
    const winner = first?.data.mutations[0]?.value?.['note'];
    const retry = await gateway.call(put('/v1/orders/o6', { ...order, note: winner }, headers));
    expect(retry.statusCode).toBe(202);
    await gateway.queued();
  });

  it('takes a whole URL as its target', async () => {
    await gateway.call({ ...put('/', order), url: 'http://elsewhere/v1/orders/o7' });
    expect((await gateway.queued())[0]?.data.mutations[0]?.key).toEqual(['o7']);
  });

  it('takes several mutations of one aggregate, and no others', async () => {
    const mutations = [
      { op: 'insert', resource: 'orders', value: { orderId: 'o4', ...order } },
      { op: 'upsert', resource: 'order-lines', key: ['o4', 1], value: { sku: 's', quantity: 1 } },
    ];
    const accepted = await gateway.call({ method: 'POST', url: '/v1/submissions', payload: { mutations } });
    expect(accepted.statusCode).toBe(202);
    expect((await gateway.queued())[0]?.data.mutations.map((m) => m.key)).toEqual([['o4'], ['o4', '1']]);
    const apart = await gateway.call({
      method: 'POST',
      url: '/v1/submissions',
      payload: { mutations: [...mutations, { op: 'delete', resource: 'orders', key: ['o5'] }] },
    });
    expect(apart.statusCode).toBe(422);
    expect(apart.json<Problem>().type).toBe('/problems/one_aggregate');
  });
});

describe('what is refused', () => {
  const refusals: readonly (readonly [what: string, request: InjectOptions, status: number, type: string, errors?: string[]])[] = [
    [
      'a malformed body',
      { method: 'PUT', url: '/v1/orders/o1', payload: '{"customer":', headers: { 'content-type': 'application/json' } },
      400,
      'malformed_json',
    ],
    [
      'a body that is not UTF-8',
      { method: 'PUT', url: '/v1/orders/o1', payload: Buffer.from([0x22, 0xff, 0x22]), headers: { 'content-type': 'application/json' } },
      400,
      'malformed_json',
    ],
    ['no body', { method: 'PUT', url: '/v1/orders/o1' }, 400, 'malformed_json'],
    [
      'another content type',
      { method: 'PUT', url: '/v1/orders/o1', payload: 'a=b', headers: { 'content-type': 'application/x-www-form-urlencoded' } },
      415,
      'unsupported_media_type',
    ],
    ['a wrong type', put('/v1/orders/o1', { ...order, note: 5 }), 422, 'validation', ['/note type']],
    ['an unknown field', put('/v1/orders/o1', { ...order, colour: 'red' }), 422, 'validation', ['/colour additionalProperties']],
    ['the tenant as a field', put('/v1/orders/o1', { ...order, tenant: 't2' }), 422, 'validation', ['/tenant additionalProperties']],
    ['a missing field', put('/v1/orders/o1', { status: 'open' }), 422, 'validation', ['/customer required']],
    ['another key than the path has', put('/v1/orders/o1', { ...order, orderId: 'o2' }), 422, 'validation', ['/orderId key']],
    ['a key of the wrong length', put('/v1/order-lines/o1', { sku: 's', quantity: 1 }), 422, 'validation', [' key']],
    ['an unknown resource', put('/v1/nothing/o1', order), 404, 'unknown_resource'],
    ['an unknown route', { method: 'PUT', url: '/v2/orders' }, 404, 'unknown_route'],
    ['a malformed path', { method: 'PUT', url: '/v1/orders/%zz', payload: order }, 404, 'unknown_route'],
    ['an Idempotency-Key out of form', put('/v1/orders/o1', order, { 'idempotency-key': 'ä' }), 400, 'invalid_parameter'],
    ['a Correlation-Id out of form', put('/v1/orders/o1', order, { 'correlation-id': 'a b' }), 400, 'invalid_parameter'],
    ['an If-Match out of form', put('/v1/orders/o1', order, { 'if-match': 'W/"x"' }), 400, 'invalid_parameter'],
    [
      'If-Match on a resource without versions',
      put('/v1/order-lines/o1/1', { sku: 's', quantity: 1 }, { 'if-match': '*' }),
      400,
      'conditions_unsupported',
    ],
    ['If-None-Match on a write', put('/v1/orders/o1', order, { 'if-none-match': '*' }), 400, 'conditions_unsupported'],
    ['more than the queue takes', put('/v1/orders/o1', { ...order, metadata: 'x'.repeat(1_048_000) }), 413, 'too_large'],
    ['more than the gateway reads', put('/v1/orders/o1', { ...order, metadata: 'x'.repeat(1_100_000) }), 413, 'too_large'],
    [
      'a submission without mutations',
      { method: 'POST', url: '/v1/submissions', payload: { mutations: [] } },
      422,
      'validation',
      ['/mutations type'],
    ],
    [
      'a submission with wrong parts, each named by its place',
      {
        method: 'POST',
        url: '/v1/submissions',
        payload: {
          mutations: [
            { op: 'upsert', resource: 'orders', key: ['o1'], value: { ...order, status: 'lost' } },
            { op: 'upsert', resource: 'order-lines', key: ['o1', 0], value: { sku: 's' } },
          ],
        },
      },
      422,
      'validation',
      ['/mutations/0/value/status enum', '/mutations/1/key minimum'],
    ],
    [
      'a submission of an unknown resource',
      { method: 'POST', url: '/v1/submissions', payload: { mutations: [{ op: 'delete', resource: 'x', key: ['1'] }] } },
      422,
      'validation',
      ['/mutations/0/resource resource'],
    ],
  ];

  for (const [what, request, status, type, errors] of refusals) {
    it(what, async () => {
      const response = await gateway.call(request);
      expect(response.headers['content-type']).toMatch(/^application\/problem\+json/);
      const problem = response.json<Problem>();
      expect({ http: response.statusCode, status: problem.status, type: problem.type }).toEqual({
        http: status,
        status,
        type: `/problems/${type}`,
      });
      expect(problem.correlationId).toBe(response.headers['correlation-id']);
      if (errors) expect(problem.errors?.map((e) => `${e.pointer} ${e.rule}`)).toEqual(errors);
      expect(await gateway.queued()).toEqual([]);
    });
  }

  it('tells at most fifty problems of a body', async () => {
    const body = Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`field${i}`, i]));
    const response = await gateway.call(put('/v1/orders/o1', body));
    expect(response.json<Problem>().errors).toHaveLength(50);
    expect(response.json<Problem>().detail).toMatch(/and \d+ more$/);
  });

  it('has a page for each problem type that it names', async () => {
    const page = await gateway.app.inject('/problems/validation');
    expect(page.statusCode).toBe(200);
    expect(page.body).toContain('JSON Pointer');
    expect((await gateway.app.inject('/problems/toString')).statusCode).toBe(404);
  });
});

describe('who is let in', () => {
  async function statusWith(authorization: string | undefined, request: InjectOptions = put('/v1/orders/o1', order)): Promise<number> {
    const headers = { ...(request.headers as Record<string, string>), ...(authorization === undefined ? {} : { authorization }) };
    const response = await gateway.app.inject({ ...request, headers });
    if (response.statusCode >= 400) expect(response.headers['content-type']).toMatch(/^application\/problem\+json/);
    if (response.statusCode === 401) expect(response.headers['www-authenticate']).toBe('Bearer');
    return response.statusCode;
  }

  it('is nobody without a token, with an expired one, or one of another key, audience, tenant or scheme', async () => {
    expect(await statusWith(undefined)).toBe(401);
    expect(await statusWith('Bearer')).toBe(401);
    expect(await statusWith('Basic dTpw')).toBe(401);
    expect(await statusWith('Bearer not.a.token')).toBe(401);
    expect(await statusWith(`Bearer ${await gateway.token({ ttlSeconds: -10 })}`)).toBe(401);
    expect(await statusWith(`Bearer ${await gateway.token({ tenant: '' })}`)).toBe(401);
    for (const subject of ['', 12345, null, { a: 1 }]) {
      expect(await statusWith(`Bearer ${await gateway.token({ subject: subject as string })}`)).toBe(401);
    }
    const { privateKey } = await generateKeyPair('ES256');
    const claims = new SignJWT({ tenant: 't1', scope: 'orders:write' })
      .setProtectedHeader({ alg: 'ES256' })
      .setIssuer('urn:spanway:development')
      .setAudience('spanway')
      .setSubject('me')
      .setExpirationTime('1m');
    expect(await statusWith(`Bearer ${await claims.sign(privateKey)}`)).toBe(401);
    const token = await gateway.token();
    const [head, body] = token.split('.');
    expect(await statusWith(`Bearer ${head ?? ''}.${body ?? ''}.`)).toBe(401);
    const none = Buffer.from('{"alg":"none"}').toString('base64url');
    expect(await statusWith(`Bearer ${none}.${body ?? ''}.`)).toBe(401);
    expect(await gateway.queued()).toEqual([]);
  });

  it('may do what a rule of the resource allows, and nothing else', async () => {
    const reader = `Bearer ${await gateway.token({ scopes: ['orders:read'] })}`;
    expect(await statusWith(reader)).toBe(403);
    expect(await statusWith(reader, { method: 'GET', url: '/v1/orders/none' })).toBe(404);
    expect(
      await statusWith(reader, {
        method: 'POST',
        url: '/v1/submissions',
        payload: { mutations: [{ op: 'delete', resource: 'orders', key: ['o1'] }] },
      }),
    ).toBe(403);
    expect(await statusWith(`Bearer ${await gateway.token({ scopes: [] })}`, { method: 'GET', url: '/v1/orders/none' })).toBe(403);
    expect(await gateway.queued()).toEqual([]);
  });

  it('is recorded with who acts for it', async () => {
    await statusWith(`Bearer ${await gateway.token({ actor: 'robot' })}`);
    expect((await gateway.queued())[0]?.data.caller).toMatchObject({ subject: 'me', actor: 'robot' });
  });
});

describe('a read', () => {
  beforeAll(async () => {
    const { table } = resources.get('orders') ?? expect.unreachable();
    const columns = ['tenant', 'order_id', 'customer', 'status', 'total', 'metadata', 'updated_at'];
    const values = ['t1', 'r1', 'c1', 'paid', '99999999999999999999999999999.999999999', '{"a":[1,null]}', COMMIT_TIMESTAMP];
    await gateway.store.commit([{ op: 'insert', table, columns, values }], { tag: 'test' });
  });

  it('gives the row with its version as the ETag, and 304 to who has it', async () => {
    const response = await gateway.call({ method: 'GET', url: '/v1/orders/r1' });
    const row = response.json<{ updatedAt: string }>();
    expect(row).toEqual({
      orderId: 'r1',
      customer: 'c1',
      status: 'paid',
      total: '99999999999999999999999999999.999999999',
      note: null,
      metadata: { a: [1, null] },
      updatedAt: expect.any(String) as string,
    });
    const etag = response.headers['etag'] as string;
    expect(etag).toBe(`"${row.updatedAt}"`);
    expect((await gateway.call({ method: 'GET', url: '/v1/orders/r1', headers: { 'if-none-match': `"x", W/${etag}` } })).statusCode).toBe(
      304,
    );
    expect((await gateway.call({ method: 'HEAD', url: '/v1/orders/r1' })).statusCode).toBe(200);
  });

  it("does not find another tenant's row", async () => {
    const authorization = `Bearer ${await gateway.token({ tenant: 't2' })}`;
    const response = await gateway.call({ method: 'GET', url: '/v1/orders/r1', headers: { authorization } });
    expect(response.statusCode).toBe(404);
    expect(response.json<Problem>().type).toBe('/problems/row_not_found');
  });
});

describe('a status', () => {
  it('is accepted until the ledger has the outcome, then the outcome', async () => {
    const receipt = (await gateway.call(put('/v1/orders/s1', order))).json<{
      id: string;
      statusUrl: string;
      correlationId: string;
      acceptedAt: string;
    }>();
    const { id, correlationId, acceptedAt } = receipt;
    const shared = { id, resource: 'orders', key: ['s1'], correlationId, acceptedAt };
    expect((await gateway.call({ method: 'GET', url: receipt.statusUrl })).json()).toEqual({ ...shared, status: 'accepted' });
    const [envelope] = await gateway.queued();
    if (!envelope) expect.unreachable();
    const text = envelopeText(envelope);
    const { commitTimestamp } = await gateway.store.commit(ledgerMutations([{ envelope, text, verdict: { outcome: 'applied' } }]), {
      tag: 'test',
    });
    expect((await gateway.call({ method: 'GET', url: receipt.statusUrl })).json()).toEqual({
      ...shared,
      status: 'applied',
      commitTimestamp,
    });
  });

  it('is not found for another tenant, for a forged id, or for anything that is no id', async () => {
    const { statusUrl } = (await gateway.call(put('/v1/orders/s2', order))).json<{ statusUrl: string }>();
    await gateway.queued();
    const authorization = `Bearer ${await gateway.token({ tenant: 't2' })}`;
    const requests: InjectOptions[] = [
      { method: 'GET', url: statusUrl, headers: { authorization } },
      { method: 'GET', url: `${statusUrl.slice(0, -1)}${statusUrl.endsWith('A') ? 'B' : 'A'}` },
      { method: 'GET', url: '/v1/submissions/x' },
    ];
    for (const request of requests) {
      const response = await gateway.call(request);
      expect([response.statusCode, response.json<Problem>().type]).toEqual([404, '/problems/submission_not_found']);
    }
  });
});

describe('health', () => {
  it('needs no token', async () => {
    expect((await gateway.app.inject('/healthz')).statusCode).toBe(200);
    expect((await gateway.app.inject('/readyz')).json()).toEqual({ status: 'ready', checks: { queue: 'ok', store: 'ok' } });
  });

  it('asks the queue and the store once for all who ask at about the same time, and says which does not answer, the log why', async () => {
    const pinged = { queue: 0, store: 0 };
    let queueSays = Promise.withResolvers<undefined>();
    const logged: Record<string, unknown>[] = [];
    const asked = await startTestGateway({
      queue: (queue) => ({
        ...bound(queue),
        ping() {
          pinged.queue += 1;
          return queueSays.promise;
        },
      }),
      store: (store) => {
        const counted = new FaultyStore(store);
        counted.ping = () => {
          pinged.store += 1;
          return store.ping();
        };
        return counted;
      },
      onLog: (line) => logged.push(line),
    });
    onTestFinished(() => asked.close());
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const look = (): Promise<LightMyRequestResponse> => asked.app.inject('/readyz');

    const together = Array.from({ length: 100 }, look);
    await expect.poll(() => pinged).toEqual({ queue: 1, store: 1 });
    together.push(look());
    queueSays.reject(new Error('the queue at 10.0.0.1 is away'));
    const down = { status: 'unavailable', checks: { queue: 'failed', store: 'ok' } };
    for (const response of await Promise.all(together)) expect([response.statusCode, response.json()]).toEqual([503, down]);
    queueSays = Promise.withResolvers();
    expect((await look()).json()).toEqual(down);
    expect(pinged).toEqual({ queue: 1, store: 1 });

    vi.advanceTimersByTime(1000);
    const late = look();
    await expect.poll(() => pinged).toEqual({ queue: 2, store: 2 });
    vi.advanceTimersByTime(2000);
    expect((await late).json()).toEqual({ status: 'unavailable', checks: { queue: 'no answer in 2000 ms', store: 'ok' } });
    vi.advanceTimersByTime(1000);
    queueSays.resolve(undefined);
    expect((await look()).json()).toEqual({ status: 'ready', checks: { queue: 'ok', store: 'ok' } });
    expect(logged.filter(({ check }) => check !== undefined)).toMatchObject([
      { check: 'queue', err: { message: 'the queue at 10.0.0.1 is away' } },
      { check: 'queue', msg: 'a readiness check had no answer in 2000 ms' },
    ]);
  });
});

describe('while the database is away', () => {
  it('still accepts a write, without the outcome that its caller would wait for, and says of itself that it is degraded', async () => {
    const away = (): Promise<never> => Promise.reject(new StoreError('transient', 'away'));
    const cut = await startTestGateway({
      store: ({ capabilities }) => ({
        capabilities,
        commit: away,
        readWrite: away,
        read: away,
        readAt: away,
        readRange: away,
        scan: away,
        ping: away,
        close: () => Promise.resolve(),
      }),
    });
    try {
      const written = await cut.call(put('/v1/orders/o1', order, { prefer: 'wait=1' }));
      expect(written.statusCode).toBe(202);
      expect(await cut.queued()).toHaveLength(1);
      const read = await cut.call({ method: 'GET', url: '/v1/orders/o1' });
      expect([read.statusCode, read.headers['retry-after']]).toEqual([503, '1']);
      const ready = await cut.app.inject('/readyz');
      expect([ready.statusCode, ready.json()]).toEqual([200, { status: 'degraded', checks: { queue: 'ok', store: 'failed' } }]);
    } finally {
      await cut.close();
    }
  });
});
