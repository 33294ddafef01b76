/** One tenant against another's rows, receipts and keys, by every route under /v1, and with whatever headers. */
import type { InjectOptions, LightMyRequestResponse } from 'fastify';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Background } from '../../producers/gateway/background.ts';
import type { GatewayEvent } from '../../producers/gateway/lambda/event.ts';
import { createGatewayHandler } from '../../producers/gateway/lambda/handler.ts';
import { IDENTITY_SOURCES, lambdaIdentity } from '../../producers/gateway/lambda/identity.ts';
import { principalsBy } from '../../producers/gateway/lambda/principals.ts';
import { receiptId } from '../../schemas/envelope/ids.ts';
import { KeyRing } from '../../schemas/envelope/key-ring.ts';
import { httpApiEvent, restApiEvent, type SentRequest } from '../fixtures/gateway-events.ts';
import { applyQueued, startTestGateway, type TestGateway } from '../fixtures/gateways.ts';

let gateway: TestGateway;
beforeAll(async () => {
  // Takes all that API Gateway can vouch for, so that only what a caller sends is left to be believed or not.
  gateway = await startTestGateway({
    identity: (tokens, issuers) =>
      lambdaIdentity({
        sources: IDENTITY_SOURCES,
        tokens,
        issuers,
        principals: principalsBy([{ arn: 'arn:aws:iam::123456789012:user/admin', tenant: 'theirs', scopes: ['orders:write'] }]),
      }),
  });
  await as('theirs', { method: 'PUT', url: '/v1/orders/o1', payload: theirs });
  await as('theirs', { method: 'PUT', url: '/v1/order-lines/o1/1', payload: { sku: 'their sku', quantity: 1 } });
  expect(await applyQueued(gateway)).toEqual(['applied', 'applied']);
});
afterAll(() => gateway.close());

/** The row of the other tenant. */
const theirs = { customer: 'their customer', status: 'paid', note: 'their note' };
const ours = { customer: 'our customer', status: 'open' };

async function as(tenant: string, request: InjectOptions): Promise<LightMyRequestResponse> {
  const authorization = `Bearer ${await gateway.token({ tenant })}`;
  return gateway.app.inject({ ...request, headers: { ...request.headers, authorization } });
}

async function theirRow(): Promise<Record<string, unknown>> {
  return (await as('theirs', { method: 'GET', url: '/v1/orders/o1' })).json();
}

async function theirReceipt(): Promise<string> {
  const response = await as('theirs', { method: 'PUT', url: '/v1/orders/o2', payload: theirs, headers: { 'idempotency-key': 'k1' } });
  await applyQueued(gateway);
  return response.json<{ id: string }>().id;
}

const write = (method: 'PUT' | 'PATCH' | 'DELETE' | 'POST', url: string, payload?: object): InjectOptions & { readonly url: string } => ({
  method,
  url,
  ...(payload === undefined ? {} : { payload }),
});

/** Each route, with the other tenant's key: what the answer is, and what becomes of the write. */
const attempts: Readonly<
  Record<string, readonly (readonly [request: InjectOptions & { readonly url: string }, status: number, outcomes: readonly string[]])[]>
