import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Command, startDev } from '../fixtures/stacks.ts';
import { makeTemporaryFolder, temporaryFolder } from '../temp.ts';
import { endToEnd } from './contract.ts';

describe('end to end on the embedded adapters', () => {
  endToEnd(async () => {
    const folder = await makeTemporaryFolder();
    const stack = await startDev(folder.path);
    return {
      ...stack,
      stop: async (signal) => {
        const statuses = await stack.stop(signal);
        expect(statuses).toEqual([0]);
        await folder.remove();
        return statuses;
      },
    };
  });
});

describe('spanway dev', () => {
  it('picks up a new resource file while it runs, and keeps what it had when a file is wrong', async () => {
    const folder = await temporaryFolder();
    const stack = await startDev(folder);
    const file = join(folder, 'schemas', 'customers.ts');
    const [command] = stack.commands;
    try {
      const source = (field: string): string => `import { defineResource, Type } from 'spanway';
        export default defineResource({
          name: 'customers',
          key: ['email'],
          schema: Type.Object({ email: Type.String({ maxLength: 100 }), ${field} }),
          access: [{ actions: ['read', 'upsert'], scope: 'orders:write' }],
        });`;
      await writeFile(file, source('name: Type.Optional(Type.String())'));
      await command?.printed(/"customers".*resources read again/);
      expect(await stack.client.write('PUT', '/v1/customers/a@b.c', { name: 'A' })).toBe('applied');
      await writeFile(file, 'export default 5;');
      await command?.printed(/its default export is not made by defineResource/);
      // Once, and with the place in the file.
      await writeFile(file, 'const field: { datum?: unknown } = {};\nexport default (field.datum as () => unknown)();');
      await command?.printed(/"message":"cannot load \S+customers\.ts:2:\d+: field\.datum is not a function","stack"/);
      await writeFile(file, 'export default 5;');
      await command?.printed(/datum is not[^]*its default export is not made by defineResource/);
      expect(await stack.client.row('/v1/customers/a@b.c')).toEqual({ email: 'a@b.c', name: 'A' });
      await writeFile(file, source('name: Type.Optional(Type.String()), age: Type.Optional(Type.Integer({ minimum: 0, maximum: 200 }))'));
      await command?.printed(/default export is not made[^]*"statements":1.*resources read again/);
      expect(await stack.client.write('PUT', '/v1/customers/a@b.c', { name: 'A', age: 7 })).toBe('applied');
    } finally {
      expect(await stack.stop()).toEqual([0]);
    }
  });

  it('refuses a data folder that another one uses, and says what to do', async () => {
    const folder = await temporaryFolder();
    const stack = await startDev(folder);
    try {
      const second = new Command(['dev'], { SPANWAY_DATA_DIR: folder, PORT: '0' });
      expect(await second.exited).toBe(1);
      expect(second.output).toMatch(/in use by another spanway dev.*SPANWAY_DATA_DIR/s);
    } finally {
      await stack.stop();
    }
  });

  it('applies every write that had its 202 once, though the process is killed in the middle of them', async () => {
    const folder = await temporaryFolder();
    let stack = await startDev(folder);
    const accepted = new Map<string, number>();
    const kills = 3;
    for (let kill = 0; kill < kills; kill += 1) {
      const { client } = stack;
      let writing = true;
      let enough: () => void = () => undefined;
      const many = new Promise<void>((resolve) => (enough = resolve));
      const target = accepted.size + 60;
      const writers = Array.from({ length: 8 }, async (_, writer) => {
        for (let i = 0; writing; i += 1) {
          const id = `k${kill}-${writer}-${i}`;
          // An insert: applied twice, the second would be a rejection.
          const answer = await client
            .call('POST', '/v1/orders', { body: { orderId: id, customer: 'c', status: 'open' }, headers: { 'idempotency-key': id } })
            .catch(() => undefined);
          if (answer?.status === 202) accepted.set(id, kill);
          if (accepted.size >= target) enough();
        }
      });
      await many;
      await stack.stop('SIGKILL');
      writing = false;
      await Promise.all(writers);
      stack = await startDev(folder);
    }
    try {
      for (const id of accepted.keys()) {
        // The same submission once more: its first outcome, found or waited for.
        const answer = await stack.client.call('POST', '/v1/orders', {
          body: { orderId: id, customer: 'c', status: 'open' },
          headers: { 'idempotency-key': id, prefer: 'wait=20' },
        });
        expect(answer.body['status'], id).toBe('applied');
        expect(await stack.client.row(`/v1/orders/${id}`)).toMatchObject({ updatedAt: answer.body['commitTimestamp'] });
      }
    } finally {
      await stack.stop();
    }
  }, 120_000);

  it('takes resource files as modules, whatever the package.json above them says', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'package.json'), '{ "type": "commonjs" }');
    const stack = await startDev(folder);
    expect(await stack.stop()).toEqual([0]);
  });

  it('applies packs signed with Ed25519, and operators sign with the same keys', async () => {
    const folder = await temporaryFolder();
    const signed = { SPANWAY_PACK_SIGNATURE: 'ed25519' };
    const stack = await startDev(folder, [], signed);
    try {
      expect(await stack.client.write('PUT', '/v1/orders/o1', { customer: 'c', status: 'open' })).toBe('applied');
      const redrive = new Command(['dlq', 'redrive', '--all'], {
        ...signed,
        SPANWAY_DATA_DIR: folder,
        SPANWAY_SCHEMAS: join(folder, 'schemas'),
      });
      expect(await redrive.exited, redrive.output).toBe(0);
    } finally {
      await stack.stop();
    }
  });

  it('does not run in production', async () => {
    const command = new Command(['dev'], { NODE_ENV: 'production', SPANWAY_DATA_DIR: await temporaryFolder(), PORT: '0' });
    expect(await command.exited).toBe(1);
    expect(command.output).toMatch(/NODE_ENV=production/);
    const token = new Command(['token', '--tenant', 't', '--subject', 's'], {
      NODE_ENV: 'production',
      SPANWAY_DATA_DIR: await temporaryFolder(),
    });
    expect(await token.exited).toBe(1);
    expect(token.output).toMatch(/development issuer does not work/);
  });
});
