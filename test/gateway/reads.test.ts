/** Reads: rows, their children, pages, batches, and how new they are. */
import type { LightMyRequestResponse } from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defineResource, field, Type } from '../../index.ts';
import { PortUnavailableError, StoreError } from '../../ports/errors.ts';
import type { Store, StoreMutation } from '../../ports/store/port.ts';
import { ledgerMutations } from '../../schemas/envelope/ledger.ts';
import { envelopeText } from '../../schemas/envelope/pack.ts';
import orderLines from '../../schemas/order-lines.ts';
import orders from '../../schemas/orders.ts';
import { ResourceSet } from '../../schemas/resource/registry.ts';
import { type Cell, COMMIT_TIMESTAMP } from '../../schemas/resource/table.ts';
import { boundCache } from '../fixtures/caches.ts';
import { applyQueued, startTestGateway, type TestGateway } from '../fixtures/gateways.ts';

/** Rooms of a floor may be read by its guests, without what they cost. */
const rooms = defineResource({
  name: 'rooms',
  key: ['floor', 'room'],
  schema: Type.Object({
    floor: Type.String({ maxLength: 10 }),
    room: field.int64({ minimum: 0, maximum: 1000 }),
    kind: Type.Optional(Type.String({ maxLength: 10 })),
    price: Type.Optional(field.numeric()),
    area: Type.Optional(Type.Number()),
    updatedAt: field.commitTimestamp(),
  }),
  indexes: [{ fields: ['kind', 'area'] }, { fields: ['price'] }, { fields: ['updatedAt'] }],
  access: [
    { actions: ['read'], scope: 'rooms:read' },
    { actions: ['read'], scope: 'rooms:guest', where: { floor: ['first'] }, fields: ['kind', 'area'] },
    { actions: ['read'], scope: 'rooms:sweeper', fields: [] },
  ],
});

const set = new ResourceSet([orders, orderLines, rooms]);
/** How often the store was asked. */
let asked = 0;
let down = false;
let gateway: TestGateway;
let log: Record<string, unknown>[] = [];

function counted(store: Store): Store {
  const call = <T>(work: () => Promise<T>): Promise<T> => {
    asked += 1;
    return down ? Promise.reject(new StoreError('transient', 'away')) : work();
  };
  return {
    capabilities: store.capabilities,
    commit: (...args) => store.commit(...args),
    readWrite: (...args) => store.readWrite(...args),
    read: (...args) => call(() => store.read(...args)),
    readAt: (...args) => call(() => store.readAt(...args)),
    readRange: (...args) => call(() => store.readRange(...args)),
    scan: (...args) => call(() => store.scan(...args)),
    ping: () => store.ping(),
    close: () => store.close(),
  };
}

const row = (resource: string, cells: Record<string, Cell>): StoreMutation => {
  const { table, version } = set.get(resource) ?? expect.unreachable();
  const all = { tenant: 't1', ...cells, ...(version ? { updated_at: COMMIT_TIMESTAMP } : {}) };
  return { op: 'upsert', table, columns: Object.keys(all), values: Object.values(all) };
};

beforeAll(async () => {
  gateway = await startTestGateway({
    resources: { current: set },
    store: counted,
    settings: { maxPageRows: 5 },
    onLog: (line) => log.push(line),
  });
  await gateway.store.apply((await gateway.store.compare(set.tables())).missing);
  await gateway.store.commit(
    [
      ...['o1', 'o2', 'o3', 'o4'].map((order_id, i) => row('orders', { order_id, customer: i % 2 === 0 ? 'c1' : 'c2', status: 'open' })),
      ...[1, 2, 10].map((line_number) => row('order-lines', { order_id: 'o1', line_number: String(line_number), sku: 's', quantity: '1' })),
      ...Array.from({ length: 6 }, (_, i) =>
        row('order-lines', { order_id: 'o2', line_number: String(i + 1), sku: `s${i}`, quantity: '1' }),
      ),
      ...['first', 'second'].flatMap((floor) =>
        [1, 2, 3].map((n) => row('rooms', { floor, room: String(n), kind: n === 3 ? null : 'single', price: '9.5', area: n * 10 })),
      ),
    ],
    { tag: 'test' },
  );
});
afterAll(() => gateway.close());