> = {
  'GET /v1/:resource/*': [
    [{ method: 'GET', url: '/v1/orders/o1' }, 404, []],
    [{ method: 'GET', url: '/v1/orders/theirs/o1' }, 422, []],
    [{ method: 'GET', url: '/v1/orders/theirs%2Fo1' }, 404, []],
    [{ method: 'GET', url: '/v1/orders/o1?tenant=theirs' }, 404, []],
    [{ method: 'GET', url: '/v1/orders/o1?include=order-lines' }, 404, []],
    [{ method: 'GET', url: '/v1/orders/o1', headers: { 'read-consistency': 'max-staleness=60, stale-if-error=60' } }, 404, []],
  ],
  'GET /v1/:resource': [
    [{ method: 'GET', url: '/v1/orders' }, 200, []],
    [{ method: 'GET', url: '/v1/orders?customer=their%20customer' }, 200, []],
    [{ method: 'GET', url: '/v1/orders?orderId=o1' }, 200, []],
    [{ method: 'GET', url: '/v1/orders?orderId.gte=&order=desc' }, 200, []],
    [{ method: 'GET', url: '/v1/order-lines/o1' }, 200, []],
    [{ method: 'GET', url: '/v1/orders?tenant=theirs' }, 400, []],
    [{ method: 'GET', url: '/v1/orders?cursor=WyJ0aGVpcnMiLCJvMSJd' }, 400, []],
  ],
  'HEAD /v1/:resource': [[{ method: 'HEAD', url: '/v1/orders' }, 200, []]],
  'POST /v1/:resource(^[a-z0-9-]+)::batchGet': [
    [write('POST', '/v1/orders:batchGet', { keys: ['o1', ['o1']] }), 200, []],
    [write('POST', '/v1/orders:batchGet', { keys: [['theirs', 'o1']] }), 422, []],
    [write('POST', '/v1/orders:batchGet', { keys: ['o1'], tenant: 'theirs' }), 422, []],
  ],
  'HEAD /v1/:resource/*': [[{ method: 'HEAD', url: '/v1/orders/o1' }, 404, []]],
  'PATCH /v1/:resource/*': [
    [write('PATCH', '/v1/orders/o1', { note: 'x' }), 202, ['not_found']],
    [{ ...write('PATCH', '/v1/orders/o1', { note: 'x' }), headers: { 'if-match': '*' } }, 202, ['precondition_failed']],
    [write('PATCH', '/v1/orders/o1', { tenant: 'theirs' }), 422, []],
  ],
  'DELETE /v1/:resource/*': [[write('DELETE', '/v1/orders/o1'), 202, ['applied']]],
  'POST /v1/:resource': [
    [write('POST', '/v1/order-lines', { orderId: 'o1', lineNumber: 1, sku: 's', quantity: 1 }), 202, ['parent_not_found']],
    [write('POST', '/v1/orders', { tenant: 'theirs', orderId: 'o1', ...ours }), 422, []],
  ],
  'POST /v1/submissions': [
    [
      write('POST', '/v1/submissions', { mutations: [{ op: 'update', resource: 'orders', key: ['o1'], value: { note: 'x' } }] }),
      202,
      ['not_found'],
    ],
    [write('POST', '/v1/submissions', { mutations: [{ op: 'delete', resource: 'orders', key: ['theirs', 'o1'] }] }), 422, []],
    [write('POST', '/v1/submissions', { mutations: [{ op: 'delete', resource: 'orders', key: ['o1'], tenant: 'theirs' }] }), 422, []],
    [write('POST', '/v1/submissions', { tenant: 'theirs', mutations: [{ op: 'delete', resource: 'orders', key: ['o1'] }] }), 422, []],
  ],
  // Last: the row of ours that it makes.
  'PUT /v1/:resource/*': [[write('PUT', '/v1/orders/o1', ours), 202, ['applied']]],
  'GET /v1/submissions/:id': [],
  'HEAD /v1/submissions/:id': [],
};

