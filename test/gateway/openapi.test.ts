/** The OpenAPI document: valid, whole, and true of what a gateway answers. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { type IncomingMessage, request as send } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import type { InjectOptions, LightMyRequestResponse } from 'fastify';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { describeGateway } from '../../producers/gateway/openapi.ts';
import { PROBLEM_TYPES } from '../../producers/gateway/problems.ts';
import { ledgerMutations } from '../../schemas/envelope/ledger.ts';
import { envelopeText } from '../../schemas/envelope/pack.ts';
import orderLines from '../../schemas/order-lines.ts';
import orders from '../../schemas/orders.ts';
import { defineResource, field, type Resource, Type } from '../../index.ts';
import { ResourceSet } from '../../schemas/resource/registry.ts';
import { COMMIT_TIMESTAMP } from '../../schemas/resource/table.ts';
import { startTestGateway, type TestGateway } from '../fixtures/gateways.ts';
import { resources } from '../fixtures/stores.ts';

const settings = { maxMutations: 500, maxWaitSeconds: 30, pageRows: 50, maxPageRows: 1000 };

interface Operation {
  readonly operationId: string;
  readonly security: readonly Record<string, readonly string[]>[];
  readonly parameters?: readonly Member[];
  readonly requestBody?: { readonly content: Record<string, unknown> };
  readonly responses: Record<string, Member>;
}
interface Member {
  readonly $ref?: string;
  readonly name?: string;
  readonly required?: boolean;
  readonly schema?: unknown;
  readonly headers?: Record<string, Member>;
  readonly content?: Record<string, unknown>;
}
type Document = ReturnType<typeof describeGateway>;

const METHODS = ['get', 'put', 'post', 'patch', 'delete'];

/** Every operation, with its place as a JSON Pointer. */
function operationsOf(document: Document): { path: string; method: string; pointer: string; operation: Operation }[] {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => method in item).map((method) => ({
      path,
      method,
      pointer: `/paths/${path.replaceAll('~', '~0').replaceAll('/', '~1')}/${method}`,
      operation: item[method] as Operation,
    })),
  );
}

function operation(document: Document, id: string): { pointer: string; path: string; operation: Operation } {
  return operationsOf(document).find(({ operation: { operationId } }) => operationId === id) ?? expect.unreachable(id);
}

/** What a `$ref` within the document leads to, and where that is. */
function followed(document: Document, pointer: string): { pointer: string; value: Member } {
  const value = pointer
    .split('/')
    .slice(1)
    .reduce<unknown>((at, step) => (at as Record<string, unknown>)[step.replaceAll('~1', '/').replaceAll('~0', '~')], document) as Member;
  return value.$ref === undefined ? { pointer, value } : followed(document, value.$ref.slice(1));
}

/** Whether a value fits the schema at a place of the document. */
function checker(document: Document): (pointer: string, value: unknown) => unknown {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  addFormats.default(ajv);
  for (const name of ['int64', 'numeric']) ajv.addFormat(name, true);
  ajv.addSchema({ $id: 'document:', ...document });
  return (pointer, value) => {
    const validate = ajv.getSchema(`document:#${encodeURI(pointer)}`) ?? expect.unreachable(`no schema at ${pointer}`);
    return validate(value) ? undefined : validate.errors;
  };
}

const limited = defineResource({
  name: 'limited-2',
  key: ['id'],
  schema: Type.Object({ id: Type.String({ maxLength: 5 }), 'odd/name~': Type.Optional(Type.Enum(['a', 'b'])) }),
  columns: { 'odd/name~': 'odd' },
  access: [
    { actions: ['read'], scope: 'a:read' },
    { actions: ['read', 'delete'], scope: 'b:all' },
  ],
});