interface Page {
  readonly items: readonly Record<string, unknown>[];
  readonly nextCursor?: string;
}

const ALL = ['orders:read', 'order-lines:read', 'rooms:read', 'orders:write'];

async function get(
  url: string,
  options: { scopes?: readonly string[]; headers?: Record<string, string> } = {},
): Promise<LightMyRequestResponse> {
  const authorization = `Bearer ${await gateway.token({ scopes: options.scopes ?? ALL })}`;
  return gateway.app.inject({ method: 'GET', url, headers: { authorization, ...options.headers } });
}

async function page(url: string, scopes?: readonly string[]): Promise<Page> {
  const response = await get(url, scopes ? { scopes } : {});
  expect(response.statusCode, response.body).toBe(200);
  return response.json<Page>();
}

async function refused(url: string, options: Parameters<typeof get>[1] = {}): Promise<[status: number, type: string, detail: string]> {
  const response = await get(url, options);
  const { type, detail } = response.json<{ type: string; detail: string }>();
  return [response.statusCode, type, detail];
}

async function batch(payload: object, scopes: readonly string[] = ALL, resource = 'orders'): Promise<LightMyRequestResponse> {
  const authorization = `Bearer ${await gateway.token({ scopes })}`;
  return gateway.app.inject({ method: 'POST', url: `/v1/${resource}:batchGet`, payload, headers: { authorization } });
}

describe('a row', () => {
  it('is shown with the fields that were asked for', async () => {
    expect((await get('/v1/orders/o1?fields=status,orderId')).json()).toEqual({ orderId: 'o1', status: 'open' });
    expect(await refused('/v1/orders/o1?fields=colour')).toEqual([400, '/problems/invalid_parameter', expect.stringContaining('"colour"')]);
  });

  it('is shown with its children, by one request to the store, without an ETag', async () => {
    const before = asked;
    const response = await get('/v1/orders/o1?include=order-lines&fields=orderId');
    expect(asked - before).toBe(1);
    expect(response.json()).toEqual({
      orderId: 'o1',
      'order-lines': [1, 2, 10].map((lineNumber) => ({ orderId: 'o1', lineNumber, sku: 's', quantity: 1, unitPrice: null })),
    });
    expect(response.headers['etag']).toBeUndefined();
    expect((await get('/v1/orders/o3?include=order-lines')).json()).toMatchObject({ customer: 'c1', 'order-lines': [] });
    expect((await get('/v1/orders/none?include=order-lines')).statusCode).toBe(404);
  });

  it('is not shown with what is no child of it, with children its caller may not read, or with too many', async () => {
    expect(await refused('/v1/orders/o1?include=rooms')).toEqual([
      400,
      '/problems/invalid_parameter',
      expect.stringContaining('order-lines'),
    ]);
    expect((await refused('/v1/orders/o1?include=order-lines', { scopes: ['orders:read'] }))[0]).toBe(403);
    expect(await refused('/v1/orders/o2?include=order-lines')).toEqual([
      413,
      '/problems/too_large',
      expect.stringContaining('/v1/order-lines/o2'),
    ]);
  });

  it('answers HEAD as GET, and 304 to its version', async () => {
    const { headers } = await get('/v1/orders/o1');
    expect(headers['read-timestamp']).toMatch(/^2\d{3}-.*Z$/);
    const authorization = `Bearer ${await gateway.token({ scopes: ALL })}`;
    const head = await gateway.app.inject({ method: 'HEAD', url: '/v1/orders/o1', headers: { authorization } });
    expect([head.statusCode, head.body, head.headers['etag']]).toEqual([200, '', headers['etag']]);
    const same = await get('/v1/orders/o1', { headers: { 'if-none-match': String(headers['etag']) } });
    expect([same.statusCode, same.body]).toEqual([304, '']);
  });
});