describe("another tenant's row", () => {
  for (const [route, requests] of Object.entries(attempts)) {
    for (const [request, status, outcomes] of requests) {
      it(`is neither seen nor changed by ${route}: ${request.url} ${JSON.stringify(request.payload ?? '')}`, async () => {
        const before = await theirRow();
        expect(before).toMatchObject(theirs);
        const response = await as('ours', request);
        expect(response.statusCode).toBe(status);
        expect(response.body).not.toContain('their ');
        expect(await applyQueued(gateway)).toEqual(outcomes);
        expect(await theirRow()).toEqual(before);
      });
    }
  }

  it('is tried by every route that there is', () => {
    // As `printRoutes` draws them: `│   └── :id (GET, HEAD)`, each under what its path begins with.
    const routes: string[] = [];
    const path: string[] = [];
    for (const line of gateway.app.printRoutes({ commonPrefix: false }).split('\n')) {
      const [, indent = '', part = '', methods = ''] = /^([ │]*)[├└]── (\S*)(?: \(([A-Z, ]+)\))?$/.exec(line) ?? [];
      path.splice(indent.length / 4, Infinity, part);
      for (const method of methods.split(', ').filter((m) => m !== ''))
        routes.push(`${method} ${path.join('').replace(/(?<!\/)\*$/, '/*')}`);
    }
    expect(routes).toContain('GET /healthz');
    expect(routes.filter((route) => route.includes(' /v1/')).sort()).toEqual(Object.keys(attempts).sort());
  });

  it('does not tell by a status, an outcome or an Idempotency-Key whether it is there', async () => {
    for (const key of ['o1', 'none']) {
      expect((await as('third', { method: 'GET', url: `/v1/orders/${key}` })).statusCode).toBe(404);
      await as('third', write('PATCH', `/v1/orders/${key}`, { note: 'x' }));
      expect(await applyQueued(gateway)).toEqual(['not_found']);
    }
    const request = { ...write('PUT', '/v1/orders/o9', ours), headers: { 'idempotency-key': 'same' } };
    const [first, other] = [await as('theirs', request), await as('ours', { ...request, payload: { ...ours, note: 'another payload' } })];
    expect([first.statusCode, other.statusCode]).toEqual([202, 202]);
    expect(first.json<{ id: string }>().id).not.toBe(other.json<{ id: string }>().id);
    expect(await applyQueued(gateway)).toEqual(['applied', 'applied']);
  });
});

describe("another tenant's rows", () => {
  const reads: readonly (InjectOptions & { readonly url: string })[] = [
    { method: 'GET', url: '/v1/orders/o1' },
    { method: 'HEAD', url: '/v1/orders/o1' },
    { method: 'GET', url: '/v1/orders/o1?fields=note' },
    { method: 'GET', url: '/v1/orders/o1?include=order-lines' },
    { method: 'GET', url: '/v1/orders/o1?include=order-lines&fields=orderId' },
    { method: 'GET', url: '/v1/order-lines/o1/1' },
    { method: 'GET', url: '/v1/orders' },
    { method: 'GET', url: '/v1/orders?order=desc&limit=100' },
    { method: 'GET', url: '/v1/orders?orderId=o1' },
    { method: 'GET', url: '/v1/orders?orderId.gte=o&orderId.lte=p' },
    { method: 'GET', url: '/v1/orders?customer=their%20customer' },
    { method: 'GET', url: '/v1/orders?customer.gte=their' },
    { method: 'GET', url: '/v1/order-lines/o1' },
    { method: 'GET', url: '/v1/order-lines/o1?lineNumber.gte=1' },
    { method: 'GET', url: '/v1/order-lines?orderId=o1&fields=sku' },
    write('POST', '/v1/orders:batchGet', { keys: ['o1', ['o1']] }),
    write('POST', '/v1/order-lines:batchGet', { keys: [['o1', 1]] }),
  ];
  const consistencies = [undefined, 'strong', 'max-staleness=60', 'strong, stale-if-error=60'];

  it.each(reads)('are theirs alone: $method $url', async (request) => {
    const before = await theirReceipt();
    for (const consistency of [...consistencies, `after=${before}`]) {
      const headers = consistency === undefined ? {} : { 'read-consistency': consistency };
      // They are there to be seen.
      const shown = await as('theirs', { ...request, headers });
      expect(shown.statusCode).toBe(200);
      if (request.method !== 'HEAD') expect(shown.body).toContain('their ');
      for (const conditional of [{}, { 'if-none-match': '*' }, { 'if-none-match': shown.headers['etag'] ?? '"x"' }]) {
        const hidden = await as('third', { ...request, headers: { ...headers, ...conditional } });
        expect(hidden.body).not.toContain('their');
        expect(hidden.headers['etag']).toBeUndefined();
        // By another's submission nothing is read at all.
        if (consistency?.startsWith('after') === true) expect(hidden.statusCode).toBe(400);
        else if (hidden.statusCode === 200) expect(hidden.json<{ items: unknown[] }>().items.filter((item) => item !== null)).toEqual([]);
        else expect(hidden.statusCode).toBe(404);
      }
    }
  });

  it('are not come to by their cursors, of whichever list', async () => {
    for (const id of ['c1', 'c2']) {
      await as('theirs', write('PUT', `/v1/orders/${id}`, theirs));
      await as('theirs', write('PUT', `/v1/order-lines/c1/${id.slice(1)}`, { sku: 'their sku', quantity: 1 }));
    }
    expect(await applyQueued(gateway)).toEqual(['applied', 'applied', 'applied', 'applied']);
    for (const url of ['/v1/orders?limit=1', '/v1/orders?limit=1&customer=their%20customer', '/v1/order-lines/c1?limit=1']) {
      const page = await as('theirs', { method: 'GET', url });
      const { nextCursor = '' } = page.json<{ nextCursor?: string }>();
      const go = (tenant: string) => as(tenant, { method: 'GET', url: `${url}&cursor=${nextCursor}` });
      expect((await go('theirs')).body).toContain('their ');
      const refused = await go('third');
      expect(refused.statusCode).toBe(400);
      expect(refused.body).not.toContain('their ');
    }
  });
});

