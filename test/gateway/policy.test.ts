/** Who may do what: the rules of a resource, on requests and in words. */
import { Type } from 'typebox';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import orders from '../../schemas/orders.ts';
import type { AccessRule } from '../../schemas/resource/access.ts';
import { defineResource } from '../../schemas/resource/define.ts';
import { ResourceSet } from '../../schemas/resource/registry.ts';
import { COMMIT_TIMESTAMP } from '../../schemas/resource/table.ts';
import { startTestGateway, type TestGateway } from '../fixtures/gateways.ts';
import { Command } from '../fixtures/stacks.ts';
import { temporaryFolder } from '../temp.ts';

const access: readonly AccessRule[] = [
  { actions: ['read'], scope: 'orders:read', agents: 'none' },
  { actions: ['read'], scope: 'orders:read', agents: 'any', fields: ['customer', 'status'] },
  { actions: ['insert', 'update', 'upsert', 'delete'], scope: 'orders:write', agents: 'none', tenants: ['t1'] },
  { actions: ['update'], scope: 'orders:write', agents: ['robot'], fields: ['status'], where: { status: ['paid', 'shipped'] } },
  { actions: ['delete'], roles: ['clerk', 'admin'], tenants: ['t2'] },
  { actions: ['insert'], clients: ['importer'], where: { orderId: ['i1'] } },
];
const ruled = defineResource({ name: 'orders', key: ['orderId'], schema: orders.schema, access });

describe('the rules of a resource', () => {
  let gateway: TestGateway;
  let log: Record<string, unknown>[] = [];
  beforeAll(async () => {
    gateway = await startTestGateway({ resources: { current: new ResourceSet([ruled]) }, onLog: (line) => log.push(line) });
    const key = { tenant: 't1', order_id: 'o1' };
    await gateway.store.commit(
      [
        {
          op: 'insert',
          table: orders.table,
          columns: [...Object.keys(key), 'customer', 'status', 'note', 'updated_at'],
          values: [...Object.values(key), 'c1', 'open', 'private', COMMIT_TIMESTAMP],
        },
      ],
      { tag: 'test' },
    );
  });
  afterAll(() => gateway.close());

  const whole = { customer: 'c1', status: 'open' };
  /** The status, with the problem's reason where it has one. */
  async function asked(
    who: Parameters<TestGateway['token']>[0],
    method: 'GET' | 'PUT' | 'PATCH' | 'DELETE' | 'POST',
    url: string,
    payload?: object,
  ) {
    const headers = { authorization: `Bearer ${await gateway.token(who)}` };
    const { statusCode, body } = await gateway.app.inject({ method, url, headers, ...(payload ? { payload } : {}) });
    const { reason } = JSON.parse(body === '' ? '{}' : body) as { reason?: string };
    return reason === undefined ? statusCode : `${statusCode} ${reason}`;
  }
  const robot = { actor: 'robot' };

  it.each([
    ['a caller for itself', {}, 'PUT', '/v1/orders/o1', whole, 202],
    ['a caller of another tenant', { tenant: 't2' }, 'PUT', '/v1/orders/o1', whole, '403 action'],
    ['a caller with a role', { tenant: 't2', roles: ['clerk'] }, 'DELETE', '/v1/orders/o1', undefined, 202],
    ['a caller with another role', { tenant: 't2', roles: ['guest'] }, 'DELETE', '/v1/orders/o1', undefined, '403 action'],
    ['a caller without the scope', { scopes: ['orders:read'] }, 'DELETE', '/v1/orders/o1', undefined, '403 action'],
    ['an agent, with the field and value that it may write', robot, 'PATCH', '/v1/orders/o1', { status: 'paid' }, 202],
    ['an agent, with another value', robot, 'PATCH', '/v1/orders/o1', { status: 'cancelled' }, '403 row'],
    ['an agent, with another field beside it', robot, 'PATCH', '/v1/orders/o1', { status: 'paid', note: 'x' }, '403 row'],
    ['an agent, without the field that its rule looks at', robot, 'PATCH', '/v1/orders/o1', { note: 'x' }, '403 row'],
    ['an agent, with what only its caller may', robot, 'DELETE', '/v1/orders/o1', undefined, '403 agent'],
    ['another agent', { actor: 'other' }, 'PATCH', '/v1/orders/o1', { status: 'paid' }, '403 agent'],
    ['an agent whose caller may not', { actor: 'robot', tenant: 't2' }, 'PATCH', '/v1/orders/o1', { status: 'paid' }, '403 action'],
    [
      'an agent in a submission',
      robot,
      'POST',
      '/v1/submissions',
      { mutations: [{ op: 'update', resource: 'orders', key: ['o1'], value: { note: 'x' } }] },
      '403 row',
    ],
  ] as const)('%s', async (_, who, method, url, payload, answer) => {
    expect(await asked(who, method, url, payload)).toBe(answer);
    expect(await gateway.queued()).toHaveLength(answer === 202 ? 1 : 0);
  });

  it('are looked up in the claims, never in the body: a client that the token does not name has none', async () => {
    expect(await asked({ scopes: [] }, 'POST', '/v1/orders', { orderId: 'i1', ...whole, client: 'importer' })).toBe('403 action');
  });

  it('show an agent the fields that its rule names and the key, and the caller all', async () => {
    const read = async (who: { actor?: string }) =>
      (
        await gateway.call({ method: 'GET', url: '/v1/orders/o1', headers: { authorization: `Bearer ${await gateway.token(who)}` } })
      ).json<object>();
    expect(await read(robot)).toEqual({ orderId: 'o1', customer: 'c1', status: 'open' });
    expect(await read({})).toMatchObject({ orderId: 'o1', note: 'private' });
  });

  it('leave a line of each decision, with who, on whose behalf, what and why, and no value of a row', async () => {
    log = [];
    const caller = { subject: 'me', tenant: 't1', actor: 'robot' };
    await asked(robot, 'PATCH', '/v1/orders/o1', { status: 'paid' });
    await asked(robot, 'PATCH', '/v1/orders/o1', { status: 'paid', note: 'private' });
    await asked(robot, 'GET', '/v1/orders/o1');
    await asked({ ttlSeconds: -10 }, 'GET', '/v1/orders/o1');
    const decisions = log.filter((line) => 'decision' in line);
    expect(decisions).toMatchObject([
      { decision: 'allow', ...caller, action: 'update', resource: 'orders', row: 'orders/o1', submissionId: expect.any(String) },
      { decision: 'deny', ...caller, action: 'update', resource: 'orders', reason: 'row' },
      { decision: 'allow', ...caller, action: 'read', resource: 'orders', row: 'orders/o1' },
      { decision: 'deny', reason: 'the token has expired', method: 'GET', route: '/v1/:resource/*' },
    ]);
    for (const line of decisions) expect(line['correlationId']).toEqual(expect.any(String));
    expect(JSON.stringify(log)).not.toContain('private');
    await gateway.queued();
  });
});