describe('policy, of a row', () => {
  it('has no ETag, and no 304, for a caller who may not read the version', async () => {
    const shown = await get('/v1/rooms/first/1');
    const etag = String(shown.headers['etag']);
    expect(etag).toBe(`"${String(shown.json<Record<string, unknown>>()['updatedAt'])}"`);
    for (const method of ['GET', 'HEAD'] as const)
      for (const tags of [etag, '*']) {
        const authorization = `Bearer ${await gateway.token({ scopes: ['rooms:guest'] })}`;
        const headers = { authorization, 'if-none-match': tags };
        const hidden = await gateway.app.inject({ method, url: '/v1/rooms/first/1', headers });
        expect([hidden.statusCode, hidden.headers['etag']]).toEqual([200, undefined]);
        if (method === 'GET') expect(hidden.json()).toEqual({ floor: 'first', room: 1, kind: 'single', area: 10 });
      }
    const asked = await get('/v1/rooms/first/1?fields=kind', { headers: { 'if-none-match': etag } });
    expect([asked.statusCode, asked.headers['etag']]).toEqual([304, etag]);
  });
});

describe('a list', () => {
  const ids = async (url: string): Promise<unknown[]> => (await page(url)).items.map((item) => item['orderId']);

  it('is in the order of the key, of the first parts of the key, or of an index, by one request to the store', async () => {
    const before = asked;
    expect(await ids('/v1/orders')).toEqual(['o1', 'o2', 'o3', 'o4']);
    expect(await ids('/v1/orders?customer=c1')).toEqual(['o1', 'o3']);
    expect(await ids('/v1/orders?customer=c1&order=desc')).toEqual(['o3', 'o1']);
    expect(await ids('/v1/orders?customer.gte=c1&customer.lt=c2')).toEqual(['o1', 'o3']);
    expect(await ids('/v1/orders?orderId.gt=o1&orderId.lte=o3')).toEqual(['o2', 'o3']);
    expect(await ids('/v1/orders?customer=c1&orderId.gt=o1')).toEqual(['o3']);
    expect((await page('/v1/order-lines/o1')).items.map((item) => item['lineNumber'])).toEqual([1, 2, 10]);
    expect((await page('/v1/order-lines/o1?lineNumber.gte=2&fields=sku')).items).toEqual([{ sku: 's' }, { sku: 's' }]);
    expect((await page('/v1/order-lines?orderId=o1')).items).toHaveLength(3);
    expect(asked - before).toBe(9);
  });

  it('takes values of every type in its filters', async () => {
    const of = async (query: string): Promise<number> => (await page(`/v1/rooms?${query}`)).items.length;
    expect(await of('kind=single&area.gt=1e1')).toBe(2);
    expect(await of('kind=single&area=20')).toBe(2);
    expect(await of('price=9.50&limit=9')).toBe(5);
    expect(await of('updatedAt.gte=2020-01-01T00:00:00%2B01:00&updatedAt.lt=2021-01-01T00:00:00Z')).toBe(0);
    expect(await of('updatedAt.gte=2020-01-01T00:00:00Z&limit=4')).toBe(4);
  });

  it.each([
    ['orders', 'status=open', 'unserved_filter', 'the key (orderId), the index (customer)'],
    ['orders', 'status=open&customer=c1', 'unserved_filter', 'status, customer'],
    ['rooms', 'area=10', 'unserved_filter', 'the index (kind, area)'],
    ['rooms', 'room.gt=1', 'unserved_filter', 'a range of room'],
    ['rooms', 'kind.gt=a&area.gt=1', 'unserved_filter', 'a range of kind'],
    ['rooms', 'price.gt=1', 'unserved_filter', 'NUMERIC'],
    ['orders', 'colour=red', 'invalid_parameter', '"colour"'],
    ['orders', 'customer.like=c', 'invalid_parameter', '"customer.like"'],
    ['orders', 'customer=c1&customer=c2', 'invalid_parameter', 'customer is there twice'],
    ['orders', 'customer=c1&customer.eq=c2', 'invalid_parameter', 'customer has two values'],
    ['orders', 'customer.gt=c1&customer.gte=c2', 'invalid_parameter', 'two lower bounds'],
    ['rooms', 'floor=first&room=x', 'invalid_parameter', 'room must be an integer'],
    ['orders', 'limit=0', 'invalid_parameter', 'limit'],
    ['orders', 'limit=x', 'invalid_parameter', 'limit'],
    ['orders', 'order=up', 'invalid_parameter', 'asc or desc'],
    ['orders', 'cursor=AAAA', 'invalid_parameter', 'cursor'],
  ])('of %s by %s is refused, and the store is not asked', async (resource, query, type, detail) => {
    const before = asked;
    expect(await refused(`/v1/${resource}?${query}`)).toEqual([400, `/problems/${type}`, expect.stringContaining(detail)]);
    expect(asked).toBe(before);
  });

  it('is as long as its caller says, and never longer than the setting', async () => {
    expect((await page('/v1/rooms?limit=2')).items).toHaveLength(2);
    const cut = await page('/v1/rooms?limit=1000000');
    expect(cut.items).toHaveLength(5);
    expect(cut.nextCursor).toBeDefined();
    expect((await page('/v1/orders')).nextCursor).toBeUndefined();
  });

  it('goes on by its cursor, with each row once, while rows come and go', async () => {
    const add = (order_id: string, customer: string): Promise<unknown> =>
      gateway.store.commit([row('orders', { order_id, customer, status: 'open' })], { tag: 'test' });
    for (const id of ['b', 'd', 'f', 'h']) await add(`p-${id}`, 'paging');
    for (const [direction, first, then] of [
      ['asc', ['p-b', 'p-d'], ['p-e', 'p-f', 'p-h']],
      ['desc', ['p-h', 'p-f'], ['p-e', 'p-b', 'p-a']],
    ] as const) {
      const start = await page(`/v1/orders?customer=paging&order=${direction}&limit=2`);
      expect(start.items.map((item) => item['orderId'])).toEqual(first);
      await add('p-a', 'paging');
      await add('p-e', 'paging');
      const gone = set.get('orders')?.table ?? expect.unreachable();
      await gateway.store.commit([{ op: 'delete', table: gone, key: ['t1', first[1]] }], { tag: 'test' });
      const seen: unknown[] = [];
      for (let { nextCursor } = start; nextCursor !== undefined;) {
        const next: Page = await page(`/v1/orders?customer=paging&order=${direction}&limit=1&cursor=${nextCursor}`);
        seen.push(...next.items.map((item) => item['orderId']));
        nextCursor = next.nextCursor;
      }
      expect(seen).toEqual(direction === 'asc' ? then : ['p-e', 'p-b', 'p-a']);
    }
  });
});