describe('the document', () => {
  const sets: Record<string, readonly Resource[]> = {
    'the examples': [orders, orderLines],
    'a field of every type': resources.all(),
    'a resource that few may use': [limited],
    'a resource that nobody may write': [{ ...limited, access: [{ actions: ['read'], scope: 'a:read' }] }],
  };

  it.each(Object.entries(sets))('is valid OpenAPI 3.1 of %s, with an id for each operation', async (_what, set) => {
    const document = describeGateway(new ResourceSet(set), settings);
    const result = await new Validator().validate(structuredClone(document));
    expect(result.errors ?? []).toEqual([]);
    expect(result.valid).toBe(true);
    const ids = operationsOf(document).map(({ operation: { operationId } }) => operationId);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { path, method, operation } of operationsOf(document)) {
      const named = [...path.matchAll(/\{([^}]+)\}/g)].map(([, name]) => name);
      const item = document.paths[path]?.['parameters'] as Member[] | undefined;
      expect([method, path, item?.map(({ name }) => name) ?? []]).toEqual([method, path, named]);
      for (const status of Object.keys(operation.responses)) expect(status).toMatch(/^[2-5]\d\d$/);
    }
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#([^"]+)"/g)].map(([, pointer = '']) => pointer);
    for (const pointer of references) expect(followed(document, pointer).value, pointer).toBeDefined();
    for (const name of Object.keys(document.components['responses'] ?? {})) expect(references).toContain(`/components/responses/${name}`);
  });

  it('has the same ids each time, those of a resource whatever others there are', () => {
    const idsOf = (...set: Resource[]) => operationsOf(describeGateway(new ResourceSet(set), settings)).map((o) => o.operation.operationId);
    const few = idsOf(orders);
    expect(few).toEqual([
      'listOrders',
      'insertOrders',
      'batchGetOrders',
      'readOrders',
      'upsertOrders',
      'updateOrders',
      'deleteOrders',
      'submit',
      'getSubmission',
      'getHealth',
      'getReadiness',
      'getProblem',
      'getOpenApi',
      'getDocs',
    ]);
    expect(idsOf(orders, orderLines)).toEqual(
      expect.arrayContaining([...few, 'insertOrderLines', 'readOrderLines', 'listOrderLines', 'listOrderLinesByOrderId']),
    );
  });

  it('names scopes, any of which is enough, and leaves out what no rule allows', () => {
    const document = describeGateway(new ResourceSet([limited]), settings);
    expect(operation(document, 'readLimited_2').operation.security).toEqual([{ bearer: ['a:read'] }, { bearer: ['b:all'] }]);
    expect(operation(document, 'deleteLimited_2').operation.security).toEqual([{ bearer: ['b:all'] }]);
    expect(Object.keys(document.paths['/v1/limited-2/{id}'] ?? {})).toEqual(['parameters', 'get', 'delete']);
    expect(Object.keys(document.paths['/v1/limited-2'] ?? {})).toEqual(['get']);
    expect(document.paths['/v1/submissions']?.['get']).toBeUndefined();
    expect(document.paths['/healthz']?.['get']).toMatchObject({ security: [] });
  });

  it('has every problem type, and each at some operation', () => {
    const document = describeGateway(resources, settings);
    const types = Object.keys(PROBLEM_TYPES).map((name) => `/problems/${name}`);
    expect(followed(document, '/components/schemas/Problem/properties/type').value).toMatchObject({ enum: types });
    const answered = Object.keys(document.components['responses'] ?? {}).flatMap((name) => name.split('.'));
    expect([...new Set(answered)].sort()).toEqual(Object.keys(PROBLEM_TYPES).sort());
  });

  it('has the headers of the contract', () => {
    const document = describeGateway(resources, settings);
    const { operation: put, pointer } = operation(document, 'upsertOrders');
    const names = (put.parameters ?? []).map((_, i) => followed(document, `${pointer}/parameters/${i}`).value.name);
    expect(names.sort()).toEqual(['Correlation-Id', 'Idempotency-Key', 'If-Match', 'Prefer', 'traceparent', 'tracestate']);
    const headersOf = (status: string) => Object.keys(followed(document, `${pointer}/responses/${status}`).value.headers ?? {});
    const limits = ['RateLimit', 'RateLimit-Policy'];
    expect(headersOf('202')).toEqual(['Correlation-Id', 'Location', ...limits]);
    expect(headersOf('200')).toEqual(['Correlation-Id', 'Preference-Applied', ...limits]);
    expect(headersOf('401')).toEqual(['Correlation-Id', 'WWW-Authenticate']);
    expect(headersOf('429')).toEqual(['Correlation-Id', 'Retry-After', ...limits]);
    expect(headersOf('503')).toEqual(['Correlation-Id', 'Retry-After']);
    expect(operation(document, 'upsertOrderLines').operation.parameters).not.toContainEqual({ $ref: '#/components/parameters/ifMatch' });
    expect(operation(document, 'insertOrders').operation.parameters).not.toContainEqual({ $ref: '#/components/parameters/ifMatch' });
  });
});

