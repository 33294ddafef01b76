/** The gateway as a Lambda function: events of API Gateway on the application that listens as a process. */
import type { APIGatewayProxyHandler, APIGatewayProxyHandlerV2 } from 'aws-lambda';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Background } from '../../producers/gateway/background.ts';
import { GatewayEventError, type GatewayEvent } from '../../producers/gateway/lambda/event.ts';
import { createGatewayHandler, type GatewayAnswer } from '../../producers/gateway/lambda/handler.ts';
import type { IdentitySource } from '../../producers/gateway/lambda/identity.ts';
import type { Caller } from '../../schemas/envelope/envelope.ts';
import {
  cognitoAuthorizer,
  functionUrlEvent,
  httpApiEvent,
  iamAuthorizer,
  iamIdentity,
  jwtAuthorizer,
  restApiEvent,
  restLambdaAuthorizer,
  ROLE_SESSION,
  type SentRequest,
} from '../fixtures/gateway-events.ts';
import { DOCUMENTED_FIFO_EVENT } from '../fixtures/lambda-events.ts';
import { applyQueued } from '../fixtures/gateways.ts';
import { bodyOf, claims, ISSUER, json, type LambdaGateway, order, put, startLambda, withTime } from '../fixtures/lambda-gateway.ts';

/** The same object, but for these of its methods. */
function withMethods<T extends object>(target: T, methods: Partial<T>): T {
  return new Proxy(target, {
    get: (_target, name) => {
      if (Object.hasOwn(methods, name)) return Reflect.get(methods, name) as unknown;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

/** Each way in which API Gateway says who calls: the event of a request, and who that is. Without `mayWrite`, of one who may read alone. */
const WAYS: Readonly<Record<string, { event(request: SentRequest, mayWrite: boolean): GatewayEvent; readonly caller: Caller }>> = {
  'an HTTP API with a JWT authorizer': {
    event: (request, mayWrite) =>
      httpApiEvent(
        request,
        jwtAuthorizer({
          ...claims(mayWrite ? 'orders:read orders:write' : 'orders:read'),
          client_id: 'web',
          act: '{"sub":"robot"}',
          roles: '[clerk]',
        }),
      ),
    caller: {
      issuer: ISSUER,
      subject: 'u1',
      tenant: 't1',
      scopes: ['orders:read', 'orders:write'],
      roles: ['clerk'],
      client: 'web',
      actor: 'robot',
    },
  },
  'an HTTP API with a Lambda authorizer': {
    event: (request, mayWrite) =>
      httpApiEvent(request, {
        lambda: {
          ...claims(''),
          scope: mayWrite ? ['orders:read', 'orders:write'] : ['orders:read'],
          roles: ['order clerk', 'x'],
          act: { sub: 'robot' },
        },
      }),
    caller: {
      issuer: ISSUER,
      subject: 'u1',
      tenant: 't1',
      scopes: ['orders:read', 'orders:write'],
      roles: ['order clerk', 'x'],
      actor: 'robot',
    },
  },
  'an HTTP API with IAM': {
    event: (request, mayWrite) =>
      httpApiEvent(request, iamAuthorizer(mayWrite ? ROLE_SESSION : 'arn:aws:sts::123456789012:assumed-role/viewer/v')),
    caller: { issuer: 'arn:aws:iam::123456789012:root', subject: 'nightly', tenant: 't1', scopes: ['orders:read', 'orders:write'] },
  },
  'a function URL with IAM': {
    event: (request, mayWrite) =>
      functionUrlEvent(request, iamAuthorizer(mayWrite ? ROLE_SESSION : 'arn:aws:sts::123456789012:assumed-role/viewer/v')),
    caller: { issuer: 'arn:aws:iam::123456789012:root', subject: 'nightly', tenant: 't1', scopes: ['orders:read', 'orders:write'] },
  },
  'a REST API with a Cognito authorizer': {
    event: (request, mayWrite) => restApiEvent(request, cognitoAuthorizer(claims(mayWrite ? 'orders:read orders:write' : 'orders:read'))),
    caller: { issuer: ISSUER, subject: 'u1', tenant: 't1', scopes: ['orders:read', 'orders:write'] },
  },
  'a REST API with a Lambda authorizer': {
    event: (request, mayWrite) =>
      restApiEvent(
        request,
        restLambdaAuthorizer({
          ...claims(mayWrite ? 'orders:read orders:write' : 'orders:read'),
          roles: 'clerk admin',
          act: '{"sub":"robot"}',
        }),
      ),
    caller: {
      issuer: ISSUER,
      subject: 'u1',
      tenant: 't1',
      scopes: ['orders:read', 'orders:write'],
      roles: ['clerk', 'admin'],
      actor: 'robot',
    },
  },
  'a REST API with IAM': {
    event: (request, mayWrite) =>
      restApiEvent(request, undefined, iamIdentity(mayWrite ? ROLE_SESSION : 'arn:aws:sts::123456789012:assumed-role/viewer/v')),
    caller: { issuer: 'arn:aws:iam::123456789012:root', subject: 'nightly', tenant: 't1', scopes: ['orders:read', 'orders:write'] },
  },
};

describe.each(Object.entries(WAYS))('%s', (_name, { event, caller }) => {
  let gateway: LambdaGateway;
  beforeAll(async () => {
    gateway = await startLambda(['authorizer', 'iam']);
  });
  afterAll(() => gateway.close());
  const call = (request: SentRequest, mayWrite = true): Promise<GatewayAnswer> => gateway.handler(event(request, mayWrite), withTime());

  it('has its write accepted with its caller, applied, read and told of', async () => {
    const accepted = await call(put('o1'));
    expect(accepted).toMatchObject({ statusCode: 202, isBase64Encoded: false });
    const { id, statusUrl } = bodyOf(accepted) as { id: string; statusUrl: string };
    expect(accepted.headers['location']).toBe(statusUrl);
    const [envelope] = await gateway.queued();
    expect(envelope?.data).toMatchObject({ caller, mutations: [{ op: 'upsert', resource: 'orders', key: ['o1'] }] });
    expect(envelope?.data.caller).toEqual(caller);
    expect(bodyOf(await call({ path: statusUrl }))).toMatchObject({ id, status: 'accepted' });

    await call(put('o2'));
    expect(await applyQueued(gateway)).toEqual(['applied']);
    const read = await call({ path: '/v1/orders/o2' });
    expect([read.statusCode, bodyOf(read)['customer']]).toEqual([200, 'c1']);
    const etag = read.headers['etag'] ?? '';
    expect(await call({ path: '/v1/orders/o2', headers: { 'If-None-Match': etag } })).toMatchObject({ statusCode: 304, body: '' });
  });

  it('is denied what no rule allows', async () => {
    expect((await call({ path: '/v1/orders/none' }, false)).statusCode).toBe(404);
    const denied = await call(put('o1'), false);
    expect([denied.statusCode, bodyOf(denied)['type']]).toEqual([403, '/problems/forbidden']);
    expect(await gateway.queued()).toEqual([]);
  });

  it('has its body checked, as text and as base64', async () => {
    const statusOf = async (body: string | Buffer): Promise<number> => (await call(put('o1', { body }))).statusCode;
    expect(await statusOf(Buffer.from(JSON.stringify(order)))).toBe(202);
    expect(await statusOf(JSON.stringify({ ...order, note: 'λ 世界' }))).toBe(202);
    expect(await statusOf(Buffer.from(JSON.stringify({ ...order, status: 'opened' })))).toBe(422);
    expect(await statusOf('{')).toBe(400);
    expect(await statusOf(Buffer.from([0x80, 0xff, 0x00, 0xfe]))).toBe(400);
    expect(await statusOf('')).toBe(400);
    expect((await call(put('o1', { headers: {} }))).statusCode).toBe(415);
    const notes = (await gateway.queued()).map((envelope) => envelope.data.mutations[0]?.value?.['note']);
    expect(notes.sort()).toEqual([null, 'λ 世界']);
  });
});

describe('who may say who calls', () => {
  const gateways = new Map<string, LambdaGateway>();
  afterAll(() => Promise.all([...gateways.values()].map((gateway) => gateway.close())));
  async function statusWith(sources: readonly IdentitySource[], event: GatewayEvent): Promise<number> {
    const name = sources.join();
    const gateway = gateways.get(name) ?? (await startLambda(sources));
    gateways.set(name, gateway);
    return (await gateway.handler(event, withTime())).statusCode;
  }
  const request: SentRequest = { path: '/v1/orders/none' };
  const all: readonly IdentitySource[] = ['token', 'authorizer', 'iam'];
  const jwt = (more: Readonly<Record<string, string>>) => httpApiEvent(request, jwtAuthorizer({ ...claims('orders:read'), ...more }));
  const cognito = (more: Readonly<Record<string, string>>) =>
    restApiEvent(request, cognitoAuthorizer({ ...claims('orders:read'), ...more }));

  it('is what the setting lists, and nothing else', async () => {
    for (const { event } of Object.values(WAYS)) expect(await statusWith(['token'], event(request, true))).toBe(401);
    for (const [name, { event }] of Object.entries(WAYS)) {
      expect(await statusWith(['authorizer'], event(request, true))).toBe(name.endsWith('IAM') ? 401 : 404);
      expect(await statusWith(['iam'], event(request, true))).toBe(name.endsWith('IAM') ? 404 : 401);
    }
  });

  it('is the token where there is no authorizer', async () => {
    const token = await (await startTokenGateway()).token();
    for (const make of [httpApiEvent, restApiEvent, functionUrlEvent]) {
      const with_ = (headers: Record<string, string>) => make({ ...request, headers });
      expect(await statusWith(all, with_({}))).toBe(401);
      expect(await statusWith(['authorizer', 'iam'], with_({ authorization: `Bearer ${token}` }))).toBe(401);
      expect(await statusWith(all, with_({ Authorization: `Bearer x${token}` }))).toBe(401);
      expect(await statusWith(all, with_({ Authorization: `Bearer ${token},Bearer ${token}` }))).toBe(401);
    }
    const gateway = gateways.get(all.join()) as LambdaGateway;
    const own = await gateway.token();
    for (const make of [httpApiEvent, restApiEvent, functionUrlEvent])
      expect(await statusWith(all, make({ ...request, headers: { Authorization: `Bearer ${own}` } }))).toBe(404);
    const twice = restApiEvent({ ...request, headers: { Authorization: `Bearer ${own}` } });
    const multiValueHeaders = { ...twice.multiValueHeaders, authorization: [`Bearer ${own}`] };
    expect(await statusWith(all, { ...twice, multiValueHeaders })).toBe(401);
    // As AWS's example of a method without one has it.
    expect(await statusWith(all, restApiEvent(request, { claims: null, scopes: null }))).toBe(401);
  });

  async function startTokenGateway(): Promise<LambdaGateway> {
    const gateway = gateways.get('token') ?? (await startLambda(['token']));
    gateways.set('token', gateway);
    return gateway;
  }

  it('is no authorizer of another issuer, of another tenant, or of another kind of token', async () => {
    expect(await statusWith(all, jwt({}))).toBe(404);
    for (const more of [
      { iss: 'https://other.example' },
      { iss: `[${ISSUER}]` },
      { tenant: '' },
      { sub: '' },
      { nonce: 'n' },
      { token_use: 'id' },
    ]) {
      expect([more, await statusWith(all, jwt(more))]).toEqual([more, 401]);
      expect([more, await statusWith(all, cognito(more))]).toEqual([more, 401]);
      expect([more, await statusWith(all, restApiEvent(request, restLambdaAuthorizer({ ...claims('orders:read'), ...more })))]).toEqual([
        more,
        401,
      ]);
    }
  });

  it('is no answer of a Lambda authorizer that outlives its token', async () => {
    for (const exp of [1, 'soon', '1583352238', String(Date.now() / 1000 - 60)]) {
      expect(await statusWith(all, httpApiEvent(request, { lambda: { ...claims('orders:read'), exp } }))).toBe(401);
      expect(await statusWith(all, restApiEvent(request, restLambdaAuthorizer({ ...claims('orders:read'), exp: String(exp) })))).toBe(401);
    }
    expect(await statusWith(all, httpApiEvent(request, { lambda: { ...claims('orders:read'), exp: Date.now() / 1000 + 60 } }))).toBe(404);
  });

  it.each<[what: string, claim: Record<string, string>, jwtStatus: number, cognitoStatus: number]>([
    ['scopes that were an array', { scope: '[orders:read orders:write]' }, 404, 401],
    ['an array of one scope', { scope: '[orders:read]' }, 404, 401],
    ['no scope', { scope: '[]' }, 403, 401],
    ['scopes with commas', { scope: 'orders:read,orders:write' }, 403, 401],
    ['an array within one', { scope: '[[orders:read]]' }, 401, 401],
    ['half of one', { scope: '[orders:read' }, 401, 401],
    ['words apart', { scope: '[orders:read  orders:write]' }, 401, 401],
    ['roles of which one may have a space', { roles: '[order admin]' }, 401, 401],
    ['roles with commas', { roles: 'order,admin' }, 404, 401],
    ['a tenant that was an array', { tenant: '[t1]' }, 401, 401],
    ['tenants with commas', { tenant: 't1,t2' }, 404, 401],
    ['a tenant that was an object', { tenant: 'map[id:t1]' }, 401, 404],
    ['a subject that was an object', { sub: '{"id":"u1"}' }, 401, 401],
    ['an actor as Go writes it', { act: 'map[sub:robot]' }, 401, 401],
    ['an actor that is a text', { act: 'robot' }, 401, 401],
    ['an actor without a name', { act: '{"iss":"x"}' }, 401, 401],
    ['an actor that is no object', { act: '"robot"' }, 401, 401],
    ['an actor', { act: '{"sub":"robot"}' }, 404, 404],
  ])('are claims that can be read exactly: %s', async (_what, claim, jwtStatus, cognitoStatus) => {
    expect([await statusWith(all, jwt(claim)), await statusWith(all, cognito(claim))]).toEqual([jwtStatus, cognitoStatus]);
  });

  it('is who signed, as far as a principal is configured', async () => {
    for (const arn of [
      'arn:aws:sts::123456789012:assumed-role/other/nightly',
      'arn:aws:sts::210987654321:assumed-role/orders-importer/nightly',
      'arn:aws:iam::123456789012:user/orders-importer',
    ]) {
      for (const event of [httpApiEvent(request, iamAuthorizer(arn)), restApiEvent(request, undefined, iamIdentity(arn))]) {
        const gateway = gateways.get(all.join()) as LambdaGateway;
        const answer = await gateway.handler(event, withTime());
        expect([answer.statusCode, bodyOf(answer)['detail']]).toEqual([403, 'no principal is configured for this AWS identity']);
        expect(answer.body).not.toContain('arn:');
      }
    }
  });

  it('is no ARN that a REST API did not check', async () => {
    const identity = iamIdentity(ROLE_SESSION);
    expect(await statusWith(all, restApiEvent(request, undefined, identity))).toBe(404);
    for (const missing of ['accessKey', 'caller', 'user'] as const) {
      expect(await statusWith(all, restApiEvent(request, undefined, { ...identity, [missing]: null }))).toBe(401);
      expect(await statusWith(all, restApiEvent(request, undefined, { ...identity, [missing]: '' }))).toBe(401);
    }
    // A test from the console runs without the method's authorizer.
    const tested = restApiEvent(request, undefined, identity);
    expect(await statusWith(all, { ...tested, requestContext: { ...tested.requestContext, stage: 'test-invoke-stage' } })).toBe(401);
    // Another authorizer's result is what counts.
    expect(await statusWith(all, restApiEvent(request, restLambdaAuthorizer({}), identity))).toBe(401);
    expect(await statusWith(['token', 'iam'], restApiEvent(request, restLambdaAuthorizer({}), identity))).toBe(401);
  });
});

describe('the handler', () => {
  let gateway: LambdaGateway;
  beforeAll(async () => {
    gateway = await startLambda(['authorizer']);
  });
  afterAll(() => gateway.close());
  const authorizer = jwtAuthorizer(claims('orders:read orders:write'));

  it('is one as Lambda’s own types describe it', () => {
    const httpApi: APIGatewayProxyHandlerV2 = gateway.handler;
    const restApi: APIGatewayProxyHandler = gateway.handler;
    expect([httpApi, restApi]).toEqual([gateway.handler, gateway.handler]);
  });

  it('answers what needs no token, bytes as base64', async () => {
    for (const path of ['/healthz', '/readyz', '/openapi.json', '/problems/validation']) {
      expect(await gateway.handler(httpApiEvent({ path }), withTime())).toMatchObject({ statusCode: 200, isBase64Encoded: false });
      expect(await gateway.handler(restApiEvent({ path }), withTime())).toMatchObject({ statusCode: 200, isBase64Encoded: false });
    }
    const icon = '/docs/static/favicon-32x32.png';
    const answer = await gateway.handler(httpApiEvent({ path: icon }), withTime());
    const direct = await gateway.app.inject(icon);
    expect(answer).toMatchObject({ statusCode: 200, isBase64Encoded: true });
    expect(answer.headers['content-type']).toBe('image/png');
    expect(Buffer.from(answer.body, 'base64').equals(direct.rawPayload)).toBe(true);
    expect((await gateway.handler(httpApiEvent({ path: '/nothing' }), withTime())).statusCode).toBe(404);
    expect((await gateway.handler(httpApiEvent({ method: 'QUERY', path: '/v1/orders/o1' }, authorizer), withTime())).statusCode).toBe(415);
  });

  it('takes query and headers as they were sent', async () => {
    const headers = { 'Correlation-Id': 'c-1', Traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' };
    for (const make of [httpApiEvent, restApiEvent]) {
      const own = make === httpApiEvent ? authorizer : cognitoAuthorizer(claims('orders:read orders:write'));
      const answer = await gateway.handler(make(put('o1', { headers: { ...json, ...headers } }), own), withTime());
      expect(answer.headers['correlation-id']).toBe('c-1');
      const [envelope] = await gateway.queued();
      expect(envelope).toMatchObject({
        correlationid: 'c-1',
        traceparent: expect.stringMatching(/^00-0af7651916cd43dd8448eb211c80319c-/) as string,
      });
      const { statusUrl } = bodyOf(answer) as { statusUrl: string };
      const odd = await gateway.handler(make({ path: statusUrl, query: 'wait=x%26y' }, own), withTime());
      expect([odd.statusCode, bodyOf(odd)['detail']]).toEqual([400, 'wait must be a whole number of seconds']);
    }
  });

  it('refuses events that are no HTTP requests', async () => {
    const elb = { ...restApiEvent({ path: '/healthz' }), requestContext: { elb: { targetGroupArn: 'arn:aws:elasticloadbalancing:x' } } };
    for (const event of [DOCUMENTED_FIFO_EVENT, elb, {}, null, undefined, 'x'])
      await expect(gateway.handler(event as GatewayEvent, withTime())).rejects.toThrow(GatewayEventError);
  });

  it('waits for an outcome, but not past its time', async () => {
    const waiting = await startLambda(['authorizer'], {
      queue: (queue) =>
        withMethods(queue, {
          send: async (entries) => {
            const results = await queue.send(entries);
            void applyQueued(waiting);
            return results;
          },
        }),
    });
    const wait = put('o1', { headers: { ...json, prefer: 'wait=30' } });
    const outcome = await waiting.handler(httpApiEvent(wait, authorizer), withTime());
    expect([outcome.statusCode, bodyOf(outcome)['status']]).toEqual([200, 'applied']);
    await waiting.close();

    const late = await gateway.handler(httpApiEvent(wait, authorizer), withTime(1_200));
    expect([late.statusCode, bodyOf(late)['status']]).toEqual([202, 'accepted']);
    const { statusUrl } = bodyOf(late) as { statusUrl: string };
    const status = await gateway.handler(httpApiEvent({ path: statusUrl, query: 'wait=30' }, authorizer), withTime(900));
    expect([status.statusCode, bodyOf(status)['status']]).toEqual([200, 'accepted']);
  });

  it('answers when nothing of the request is under way any more', async () => {
    let written = false;
    const slow = await startLambda(['authorizer'], {
      cache: (cache) =>
        withMethods(cache, {
          add: async (key, value, ttlMs) => {
            await new Promise((resolve) => setTimeout(resolve, 50));
            await cache.add(key, value, ttlMs);
            written = true;
          },
        }),
    });
    expect((await slow.handler(httpApiEvent(put('o1'), authorizer), withTime())).statusCode).toBe(202);
    expect(written).toBe(true);
    await slow.close();
  });

  it('opens the application once, and again after a failure', async () => {
    let opened = 0;
    const logged: unknown[] = [];
    const handler = await createGatewayHandler({
      open: async () => {
        opened += 1;
        await Promise.resolve();
        if (opened < 3) throw new Error('the queue is away');
        return gateway.app;
      },
      background: new Background(),
      log: pino({}, { write: (line) => logged.push((JSON.parse(line) as { msg: string }).msg) }),
    });
    const event = httpApiEvent({ path: '/healthz' });
    expect(opened).toBe(1);
    const failed = await handler(event, withTime());
    expect(failed).toMatchObject({ statusCode: 503, headers: { 'content-type': 'application/problem+json', 'retry-after': '1' } });
    expect(bodyOf(failed)).toMatchObject({
      type: '/problems/unavailable',
      status: 503,
      detail: 'the gateway cannot start; its log has the reason',
    });
    const answers = await Promise.all([handler(event, withTime()), handler(event, withTime())]);
    expect(answers.map(({ statusCode }) => statusCode)).toEqual([200, 200]);
    expect(opened).toBe(3);
    expect(logged).toEqual(Array(2).fill('the gateway cannot start; the next request tries again'));
  });
});