describe('policy, in a list', () => {
  it('leaves out rows and fields that the caller may not read, and goes on behind them', async () => {
    const guest = ['rooms:guest'];
    const first = await page('/v1/rooms?limit=4', guest);
    expect(first.items).toEqual([1, 2, 3].map((room) => ({ floor: 'first', room, kind: room === 3 ? null : 'single', area: room * 10 })));
    const rest = await page(`/v1/rooms?limit=4&cursor=${first.nextCursor ?? ''}`, guest);
    expect(rest).toEqual({ items: [] });
    expect((await page('/v1/rooms?kind=single', guest)).items).toHaveLength(2);
  });

  it('refuses to find rows by a field, or in the order of one, that the caller may not read', async () => {
    for (const query of ['price=9.5', 'updatedAt.gte=2020-01-01T00:00:00Z'])
      expect((await refused(`/v1/rooms?${query}`, { scopes: ['rooms:guest'] }))[0]).toBe(403);
    expect((await refused('/v1/rooms?kind=single', { scopes: ['rooms:sweeper'] }))[0]).toBe(403);
    // Each is of some rule, but of a row of the second floor it is not the guest's.
    expect((await page('/v1/rooms?kind=single', ['rooms:guest', 'rooms:sweeper'])).items).toEqual([
      { floor: 'first', room: 1, kind: 'single', area: 10 },
      { floor: 'first', room: 2, kind: 'single', area: 20 },
    ]);
    expect((await page('/v1/rooms/second', ['rooms:guest', 'rooms:sweeper'])).items[0]).toEqual({ floor: 'second', room: 1 });
    expect((await refused('/v1/rooms', { scopes: [] }))[0]).toBe(403);
  });
});