describe('a body', () => {
  const document = describeGateway(resources, settings);
  const check = checker(document);
  const bodyOf = (id: string): string => `${operation(document, id).pointer}/requestBody/content/application~1json/schema`;
  const order = { customer: 'c1', status: 'open' };
  const line = { sku: 's', quantity: 1 };

  const bodies: readonly (readonly [id: string, url: string, method: 'PUT' | 'POST' | 'PATCH', body: object, fits: boolean])[] = [
    ['upsertOrders', '/v1/orders/o1', 'PUT', order, true],
    ['upsertOrders', '/v1/orders/o1', 'PUT', { ...order, orderId: 'o1', total: 1.5, note: null, metadata: null }, true],
    ['upsertOrders', '/v1/orders/o1', 'PUT', { ...order, total: '-0.000000001' }, true],
    ['upsertOrders', '/v1/orders/o1', 'PUT', { ...order, total: 'x' }, false],
    ['upsertOrders', '/v1/orders/o1', 'PUT', { ...order, updatedAt: '2026-01-01T00:00:00Z' }, false],
    ['upsertOrders', '/v1/orders/o1', 'PUT', { ...order, colour: 'red' }, false],
    ['upsertOrders', '/v1/orders/o1', 'PUT', { customer: null, status: 'open' }, false],
    ['upsertOrders', '/v1/orders/o1', 'PUT', { customer: 'c1' }, false],
    ['insertOrders', '/v1/orders', 'POST', order, false],
    ['insertOrders', '/v1/orders', 'POST', { ...order, orderId: '' }, false],
    ['insertOrders', '/v1/orders', 'POST', { ...order, orderId: 'o2' }, true],
    ['updateOrders', '/v1/orders/o1', 'PATCH', {}, false],
    ['updateOrders', '/v1/orders/o1', 'PATCH', { total: null }, true],
    ['updateOrders', '/v1/orders/o1', 'PATCH', { status: null }, false],
    ['updateOrders', '/v1/orders/o1', 'PATCH', { status: 'lost' }, false],
    ['upsertOrderLines', '/v1/order-lines/o1/1', 'PUT', { ...line, quantity: '7' }, true],
    ['upsertOrderLines', '/v1/order-lines/o1/1', 'PUT', { ...line, quantity: 0 }, false],
    ['upsertOrderLines', '/v1/order-lines/o1/1', 'PUT', { ...line, quantity: 1.5 }, false],
    ['insertAllTypes', '/v1/all-types', 'POST', {}, true],
    ['insertAllTypes', '/v1/all-types', 'POST', { big: '9223372036854775807', numbers: ['1', 2], blob: 'AAAAAAAAAAA=' }, true],
    ['insertAllTypes', '/v1/all-types', 'POST', { big: 12, bounded: -5, float: 0.5, flag: false, tags: [], document: [{ a: null }] }, true],
    ['insertAllTypes', '/v1/all-types', 'POST', { moment: '2026-01-01T00:00:00.123456789+01:00', day: '2026-02-28' }, true],
    ['insertAllTypes', '/v1/all-types', 'POST', { day: '2026-02-30' }, false],
    ['insertAllTypes', '/v1/all-types', 'POST', { big: 1.5 }, false],
    ['insertAllTypes', '/v1/all-types', 'POST', { numbers: [null] }, false],
    ['insertAllTypes', '/v1/all-types', 'POST', { blob: 'AAAAAAAAAAAAAAAA' }, false],
    ['insertAllTypes', '/v1/all-types', 'POST', { text: 'x'.repeat(21) }, false],
    ...(
      [
        [{ op: 'insert', resource: 'orders', value: { ...order, orderId: 'o4' } }, true],
        [{ op: 'insert', resource: 'orders', key: ['o4'], value: order }, true],
        [{ op: 'insert', resource: 'orders', value: order }, false],
        [{ op: 'insert', resource: 'all-types', value: {} }, true],
        [{ op: 'upsert', resource: 'order-lines', key: ['o4', '1'], value: line }, true],
        [{ op: 'upsert', resource: 'order-lines', key: ['o4', 0], value: line }, false],
        [{ op: 'upsert', resource: 'order-lines', key: ['o4'], value: line }, false],
        [{ op: 'update', resource: 'orders', key: ['o4'], value: { note: 'n' } }, true],
        [{ op: 'delete', resource: 'orders', key: ['o4'] }, true],
        [{ op: 'delete', resource: 'orders', key: ['o4'], value: order }, false],
        [{ op: 'delete', resource: 'nothing', key: ['o4'] }, false],
        [{ op: 'replace', resource: 'orders', key: ['o4'], value: order }, false],
      ] as const
    ).map(([mutation, fits]) => ['submit', '/v1/submissions', 'POST', { mutations: [mutation] }, fits] as const),
  ];

  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await startTestGateway();
  });
  afterAll(() => gateway.close());

  it.each(bodies)('of %s is taken by the gateway where the document says so (%#)', async (id, url, method, payload, fits) => {
    expect(check(bodyOf(id), payload) === undefined).toBe(fits);
    expect((await gateway.call({ method, url, payload })).statusCode).toBe(fits ? 202 : 422);
  });
});

