/** Installations that share a Redis. */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { AdapterConfigError } from '../../ports/errors.ts';
import { storeIdentity } from '../../ports/store/index.ts';
import { startTestGateway } from '../fixtures/gateways.ts';
import { describeWithServer } from '../servers.ts';

it('tells a database by its name, however it is reached', () => {
  const name = 'spanner://my-project/my-instance/my-database';
  expect(storeIdentity(name)).toBe(name);
  expect(storeIdentity(`${name}?emulator=127.0.0.1:9010&timeoutMs=5000`)).toBe(name);
  for (const other of [
    'spanner://my-project/my-instance/other',
    'spanner://my-project/other/my-database',
    'spanner://other/my-instance/my-database',
  ])
    expect(storeIdentity(other)).not.toBe(name);
  expect(storeIdentity('sqlite:data/spanway.db')).toBe(storeIdentity(`sqlite:${join(process.cwd(), 'data/./spanway.db')}`));
  expect(storeIdentity('sqlite:data/spanway.db')).not.toBe(storeIdentity('sqlite:data/other.db'));
  expect(() => storeIdentity('spanner://my-project/my-instance/my-database?emulater=127.0.0.1:9010')).toThrow(AdapterConfigError);
});

describeWithServer('redis', 'two installations on one Redis', ({ redis }) => {
  it('each send the write of a key that the other one has used', async () => {
    const key = randomUUID();
    const put = async () => {
      const gateway = await startTestGateway({ cacheUrl: redis.url });
      onTestFinished(() => gateway.close());
      const answer = await gateway.call({
        method: 'PUT',
        url: '/v1/orders/o1',
        headers: { 'idempotency-key': key },
        payload: { customer: 'c1', status: 'open' },
      });
      expect(answer.statusCode).toBe(202);
      return { gateway, id: answer.json<{ id: string }>().id };
    };
    const first = await put();
    // Its receipt is remembered.
    await expect
      .poll(async () => first.gateway.call({ method: 'GET', url: `/v1/submissions/${first.id}` }).then((a) => a.json<unknown>()))
      .toMatchObject({ resource: 'orders' });
    const second = await put();
    expect(await second.gateway.queued()).toHaveLength(1);
    expect(await first.gateway.queued()).toHaveLength(1);
  });
});
