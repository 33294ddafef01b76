import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { expect, it, onTestFinished } from 'vitest';
import { pino } from 'pino';
import { readConfig } from '../../cli/config.ts';
import { ensureDevelopmentKeys } from '../../cli/keys.ts';
import { provision } from '../../cli/provision.ts';
import { startGatewayRole } from '../../cli/roles.ts';
import { makeTemporaryFolder } from '../temp.ts';
import { resources } from '../fixtures/stores.ts';
import { startTestGateway } from '../fixtures/gateways.ts';
import { bound } from '../fixtures/queues.ts';

it('a stop answers every write and every wait that is under way, and takes no new connection', async () => {
  let gate = Promise.resolve();
  let open = (): void => undefined;
  let sends = 0;
  const gateway = await startTestGateway({
    queue: (queue) => ({
      ...bound(queue),
      async send(entries) {
        sends += 1;
        await gate;
        return queue.send(entries);
      },
    }),
  });
  onTestFinished(() => gateway.close());
  const { app } = gateway;
  let arrived = 0;
  app.server.on('request', () => (arrived += 1));
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  const authorization = `Bearer ${await gateway.token()}`;
  // Connections that their clients would keep.
  const agent = new Agent({ keepAlive: true });
  onTestFinished(() => agent.destroy());
  const call = async (method: 'PUT' | 'GET', path: string): Promise<{ status?: number | undefined; close: boolean; body: unknown }> => {
    const sent = request({ port, agent, method, path, headers: { authorization, 'content-type': 'application/json' } });
    sent.end(method === 'PUT' ? JSON.stringify({ customer: 'c1', status: 'open' }) : undefined);
    const [answer] = (await once(sent, 'response')) as [IncomingMessage];
    return { status: answer.statusCode, close: answer.headers.connection === 'close', body: await json(answer) };
  };
  const { statusUrl } = (await call('PUT', '/v1/orders/first')).body as { statusUrl: string };

  gate = new Promise((resolve) => (open = resolve));
  const writes = Array.from({ length: 100 }, (_, i) => call('PUT', `/v1/orders/k${i}`));
  const waits = Array.from({ length: 20 }, () => call('GET', `${statusUrl}?wait=30`));
  await expect.poll(() => [arrived, sends > 1]).toEqual([121, true]);

  const closed = app.close();
  // The waits end at once; the writes, when the queue has answered.
  for (const { status, close, body } of await Promise.all(waits)) {
    expect([status, close]).toEqual([200, true]);
    expect(body).toMatchObject({ status: 'accepted' });
  }
  const refused = connect(port, '127.0.0.1');
  const [error] = (await once(refused, 'error')) as [NodeJS.ErrnoException];
  expect(error.code).toBe('ECONNREFUSED');
  open();
  for (const { status, close } of await Promise.all(writes)) expect([status, close]).toEqual([202, true]);
  await closed;
  expect(await gateway.queued()).toHaveLength(101);
});

it('a stop waits no longer than it may for a request that does not arrive', async () => {
  const folder = await makeTemporaryFolder();
  onTestFinished(() => folder.remove());
  const config = readConfig({ SPANWAY_DATA_DIR: folder.path, SPANWAY_STOP_SECONDS: '1', PORT: '0' });
  await ensureDevelopmentKeys(`${folder.path}/secrets`, config.packSignature);
  await provision(config);
  const log = pino({ level: 'silent' });
  const onFatal = (error: unknown): never => expect.unreachable(String(error));
  const role = await startGatewayRole({ config, log, onFatal, resources: { current: resources } }, []);
  const socket = connect(Number(new URL(role.url).port), '127.0.0.1');
  const arrived = once(socket, 'connect');
  await arrived;
  socket.on('error', () => undefined).write('GET /healthz HTTP/1.1\r\n');
  await role.stop();
});