describe("another tenant's list", () => {
  it('is not gone on with by its cursor, nor is our own by a cursor of other filters', async () => {
    const lists = ['/v1/orders?limit=1', '/v1/orders?limit=1&order=desc', '/v1/orders?limit=1&orderId.gte=o'];
    for (const tenant of ['theirs', 'ours']) {
      for (const key of ['p1', 'p2', 'p3']) await as(tenant, write('PUT', `/v1/orders/${key}`, tenant === 'theirs' ? theirs : ours));
    }
    await applyQueued(gateway);
    const cursors = new Map<string, string>();
    for (const url of lists) {
      const page = (await as('theirs', { method: 'GET', url })).json<{ items: unknown[]; nextCursor: string }>();
      expect(page.items).toMatchObject([theirs]);
      cursors.set(url, page.nextCursor);
      expect(Buffer.from(page.nextCursor, 'base64url').toString('latin1')).not.toMatch(/p1|o1|theirs/);
    }
    for (const url of lists) {
      for (const [of, cursor] of cursors) {
        for (const [tenant, status] of [
          ['ours', 400],
          ['theirs', of === url ? 200 : 400],
        ] as const)
          expect((await as(tenant, { method: 'GET', url: `${url}&cursor=${cursor}` })).statusCode).toBe(status);
      }
    }
    const [[url = '', cursor = ''] = []] = cursors;
    const bytes = Buffer.from(cursor, 'base64url');
    for (let i = 0; i < bytes.length; i += 1) {
      const altered = Buffer.from(bytes);
      altered[i] = (altered[i] ?? 0) ^ 1;
      const response = await as('theirs', { method: 'GET', url: `${url}&cursor=${altered.toString('base64url')}` });
      expect(response.statusCode).toBe(400);
    }
  });

  it('is not waited for by its submission', async () => {
    const headers = { 'read-consistency': `after=${await theirReceipt()}` };
    expect((await as('theirs', { method: 'GET', url: '/v1/orders/o2', headers })).statusCode).toBe(200);
    expect((await as('ours', { method: 'GET', url: '/v1/orders/o2', headers })).statusCode).toBe(400);
  });
});