describe('a gateway', () => {
  const source = { current: resources };
  let gateway: TestGateway;
  let document: Document;
  let routes: Set<string>;
  let check: ReturnType<typeof checker>;

  beforeAll(async () => {
    // With limits, so that the answers have their headers.
    const rate = { perSecond: 1000, burst: 1000 };
    gateway = await startTestGateway({ resources: source, settings: { rates: () => ({ tenantWrites: rate, tenantReads: rate }) } });
    const { table } = resources.get('orders') ?? expect.unreachable();
    const columns = ['tenant', 'order_id', 'customer', 'status', 'total', 'metadata', 'updated_at'];
    const values = ['t1', 'r1', 'c1', 'paid', '12.5', '{"a":[1,null]}', COMMIT_TIMESTAMP];
    await gateway.store.commit([{ op: 'insert', table, columns, values }], { tag: 'test' });
    const types = resources.get('all-types') ?? expect.unreachable();
    const row: Record<string, unknown> = { tenant: 't1', id: 'a1', big: '9223372036854775807', bounded: '-5', float: 0.5, flag: true };
    Object.assign(row, { amount: '-0.5', moment: '2026-01-01T00:00:00.123456789Z', day: '2026-01-01', blob: 'AAECAwQFBgc=' });
    Object.assign(row, { document: 'null', tags: ['x'], numbers: ['-1'], updated_at: COMMIT_TIMESTAMP });
    const full = { op: 'insert', table: types.table, columns: Object.keys(row), values: Object.values(row) as string[] } as const;
    const bare = {
      op: 'insert',
      table: types.table,
      columns: ['tenant', 'id', 'updated_at'],
      values: ['t1', 'a2', COMMIT_TIMESTAMP],
    } as const;
    await gateway.store.commit([full, bare], { tag: 'test' });
    document = (await gateway.app.inject('/openapi.json')).json<Document>();
    check = checker(document);
    routes = new Set(printedRoutes(gateway.app.printRoutes({ commonPrefix: false })));
  });
  afterAll(() => gateway.close());

  it('serves the document without a token', async () => {
    const response = await gateway.app.inject('/openapi.json');
    expect([response.statusCode, response.headers['content-type']]).toEqual([200, 'application/json; charset=utf-8']);
    expect(document).toEqual(JSON.parse(JSON.stringify(describeGateway(resources, gateway.config))));
    expect(document.info.version).toMatch(/^\d+\.\d+\.\d+/);
  });

  it('has every route of the document, and no other', () => {
    const names = resources.all().map(({ name }) => name);
    // A resource and a key are what the gateway's routes have as parameters; of the page, what it loads is its own.
    const documented = operationsOf(document).map(({ method, path }) => {
      const [, version, name = '', ...rest] = path.split('/');
      const isRow = version === 'v1' && names.includes(name);
      if (version === 'v1' && names.includes(name.replace(/:batchGet$/, '')) && !isRow)
        return `${method.toUpperCase()} /v1/:resource(^[a-z0-9-]+)::batchGet`;
      const route = isRow ? `/v1/:resource${rest.length > 0 ? '/*' : ''}` : path.replace(/\{(\w+)\}/g, ':$1');
      return `${method.toUpperCase()} ${route}`;
    });
    const own = [...routes].filter((route) => !route.includes(' /docs/') && !route.startsWith('HEAD '));
    expect(own.length).toBeGreaterThan(10);
    expect([...new Set(documented)].sort()).toEqual(own.sort());
  });

  it('answers as the document says', async () => {
    const order = { customer: 'c1', status: 'open' };
    const put = (payload: unknown, headers: Record<string, string> = {}): InjectOptions => ({
      method: 'PUT',
      url: '/v1/orders/o1',
      payload: payload as object,
      headers,
    });
    const receipt = await gateway.call(put(order));
    const statusUrl = receipt.headers['location'] as string;
    const [envelope] = await gateway.queued();
    if (!envelope) expect.unreachable();
    const rejected = { outcome: 'rejected', reason: 'not_found', detail: 'there is no such row' } as const;
    const { call, app } = gateway;
    const pending = await call({ method: 'GET', url: statusUrl });
    await gateway.store.commit(ledgerMutations([{ envelope, text: envelopeText(envelope), verdict: rejected }]), { tag: 'test' });
    const etag = (await call({ method: 'GET', url: '/v1/orders/r1' })).headers['etag'] as string;
    const reader = { authorization: `Bearer ${await gateway.token({ scopes: ['orders:read'] })}` };

    const answered: readonly (readonly [id: string, answer: LightMyRequestResponse | Promise<LightMyRequestResponse>, status: number])[] = [
      ['upsertOrders', receipt, 202],
      ['upsertOrders', call(put({ status: 'lost' })), 422],
      ['upsertOrders', call(put('{', { 'content-type': 'application/json' })), 400],
      ['upsertOrders', call(put('a=b', { 'content-type': 'text/plain' })), 415],
      ['upsertOrders', call(put({ ...order, metadata: 'x'.repeat(1_048_000) })), 413],
      ['upsertOrders', call(put(order, { 'if-match': 'x' })), 400],
      ['upsertOrders', call(put(order, reader)), 403],
      ['upsertOrders', app.inject(put(order)), 401],
      ['upsertOrderLines', call({ method: 'PUT', url: '/v1/order-lines/o1/0', payload: {} }), 422],
      ['insertAllTypes', call({ method: 'POST', url: '/v1/all-types', payload: {} }), 202],
      ['updateOrders', call({ method: 'PATCH', url: '/v1/orders/o1', payload: { note: 'n' } }), 202],
      ['deleteOrders', call({ method: 'DELETE', url: '/v1/orders/o1' }), 202],
      ['deleteOrders', call({ method: 'DELETE', url: '/v1/orders/%zz' }), 404],
      ['readOrders', call({ method: 'GET', url: '/v1/orders/r1' }), 200],
      ['readOrders', call({ method: 'GET', url: '/v1/orders/r1', headers: { 'if-none-match': etag } }), 304],
      ['readOrders', call({ method: 'GET', url: '/v1/orders/none' }), 404],
      ['readOrders', call({ method: 'GET', url: '/v1/orders/r1', headers: { 'read-consistency': 'max-staleness=9' } }), 200],
      ['readOrders', call({ method: 'GET', url: '/v1/orders/r1', headers: { 'read-consistency': 'soon' } }), 400],
      ['readOrderLines', call({ method: 'GET', url: '/v1/order-lines/r1/1' }), 404],
      ['listOrders', call({ method: 'GET', url: '/v1/orders?customer=c1&limit=1' }), 200],
      ['listOrders', call({ method: 'GET', url: '/v1/orders?status=open' }), 400],
      ['listOrders', call({ method: 'GET', url: '/v1/orders?cursor=x' }), 400],
      ['listOrderLinesByOrderId', call({ method: 'GET', url: '/v1/order-lines/r1?order=desc' }), 200],
      ['listOrderLinesByOrderId', app.inject('/v1/order-lines/r1'), 401],
      ['batchGetOrders', call({ method: 'POST', url: '/v1/orders:batchGet', payload: { keys: ['r1', ['none']] } }), 200],
      ['batchGetOrders', call({ method: 'POST', url: '/v1/orders:batchGet', payload: { keys: [] } }), 422],
      ['readAllTypes', call({ method: 'GET', url: '/v1/all-types/a1' }), 200],
      ['readAllTypes', call({ method: 'GET', url: '/v1/all-types/a2' }), 200],
      ['submit', call({ method: 'POST', url: '/v1/submissions', payload: { mutations: [] } }), 422],
      ['getSubmission', pending, 200],
      ['getSubmission', call({ method: 'GET', url: statusUrl }), 200],
      ['getSubmission', call({ method: 'GET', url: '/v1/submissions/x' }), 404],
      ['getSubmission', call({ method: 'GET', url: `${statusUrl}?wait=x` }), 400],
      ['getHealth', app.inject('/healthz'), 200],
      ['getReadiness', app.inject('/readyz'), 200],
      ['getProblem', app.inject('/problems/nothing'), 404],
      ['getOpenApi', app.inject('/openapi.json'), 200],
      ['getDocs', app.inject('/docs'), 200],
      ...Object.keys(PROBLEM_TYPES).map((name) => ['getProblem', app.inject(`/problems/${name}`), 200] as const),
    ];
    for (const [id, answer, status] of answered) {
      const response = await answer;
      expect([id, response.statusCode]).toEqual([id, status]);
      const { pointer, value } = followed(document, `${operation(document, id).pointer}/responses/${status}`);
      for (const name of Object.keys(value.headers ?? {})) expect(response.headers, `${id} ${status}`).toHaveProperty(name.toLowerCase());
      const type = response.headers['content-type']?.toString().split(';', 1)[0] ?? '';
      expect([id, status, type]).toEqual([id, status, Object.keys(value.content ?? { '': {} })[0]]);
      if (!type.endsWith('json')) continue;
      const body = response.json<Record<string, unknown>>();
      expect(check(`${pointer}/content/${type.replace('/', '~1')}/schema`, body), `${id} ${status}`).toBeUndefined();
      if (id.startsWith('read') && status === 200) {
        const place = `${pointer}/content/application~1json/schema`;
        const row = followed(document, id === 'readOrders' ? `${place}/allOf/0` : place).value as { properties?: object };
        expect(Object.keys(row.properties ?? {})).toEqual(Object.keys(body));
      }
    }
    await gateway.queued();
  });

  it('shows the document as a page that loads nothing from elsewhere', async () => {
    for (const url of ['/docs', '/docs/']) {
      const page = await gateway.app.inject(url);
      expect([page.statusCode, page.headers['content-type']]).toEqual([200, 'text/html; charset=utf-8']);
      expect(page.headers['content-security-policy']).toMatch(/^default-src 'self';/);
      expect(page.body).not.toMatch(/(?:https?:)?\/\/[a-z]/i);
      const loaded = [...page.body.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, address = '']) => address);
      expect(loaded.length).toBeGreaterThan(3);
      for (const address of loaded) {
        const part = await gateway.app.inject(new URL(address, `http://here${url}`).pathname);
        expect([address, part.statusCode]).toEqual([address, 200]);
      }
      const script = await gateway.app.inject('/docs/static/swagger-initializer.js');
      expect(script.body).toContain('"layout":"BaseLayout"');
      expect(script.body).toContain('validatorUrl: null');
    }
    expect((await gateway.app.inject('/docs/json')).json()).toEqual(document);
  });

  it('keeps its own refusals below the page', async () => {
    for (const url of ['/docs/yaml', '/docs/none', '/docs/static/none', '/docs/static/%2e%2e/package.json']) {
      const response = await gateway.app.inject(url);
      expect([url, response.statusCode, response.json<{ type: string }>().type]).toEqual([url, 404, '/problems/unknown_route']);
    }
  });

  it("refuses what the files of the page cannot answer as the request's fault, and logs no error", async () => {
    const logged: Record<string, unknown>[] = [];
    const served = await startTestGateway({ onLog: (line) => logged.push(line) });
    onTestFinished(() => served.close());
    await served.app.listen({ host: '127.0.0.1', port: 0 });
    const { port } = served.app.server.address() as AddressInfo;
    /** Of the path as it is written here: an URL would be made shorter first. */
    const answer = async (path: string, headers: Record<string, string> = {}): Promise<[status: number | undefined, type: string]> => {
      const [response] = (await once(send({ port, path, headers, agent: false }).end(), 'response')) as [IncomingMessage];
      return [response.statusCode, ((await json(response)) as { type: string }).type];
    };
    for (const path of ['../../package.json', 'a/../index.css', '%2e%2e/%2e%2e/package.json', '%00', '.', '/etc/passwd', 'k'.repeat(5000)])
      expect([path, await answer(`/docs/static/${path}`)]).toEqual([path, [404, '/problems/unknown_route']]);
    for (const headers of [{ range: 'bytes=abc' }, { range: 'bytes=999999-' }, { 'if-match': '"x"' }])
      expect([headers, await answer('/docs/static/index.css', headers)]).toEqual([headers, [400, '/problems/invalid_parameter']]);
    expect(logged.filter(({ level }) => Number(level) >= 50)).toEqual([]);
  });

  it('follows the resource files', async () => {
    source.current = new ResourceSet([
      ...resources.all(),
      defineResource({
        name: 'customers',
        key: ['customerId'],
        schema: Type.Object({ customerId: field.generatedUuid() }),
        access: [{ actions: ['insert', 'read'], scope: 'customers' }],
      }),
    ]);
    for (const url of ['/openapi.json', '/docs/json']) {
      const next = (await gateway.app.inject(url)).json<Document>();
      const added = Object.keys(next.paths).filter((path) => !(path in document.paths));
      expect(added).toEqual(['/v1/customers', '/v1/customers:batchGet', '/v1/customers/{customerId}']);
    }
    source.current = resources;
    expect((await gateway.app.inject('/openapi.json')).json()).toEqual(document);
  });
});