describe('a batch', () => {
  it('gives a row for each key in their order, null where there is none, by one request to the store', async () => {
    const before = asked;
    const response = await batch({ keys: ['o2', ['none'], ['o1'], 'o2'], fields: ['orderId'] });
    expect(response.json()).toEqual({ items: [{ orderId: 'o2' }, null, { orderId: 'o1' }, { orderId: 'o2' }] });
    expect(response.headers['read-timestamp']).toBeDefined();
    expect(asked - before).toBe(1);
    const lines = await batch({ keys: [['o1', 10]] }, ALL, 'order-lines');
    expect(lines.json()).toMatchObject({ items: [{ lineNumber: 10 }] });
  });

  it('is refused whole where a key is out of form, there are too many, or a row is not for the caller', async () => {
    expect((await batch({ keys: ['o1', ['o1', 'o2']] })).json()).toMatchObject({ errors: [{ pointer: '/keys/1' }] });
    expect((await batch({ keys: ['1', '2', '3', '4', '5', '6'] })).json()).toMatchObject({ errors: [{ rule: 'maxItems' }] });
    for (const body of [{}, { keys: [] }, { keys: ['o1'], more: 1 }, { keys: ['o1'], fields: 'status' }])
      expect((await batch(body)).statusCode).toBe(422);
    expect((await batch({ keys: ['o1'], fields: ['colour'] })).statusCode).toBe(400);
    expect(
      (
        await batch(
          {
            keys: [
              ['first', 1],
              ['second', 1],
            ],
          },
          ['rooms:guest'],
          'rooms',
        )
      ).statusCode,
    ).toBe(403);
    expect((await batch({ keys: [['first', 1]] }, ['rooms:guest'], 'rooms')).json()).toEqual({
      items: [{ floor: 'first', room: 1, kind: 'single', area: 10 }],
    });
  });
});

describe('the log', () => {
  const logged = async (read: () => Promise<LightMyRequestResponse>): Promise<unknown[]> => {
    log = [];
    await read();
    return log
      .filter(({ decision }) => decision !== undefined)
      .map(({ decision, action, resource, row, rows }) => [decision, action, resource, row, rows]);
  };

  it('has what was read and how many rows were found, once they were', async () => {
    expect(await logged(() => get('/v1/orders/o1'))).toEqual([['allow', 'read', 'orders', 'orders/o1', 1]]);
    expect(await logged(() => get('/v1/orders/none'))).toEqual([['allow', 'read', 'orders', 'orders/none', 0]]);
    expect(await logged(() => get('/v1/orders?customer=c2'))).toEqual([['allow', 'read', 'orders', undefined, 2]]);
    expect(await logged(() => batch({ keys: ['none', 'o1', 'o2'] }))).toEqual([['allow', 'read', 'orders', 'orders/none', 2]]);
    expect(await logged(() => get('/v1/orders/o1?include=order-lines'))).toEqual([
      ['allow', 'read', 'orders', 'orders/o1', 1],
      ['allow', 'read', 'order-lines', 'orders/o1', 3],
    ]);
    expect(await logged(() => get('/v1/orders/none?include=order-lines'))).toEqual([['allow', 'read', 'orders', 'orders/none', 0]]);
    down = true;
    expect(await logged(() => get('/v1/orders/o1')).finally(() => (down = false))).toEqual([]);
  });
});