describe("another tenant's receipt", () => {
  const notFound = async (id: string, tenant = 'ours'): Promise<void> => {
    for (const url of [`/v1/submissions/${id}`, `/v1/submissions/${id}?wait=30`]) {
      const response = await as(tenant, { method: 'GET', url });
      expect([response.statusCode, response.json<{ type: string }>().type]).toEqual([404, '/problems/submission_not_found']);
      expect(response.body).not.toContain('their ');
    }
    expect((await as(tenant, { method: 'HEAD', url: `/v1/submissions/${id}` })).statusCode).toBe(404);
  };

  it('shows nothing, at once, whatever is changed of it', async () => {
    const id = await theirReceipt();
    expect((await as('theirs', { method: 'GET', url: `/v1/submissions/${id}` })).json()).toMatchObject({ status: 'applied', key: ['o2'] });
    await notFound(id);
    const bytes = Buffer.from(id, 'base64url');
    for (let i = 0; i < bytes.length; i += 1) {
      const altered = Buffer.from(bytes);
      altered[i] = (altered[i] ?? 0) ^ 0x80;
      for (const tenant of ['ours', 'theirs']) await notFound(altered.toString('base64url'), tenant);
    }
  });

  it('cannot be made of the parts of others, or without the key', async () => {
    const id = await theirReceipt();
    const mine = (await as('ours', write('PUT', '/v1/orders/o3', ours))).json<{ id: string }>().id;
    await applyQueued(gateway);
    const [a, b] = [Buffer.from(id, 'base64url'), Buffer.from(mine, 'base64url')];
    const parts = { submissionId: '00000000-0000-4000-8000-000000000000', payloadHash: 'A'.repeat(22) };
    const { key } = new KeyRing([{ id: 'x', key: Buffer.alloc(32) }]).current;
    for (const forged of [
      Buffer.concat([a.subarray(0, 32), b.subarray(32)]).toString('base64url'),
      Buffer.concat([a.subarray(0, 16), b.subarray(16)]).toString('base64url'),
      Buffer.concat([a.subarray(0, 32), Buffer.alloc(16)]).toString('base64url'),
      receiptId(parts, 'ours', key),
      id.slice(0, -1),
      `${id}A`,
      `${id}%00`,
      id.toUpperCase(),
      encodeURIComponent(`../submissions/${id}`),
    ])
      await notFound(forged);
  });
});

/** The same requests as events of API Gateway, of a route without an authorizer. */
const ways: Readonly<
  Record<string, (request: InjectOptions, headers: Readonly<Record<string, string>>) => Promise<{ statusCode: number; body: string }>>
> = {
  'the process': async (request, headers) => gateway.app.inject({ ...request, headers }),
  'an HTTP API': async (request, headers) => byLambda(httpApiEvent(sent(request, headers))),
  'a REST API': async (request, headers) => byLambda(restApiEvent(sent(request, headers))),
};

function sent({ method = 'GET', url, payload }: InjectOptions, headers: Readonly<Record<string, string>>): SentRequest {
  const body = payload === undefined ? {} : { body: JSON.stringify(payload) };
  return { method, path: url as string, headers: { 'content-type': 'application/json', ...headers }, ...body };
}

async function byLambda(event: GatewayEvent): Promise<{ statusCode: number; body: string }> {
  const handler = await createGatewayHandler({
    open: async () => gateway.app,
    background: new Background(),
    log: pino({ level: 'silent' }),
  });
  return handler(event, { getRemainingTimeInMillis: () => 60_000 });
}