describe('spanway openapi', () => {
  it('prints the document and nothing else', async () => {
    const root = fileURLToPath(new URL('../..', import.meta.url));
    const { stdout } = await promisify(execFile)(process.execPath, ['cli/main.ts', 'openapi'], { cwd: root, maxBuffer: 2 ** 24 });
    const document = JSON.parse(stdout) as Document;
    expect(document.openapi).toBe('3.1.1');
    expect(Object.keys(document.paths)).toContain('/v1/order-lines/{orderId}/{lineNumber}');
  });
});

/** `METHOD /path` of each line of Fastify's printed tree, whose lines have one path each where there are no common prefixes. */
function printedRoutes(tree: string): string[] {
  const routes: string[] = [];
  const parents: string[] = [];
  for (const line of tree.split('\n')) {
    const match = /^([│ ]*)[├└]── (\S*)(?: \(([A-Z, ]+)\))?/.exec(line);
    if (!match) continue;
    const [, indent = '', part = '', methods] = match;
    const depth = indent.length / 4;
    parents.length = depth;
    // The tree has a wildcard without the slash before it.
    parents[depth] = part === '*' ? '/*' : part;
    for (const method of methods?.split(', ') ?? []) routes.push(`${method} ${parents.join('')}`);
  }
  return routes;
}
