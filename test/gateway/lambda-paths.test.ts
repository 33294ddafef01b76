/** Keys in the path of a Lambda function's events: those that the process would have had. */
import type { AddressInfo } from 'node:net';
import { request as send } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { GatewayEvent } from '../../producers/gateway/lambda/event.ts';
import {
  cognitoAuthorizer,
  functionUrlEvent,
  httpApiEvent,
  jwtAuthorizer,
  restApiEvent,
  type SentRequest,
} from '../fixtures/gateway-events.ts';
import { startTestGateway, type TestGateway } from '../fixtures/gateways.ts';
import { bodyOf, claims, json, type LambdaGateway, order, put, startLambda, withTime } from '../fixtures/lambda-gateway.ts';

describe('a path', () => {
  let gateway: LambdaGateway;
  beforeAll(async () => {
    gateway = await startLambda(['authorizer']);
    await gateway.app.listen({ host: '127.0.0.1', port: 0 });
  });
  afterAll(() => gateway.close());
  const authorizer = jwtAuthorizer(claims('orders:read orders:write order-lines:write'));
  const cognito = cognitoAuthorizer(claims('orders:read orders:write order-lines:write'));

  /** Status and key of a PUT with a token to the process, its path written as it is. */
  async function byServer(path: string): Promise<unknown[]> {
    const server = await startServer();
    const { port } = server.app.server.address() as AddressInfo;
    const headers = { ...json, authorization: `Bearer ${await server.token()}` };
    const status = await new Promise((resolve, reject) => {
      send({ host: '127.0.0.1', port, method: 'PUT', path, headers, agent: false }, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .on('error', reject)
        .end(JSON.stringify(order));
    });
    return [status, ...(await server.queued()).map((envelope) => envelope.data.mutations[0]?.key)];
  }
  let server: TestGateway | undefined;
  async function startServer(): Promise<TestGateway> {
    if (!server) {
      server = await startTestGateway();
      await server.app.listen({ host: '127.0.0.1', port: 0 });
    }
    return server;
  }
  afterAll(() => server?.close());

  const byEvent = async (event: GatewayEvent): Promise<unknown[]> => {
    const { statusCode } = await gateway.handler(event, withTime());
    return [statusCode, ...(await gateway.queued()).map((envelope) => envelope.data.mutations[0]?.key)];
  };
  const write = (path: string): SentRequest => ({ ...put(''), path });

  it.each<[path: string, key?: string]>([
    ['/v1/orders/plain', 'plain'],
    ['/v1/orders/a%2Fb', 'a/b'],
    ['/v1/orders/a%252Fb', 'a%2Fb'],
    ['/v1/orders/a%3Fb%23c%26d', 'a?b#c&d'],
    ['/v1/orders/a%25b', 'a%b'],
    ['/v1/orders/a%20b+c', 'a b+c'],
    ['/v1/orders/%CE%BB-%E4%B8%96', 'λ-世'],
    ['/v1/orders/..', '..'],
    ['/v1/orders/%2e%2E', '..'],
    ['/v1/orders/.', '.'],
    ['/v1/orders/a:b@c;d=e,f!$&()*~', 'a:b@c;d=e,f!$&()*~'],
    ['/v1/orders/a/../b'],
    ['/v1/x/../orders/b'],
    ['//v1/orders/b'],
    ['/v1//orders/b'],
    ['/V1/orders/b'],
    ['/v1/orders/b/'],
    ['/v1/orders/%zz'],
    ['/v1/orders/%ff'],
  ])('of a REST API or a function URL is what the process would have had: %s', async (path, key) => {
    const expected = await byServer(path);
    expect(expected).toEqual(key === undefined ? [expect.any(Number)] : [202, [key]]);
    expect(await byEvent(restApiEvent(write(path), cognito))).toEqual(expected);
    // A function URL has no JWT authorizer, and the path of its events as a REST API has it.
    expect(await byEvent(functionUrlEvent(write(path), authorizer))).toEqual(expected);
  });

  // As seen on AWS in July 2026: https://github.com/hotsock/voker/blob/main/vokerhttp/testdata/ingress-paths.json
  it.each<[sent: string, rawPath: string, key: string | undefined]>([
    ['/v1/orders/space%20value', '/v1/orders/space value', 'space value'],
    ['/v1/orders/hash%23value', '/v1/orders/hash#value', 'hash#value'],
    ['/v1/orders/unicode-%CE%BB', '/v1/orders/unicode-λ', 'unicode-λ'],
    ['/v1/orders/literal%253Fvalue', '/v1/orders/literal?value', 'literal?value'],
    ['/v1/orders/literal%2525value', '/v1/orders/literal%value', 'literal%value'],
    ['/v1/orders/slash%2Fvalue', '/v1/orders/slash/value', undefined],
  ])('of an HTTP API, which AWS has decoded, is taken as it came: %s', async (_sent, rawPath, key) => {
    const event = { ...httpApiEvent(write('/'), authorizer), rawPath };
    expect(await byEvent(event)).toEqual(key === undefined ? [422] : [202, [key]]);
    expect(await byEvent({ ...event, rawQueryString: 'a=1&b=%3F' })).toEqual(key === undefined ? [422] : [202, [key]]);
  });

  it('of a stage, or below a base path, is without them', async () => {
    const event = httpApiEvent(write('/v1/v1/orders/o1'), authorizer);
    const staged = { ...event, requestContext: { ...event.requestContext, stage: 'v1' } };
    expect(await byEvent(staged)).toEqual([202, ['o1']]);
    const mapped = await startLambda(['authorizer'], { basePath: '/api' });
    const statusOf = async (e: GatewayEvent) => (await mapped.handler(e, withTime())).statusCode;
    expect(await statusOf(restApiEvent({ path: '/api/v1/orders/none' }, cognito))).toBe(404);
    expect(bodyOf(await mapped.handler(restApiEvent({ path: '/api/v1/orders/none' }, cognito), withTime()))['type']).toBe(
      '/problems/row_not_found',
    );
    expect(await statusOf(httpApiEvent({ path: '/api/healthz' }))).toBe(200);
    expect(await statusOf(httpApiEvent({ path: '/healthz' }))).toBe(200);
    expect(await statusOf(httpApiEvent({ path: '/apihealthz' }))).toBe(404);
    await mapped.close();
  });
});