describe('consistency', () => {
  it.each(['max-staleness=10', 'max-staleness=10s', 'strong', 'max-staleness=0.5s, stale-if-error=60s', 'stale-if-error=60'])(
    'may be %s',
    async (consistency) => {
      for (const url of ['/v1/orders/o1', '/v1/orders', '/v1/orders/o1?include=order-lines'])
        expect((await get(url, { headers: { 'read-consistency': consistency } })).statusCode).toBe(200);
    },
  );

  it.each([
    '',
    'weak',
    'strong=1',
    'max-staleness',
    'max-staleness=-1',
    'max-staleness=3601',
    'strong, max-staleness=1',
    'after=',
    'after=x',
  ])('may not be "%s"', async (consistency) => {
    expect((await refused('/v1/orders/o1', { headers: { 'read-consistency': consistency } })).slice(0, 2)).toEqual([
      400,
      '/problems/invalid_parameter',
    ]);
  });

  it('reads after a submission: not before its outcome, and then what it wrote', async () => {
    const written = await gateway.call({ method: 'PUT', url: '/v1/orders/late', payload: { customer: 'c9', status: 'open' } });
    const { id } = written.json<{ id: string }>();
    const headers = { 'read-consistency': `after=${id}` };
    expect((await refused('/v1/orders/late', { headers: { ...headers, prefer: 'wait=0' } })).slice(0, 2)).toEqual([
      503,
      '/problems/unavailable',
    ]);
    const reading = get('/v1/orders/late', { headers });
    const [envelope] = await gateway.queued();
    if (!envelope) expect.unreachable();
    const { commitTimestamp } = await gateway.store.commit(
      [
        ...ledgerMutations([{ envelope, text: envelopeText(envelope), verdict: { outcome: 'applied' } }]),
        row('orders', { order_id: 'late', customer: 'c9', status: 'open' }),
      ],
      { tag: 'test' },
    );
    const answer = await reading;
    expect(answer.json()).toMatchObject({ customer: 'c9', updatedAt: commitTimestamp });
    expect(Date.parse(String(answer.headers['read-timestamp']))).toBeGreaterThanOrEqual(Date.parse(commitTimestamp));
  });
});

describe('while the cache is away', () => {
  it('a read comes after a submission all the same, once the ledger has its outcome', async () => {
    const away = (): Promise<never> => Promise.reject(new PortUnavailableError('cache', 'away'));
    const alone = await startTestGateway({ cache: (cache) => ({ ...boundCache(cache), listen: away }) });
    try {
      const url = '/v1/orders/alone';
      const { id } = (await alone.call({ method: 'PUT', url, payload: { customer: 'c9', status: 'open' } })).json<{ id: string }>();
      const reading = alone.call({ method: 'GET', url, headers: { 'read-consistency': `after=${id}` } });
      expect(await applyQueued(alone)).toEqual(['applied']);
      expect((await reading).json()).toMatchObject({ customer: 'c9' });
    } finally {
      await alone.close();
    }
  });
});

describe('while the database cannot be read', () => {
  it('a read gets 503 with Retry-After', async () => {
    down = true;
    try {
      for (const url of ['/v1/orders/o1', '/v1/orders', '/v1/orders/o1?include=order-lines']) {
        const response = await get(url);
        expect([response.statusCode, response.headers['retry-after']]).toEqual([503, '1']);
      }
      expect((await batch({ keys: ['o1'] })).statusCode).toBe(503);
    } finally {
      down = false;
    }
  });

  it('a read that is not answered in time gets 503 too', async () => {
    const never = new Promise<never>(() => {});
    const slow = await startTestGateway({
      settings: { readTimeoutMs: 20 },
      store: (store) => ({ ...counted(store), read: () => never, readAt: () => never, readRange: () => never }),
    });
    try {
      const payload = { customer: 'c', status: 'open' };
      const accepted = await slow.call({ method: 'PUT', url: '/v1/orders/o1', payload });
      const { statusUrl } = accepted.json<{ statusUrl: string }>();
      for (const url of ['/v1/orders/o1', '/v1/orders', statusUrl, `${statusUrl}?wait=1`]) {
        const response = await slow.call({ method: 'GET', url });
        expect([response.statusCode, response.headers['retry-after']]).toEqual([503, '1']);
      }
    } finally {
      await slow.close();
    }
  });
});