describe.each(Object.entries(ways))('headers that proxies set, and others that sound like an identity, by %s', (_name, call) => {
  const unsigned = Buffer.from('{"sub":"admin","tenant":"theirs"}').toString('base64url');
  const theirArn = 'arn:aws:iam::123456789012:user/admin';
  const theirContext = JSON.stringify({
    authorizer: { jwt: { claims: { iss: 'urn:spanway:development', sub: 'admin', tenant: 'theirs' } }, iam: { userArn: theirArn } },
    identity: { userArn: theirArn },
  });
  const smuggled: Readonly<Record<string, string>> = {
    'x-tenant': 'theirs',
    'x-tenant-id': 'theirs',
    tenant: 'theirs',
    'x-spanway-tenant': 'theirs',
    'x-jwt-claim-sub': 'admin',
    'x-jwt-claim-tenant': 'theirs',
    'x-jwt-assertion': `e30.${unsigned}.`,
    'x-userinfo': unsigned,
    'x-id-token': unsigned,
    'x-access-token': `e30.${unsigned}.`,
    'x-consumer-id': 'admin',
    'x-credential-identifier': 'admin',
    'x-anonymous-consumer': 'false',
    'x-envoy-auth-subject': 'admin',
    'x-forwarded-client-cert': 'By=spiffe://their;URI=spiffe://their/admin',
    'x-amzn-apigateway-api-id': 'theirs',
    'x-amzn-request-context': theirContext,
    'x-amzn-lambda-context': theirContext,
    'x-apigateway-event': encodeURIComponent(`{"requestContext":${theirContext}}`),
    'x-apigateway-context': encodeURIComponent(theirContext),
    'x-aws-lambda-fastify-request': '0'.repeat(24),
    'x-amz-security-token': 'theirs',
    'x-amz-date': '20261125T000000Z',
    'x-amz-user-arn': theirArn,
    'x-user': 'admin',
    'x-forwarded-user': 'admin',
    'x-forwarded-email': 'admin@their.example',
    'x-forwarded-groups': 'admins',
    'x-forwarded-access-token': `e30.${unsigned}.`,
    'x-auth-request-user': 'admin',
    'x-remote-user': 'admin',
    'remote-user': 'admin',
    'x-scope': 'all-types:write',
    'x-actor': 'admin',
    'x-authenticated-userid': 'admin',
    'x-consumer-username': 'admin',
    'x-amzn-oidc-identity': 'admin',
    'x-amzn-oidc-accesstoken': `e30.${unsigned}.`,
    'x-amzn-oidc-data': `e30.${unsigned}.`,
    'x-apigateway-api-userinfo': unsigned,
    'x-goog-authenticated-user-email': 'accounts.google.com:admin@their.example',
    'x-goog-iap-jwt-assertion': `e30.${unsigned}.`,
    'x-ms-client-principal': unsigned,
    'x-ms-client-principal-name': 'admin',
    'x-endpoint-api-userinfo': unsigned,
    'x-jwt-payload': unsigned,
    'x-original-url': '/v1/orders/o1?tenant=theirs',
    'x-rewrite-url': '/v1/orders/o1?tenant=theirs',
    'x-http-method-override': 'DELETE',
    'x-forwarded-for': '127.0.0.1',
    cookie: 'tenant=theirs; AWSELBAuthSessionCookie-0=x',
  };
  const scopes = ['orders:read', 'orders:write'];

  it('let nobody in', async () => {
    for (const request of [write('PUT', '/v1/orders/o1', ours), { method: 'GET' as const, url: '/v1/orders/o1' }]) {
      const response = await call(request, smuggled);
      expect(response.statusCode).toBe(401);
      expect(response.body).not.toContain('their');
    }
    expect(await gateway.queued()).toEqual([]);
  });

  it('change nothing of who the token says calls', async () => {
    const authorization = `Bearer ${await gateway.token({ tenant: 'plain', subject: 'somebody', scopes })}`;
    const headers = { ...smuggled, authorization };
    const read = await call({ method: 'GET', url: '/v1/orders/o1' }, headers);
    expect(read.statusCode).toBe(404);
    const denied = await call(write('POST', '/v1/all-types', {}), headers);
    expect(denied.statusCode).toBe(403);
    const written = await call(write('PUT', '/v1/orders/o1', ours), headers);
    expect(written.statusCode).toBe(202);
    const [envelope, ...more] = await gateway.queued();
    expect(more).toEqual([]);
    expect(envelope?.data.caller).toEqual({ issuer: 'urn:spanway:development', subject: 'somebody', tenant: 'plain', scopes });
    expect(envelope?.data.mutations).toMatchObject([{ op: 'upsert', key: ['o1'] }]);
    expect(JSON.stringify(envelope)).not.toMatch(/their|admin/);
  });
});