describe('a rule that cannot be meant', () => {
  const schema = Type.Object({ id: Type.String({ maxLength: 10 }), n: Type.Optional(Type.String({ maxLength: 10 })) });
  it.each<[string, AccessRule, RegExp]>([
    ['is for nobody in particular', { actions: ['read'] }, /rule 1 says for whom/],
    ['has no actions', { actions: [], scope: 's' }, /rule 1 has no actions/],
    ['names a field that is not there', { actions: ['read'], scope: 's', fields: ['x'] }, /no field "x"/],
    ['gives fields to a delete', { actions: ['delete'], scope: 's', fields: ['n'] }, /a delete is of the whole row/],
    ['looks at a value that a read has not', { actions: ['read'], scope: 's', where: { n: ['a'] } }, /looks at n/],
    ['compares with a value of another type', { actions: ['insert'], scope: 's', where: { n: [1] } }, /compares n with a value/],
  ])('%s', (_, rule, text) => {
    expect(() => defineResource({ name: 'things', key: ['id'], schema, access: [rule] })).toThrow(text);
  });
});

describe('spanway policy explain', () => {
  const explain = async (...args: string[]): Promise<[status: unknown, output: string]> => {
    const command = new Command(['policy', 'explain', ...args], { SPANWAY_DATA_DIR: await temporaryFolder() });
    return [await command.exited, command.output];
  };

  it('says for each party what each rule says, and ends with 1 where it is denied', async () => {
    const as = JSON.stringify({ tenant: 't1', scopes: ['orders:write'] });
    const [status, output] = await explain('--as', as, 'PUT', '/v1/orders/o1', '--body', JSON.stringify(whole));
    expect(output).toContain('allowed: PUT /v1/orders/o1, upsert of orders');
    expect(output).toContain('rule 2 (insert update upsert delete; scope orders:write) allows it');
    expect(status).toBe(0);
    const denied = await explain('--as', as, 'GET', '/v1/orders/o1');
    expect(denied[1]).toContain('rule 1 (read; scope orders:read) does not: it needs the scope orders:read');
    expect(denied[0]).toBe(1);
  });

  it('says of a list whether it may be asked for, by its path and by an index', async () => {
    const as = JSON.stringify({ tenant: 't1', scopes: ['orders:read', 'order-lines:read'] });
    for (const path of ['/v1/orders', '/v1/order-lines/o1', '/v1/orders?customer=c1&limit=5']) {
      const [status, output] = await explain('--as', as, 'GET', path);
      expect(output).toContain(`allowed: GET ${path}, list of those `);
      expect(status).toBe(0);
    }
    const denied = await explain('--as', JSON.stringify({ tenant: 't1', scopes: [] }), 'GET', '/v1/orders?customer=c1');
    expect(denied[1]).toContain('rule 1 (read; scope orders:read) does not: it needs the scope orders:read');
    expect(denied[0]).toBe(1);
    const [status, output] = await explain('--as', as, 'GET', '/v1/orders?status=open');
    expect(output).toContain('no key or index of orders serves a filter by status');
    expect(status).toBe(1);
  });

  it('says what is wrong with what it was asked', async () => {
    const [status, output] = await explain('--as', 'me', 'GET', '/v1/orders/o1');
    expect(output).toContain('--as must be JSON with who asks');
    expect(status).toBe(1);
  });

  const whole = { customer: 'c1', status: 'open' };
});
