/** What a caller sees, whatever is behind the gateway: run unchanged against every stack. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Client, Stack } from '../fixtures/stacks.ts';

const order = { customer: 'c1', status: 'open' };

export function endToEnd(start: () => Promise<Stack>): void {
  let stack: Stack;
  let client: Client;
  beforeAll(async () => {
    stack = await start();
    client = stack.client;
  }, 120_000);
  afterAll(() => stack.stop());

  const newId = (): string => `o-${randomUUID()}`;

  it('applies an accepted write, tells its outcome, and reads it back with its version', async () => {
    const path = `/v1/orders/${newId()}`;
    const accepted = await client.call('PUT', path, {
      body: { ...order, total: '12.50', metadata: { b: [1, { c: null }], a: 'ü😀' } },
      headers: { 'correlation-id': 'e2e-1' },
    });
    expect(accepted.status).toBe(202);
    expect(accepted.body).toMatchObject({ status: 'accepted', correlationId: 'e2e-1' });
    const statusUrl = accepted.headers.get('location') ?? '';
    expect(statusUrl).toBe(accepted.body['statusUrl']);
    const status = await client.call('GET', `${statusUrl}?wait=20`);
    expect(status.body).toMatchObject({
      id: accepted.body['id'],
      status: 'applied',
      resource: 'orders',
      correlationId: 'e2e-1',
      acceptedAt: accepted.body['acceptedAt'],
    });
    const read = await client.call('GET', path);
    expect(read.body).toMatchObject({
      ...order,
      total: '12.5',
      note: null,
      metadata: { b: [1, { c: null }], a: 'ü😀' },
      updatedAt: status.body['commitTimestamp'],
    });
    expect(read.headers.get('etag')).toBe(`"${status.body['commitTimestamp'] as string}"`);
  });

  it('answers with the outcome when the caller prefers to wait for it', async () => {
    const path = `/v1/orders/${newId()}`;
    const answer = await client.call('PUT', path, { body: order, headers: { prefer: 'wait=20' } });
    expect(answer.status).toBe(200);
    expect(answer.headers.get('preference-applied')).toBe('wait');
    expect(answer.body['status']).toBe('applied');
  });

  it('inserts, updates and deletes, and rejects what meets no row or one too many, with the reason', async () => {
    const id = newId();
    const path = `/v1/orders/${id}`;
    expect(await client.write('PATCH', path, { note: 'x' })).toBe('rejected not_found');
    expect(await client.write('POST', '/v1/orders', { orderId: id, ...order })).toBe('applied');
    expect(await client.write('POST', '/v1/orders', { orderId: id, ...order })).toBe('rejected already_exists');
    expect(await client.write('PATCH', path, { note: 'x', metadata: { a: 1, b: 2 } })).toBe('applied');
    expect(await client.write('PATCH', path, { metadata: { a: null, c: 3 } })).toBe('applied');
    expect(await client.row(path)).toMatchObject({ ...order, note: 'x', metadata: { b: 2, c: 3 } });
    expect(await client.write('DELETE', path)).toBe('applied');
    expect(await client.row(path)).toBeUndefined();
    expect(await client.write('DELETE', path)).toBe('applied');
  });

  it('leaves the children alone when their parent is put, and clears an optional field that is left out', async () => {
    const id = newId();
    expect(await client.write('PUT', `/v1/orders/${id}`, { ...order, note: 'first', total: 1 })).toBe('applied');
    expect(await client.write('PUT', `/v1/order-lines/${id}/1`, { sku: 's', quantity: 2, unitPrice: '0.000000001' })).toBe('applied');
    expect(await client.write('PUT', `/v1/orders/${id}`, order)).toBe('applied');
    expect(await client.row(`/v1/orders/${id}`)).toMatchObject({ ...order, note: null, total: null });
    expect(await client.row(`/v1/order-lines/${id}/1`)).toEqual({
      orderId: id,
      lineNumber: 1,
      sku: 's',
      quantity: 2,
      unitPrice: '0.000000001',
    });
    expect(await client.write('PUT', `/v1/order-lines/${newId()}/1`, { sku: 's', quantity: 2 })).toBe('rejected parent_not_found');
  });

  it('gives every type back exactly at its extremes', async () => {
    const extremes = [
      {
        text: '😀'.repeat(20),
        big: '9223372036854775807',
        bounded: -5,
        float: 1.7976931348623157e308,
        amount: '99999999999999999999999999999.999999999',
        flag: true,
        moment: '9999-12-31T23:59:59.999999999Z',
        day: '9999-12-31',
        blob: '/////////v8=',
        document: { deep: [[{}]], n: 1e21, text: '\u2028' },
        tags: ['', 'ü'],
        numbers: ['-9223372036854775808', '0'],
      },
      {
        text: '',
        big: '-9223372036854775808',
        bounded: 5,
        float: 5e-324,
        amount: '-99999999999999999999999999999.999999999',
        flag: false,
        moment: '0001-01-01T00:00:00Z',
        day: '0001-01-01',
        blob: '',
        document: false,
        tags: [],
        numbers: [],
      },
    ];
    for (const value of extremes) {
      const id = newId();
      expect(await client.write('PUT', `/v1/all-types/${id.slice(0, 36)}`, value)).toBe('applied');
      expect(await client.row(`/v1/all-types/${id.slice(0, 36)}`)).toEqual({
        id: id.slice(0, 36),
        ...value,
        updatedAt: expect.any(String) as string,
      });
    }
    // A JSON number beyond a double keeps its digits where the type has room for them.
    const path = `/v1/all-types/${newId().slice(0, 36)}`;
    expect(await client.write('PUT', path, '{"big":-9223372036854775808,"amount":12345678901234567890.123456789}')).toBe('applied');
    expect(await client.row(path)).toMatchObject({ big: '-9223372036854775808', amount: '12345678901234567890.123456789' });
  });

  it('applies the mutations of one submission together or not at all', async () => {
    const id = newId();
    const lines = [1, 2].map((n) => ({ op: 'insert', resource: 'order-lines', key: [id, n], value: { sku: 's', quantity: n } }));
    const insert = { op: 'insert', resource: 'orders', value: { orderId: id, ...order } };
    expect(await client.write('POST', '/v1/submissions', { mutations: [insert, ...lines] })).toBe('applied');
    const update = { op: 'update', resource: 'orders', key: [id], value: { status: 'paid' } };
    expect(await client.write('POST', '/v1/submissions', { mutations: [update, ...lines] })).toBe('rejected already_exists');
    expect(await client.row(`/v1/orders/${id}`)).toMatchObject({ status: 'open' });
    expect(await client.row(`/v1/order-lines/${id}/2`)).toMatchObject({ quantity: 2 });
  });

  it('applies writes of one row in the order in which they were accepted', async () => {
    const path = `/v1/orders/${newId()}`;
    const urls: string[] = [];
    for (let i = 0; i < 40; i += 1) {
      const answer = await client.call('PUT', path, { body: { ...order, note: String(i) } });
      urls.push(answer.body['statusUrl'] as string);
    }
    const statuses = await Promise.all(urls.map((url) => client.call('GET', `${url}?wait=20`)));
    expect(new Set(statuses.map((s) => s.body['status']))).toEqual(new Set(['applied']));
    expect(await client.row(path)).toMatchObject({ note: '39' });
  });

  it('makes a retry the same submission, and refuses another payload under its key', async () => {
    const path = `/v1/orders/${newId()}`;
    const headers = { 'idempotency-key': newId() };
    const first = await client.call('PUT', path, { body: order, headers });
    await client.call('GET', `${first.body['statusUrl'] as string}?wait=20`);
    const version = (await client.row(path))?.['updatedAt'];
    const retry = await client.call('PUT', path, { body: order, headers: { ...headers, prefer: 'wait=20' } });
    expect(retry.body).toMatchObject({ id: first.body['id'], status: 'applied', commitTimestamp: version });
    expect((await client.row(path))?.['updatedAt']).toBe(version);
    const other = await client.call('PUT', path, { body: { ...order, note: 'other' }, headers });
    expect([other.status, other.body['type']]).toEqual([422, '/problems/idempotency_key_reused']);
  });

  it('writes only over the version that If-Match names', async () => {
    const path = `/v1/orders/${newId()}`;
    await client.write('PUT', path, order);
    const etag = (await client.call('GET', path)).headers.get('etag') ?? '';
    expect(await client.write('PATCH', path, { note: 'mine' }, { 'if-match': etag })).toBe('applied');
    expect(await client.write('PATCH', path, { note: 'late' }, { 'if-match': etag })).toBe('rejected precondition_failed');
    expect(await client.row(path)).toMatchObject({ note: 'mine' });
  });

  it("keeps tenants apart: one neither sees nor changes another's rows, nor its submissions", async () => {
    const path = `/v1/orders/${newId()}`;
    const mine = await client.call('PUT', path, { body: { ...order, note: 'mine' }, headers: { prefer: 'wait=20' } });
    expect(await client.row(path, 't2')).toBeUndefined();
    expect((await client.call('GET', `/v1/submissions/${mine.body['id'] as string}`, { tenant: 't2' })).status).toBe(404);
    const theirs = await client.call('PUT', path, { body: { ...order, note: 'theirs' }, tenant: 't2', headers: { prefer: 'wait=20' } });
    expect(theirs.body['status']).toBe('applied');
    expect(await client.row(path)).toMatchObject({ note: 'mine' });
    expect(await client.row(path, 't2')).toMatchObject({ note: 'theirs' });
  });

  it('refuses what is wrong with the right 4xx', async () => {
    const path = `/v1/orders/${newId()}`;
    const expired = await client.token({ ttlSeconds: -60 });
    const refused = await Promise.all([
      client.call('PUT', path, { body: '{"customer":' }),
      client.call('PUT', path, { body: { ...order, note: 5 } }),
      client.call('PUT', path, { body: { ...order, colour: 'red' } }),
      client.call('PUT', '/v1/nothing/x', { body: order }),
      client.call('PUT', path, { body: order, token: null }),
      client.call('PUT', path, { body: order, token: expired }),
      client.call('GET', path),
    ]);
    expect(refused.map((r) => r.status)).toEqual([400, 422, 422, 404, 401, 401, 404]);
    for (const { headers, body } of refused) {
      expect(headers.get('content-type')).toMatch(/^application\/problem\+json/);
      expect(body).toMatchObject({ type: expect.stringMatching(/^\/problems\//) as string, correlationId: expect.any(String) as string });
    }
    expect(await client.row(path)).toBeUndefined();
  });

  it('logs each stage of a write under its correlation id', async () => {
    const correlationId = newId();
    await client.write('PUT', `/v1/orders/${newId()}`, order, { 'correlation-id': correlationId });
    for (const message of ['accepted', 'bridged', 'applied']) {
      const line = new RegExp(`^\\{[^\\n]*${correlationId}[^\\n]*"msg":"${message}"\\}$`, 'm');
      await Promise.any(stack.commands.map((command) => command.printed(line)));
    }
  });
}
