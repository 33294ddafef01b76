/** `spanway audit` beside a running `spanway dev`, as one uses it, and somebody who writes to its database. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Command, type Stack, startDev } from '../fixtures/stacks.ts';
import { makeTemporaryFolder } from '../temp.ts';

describe('the audit commands', () => {
  let stack: Stack;
  let folder: { path: string; remove(): Promise<void> };
  beforeAll(async () => {
    folder = await makeTemporaryFolder();
    stack = await startDev(folder.path, [], { SPANWAY_SEAL_SECONDS: '1' });
  });
  afterAll(async () => {
    await stack.stop();
    await folder.remove();
  });

  async function spanway(args: string[], env: Record<string, string> = {}) {
    const command = new Command(args, { SPANWAY_DATA_DIR: folder.path, SPANWAY_SCHEMAS: join(folder.path, 'schemas'), ...env });
    const code = await command.exited;
    return { code, output: command.output };
  }

  it('seal what is written, export it, and name what somebody changed', async () => {
    expect(await spanway(['audit', 'verify'])).toMatchObject({ code: 1, output: expect.stringContaining('no seals in this database') });
    const answer = await stack.client.call('PUT', '/v1/orders/o1', {
      body: { customer: 'c', status: 'open' },
      headers: { prefer: 'wait=20' },
      token: await stack.client.token({ actor: 'robot' }),
    });
    expect(answer.body['status']).toBe('applied');
    const [dev] = stack.commands;
    await dev?.printed(/"msg":"sealed"/);

    const sound = await spanway(['audit', 'verify']);
    expect(sound).toMatchObject({ code: 0, output: expect.stringMatching(/^1 rows are as they were sealed[^]*nothing was changed/) });
    const [, head = ''] = /^last seal (1:[0-9a-f]{64})$/m.exec(sound.output) ?? [];
    expect(dev?.output).toContain(head);

    const file = join(folder.path, 'audit.jsonl');
    expect(await spanway(['audit', 'export', '--from', '1h', '--out', file])).toMatchObject({ code: 0 });
    expect(await spanway(['audit', 'export', '--out', file])).toMatchObject({
      code: 1,
      output: expect.stringContaining('must be a new file'),
    });
    const lines = (await readFile(file, 'utf8')).trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line) as unknown)).toMatchObject([
      { seal: { number: 1, count: 1 }, hash: head.slice(2) },
      {
        outcome: 'applied',
        caller: { tenant: 't1', subject: 'me', actor: 'robot' },
        mutations: [{ op: 'upsert', resource: 'orders', key: ['o1'] }],
      },
    ]);
    // With the key alone, away from the database.
    const away = { SPANWAY_DATA_DIR: join(folder.path, 'none'), SPANWAY_SECRETS: `file:${join(folder.path, 'secrets')}` };
    expect(await spanway(['audit', 'verify', '--file', file, '--expect', head], away)).toMatchObject({ code: 0 });
    await writeFile(join(folder.path, 'changed.jsonl'), `${lines.join('\n').replace('robot', 'nobody')}\n`);
    const forged = await spanway(['audit', 'verify', '--file', join(folder.path, 'changed.jsonl')], away);
    expect(forged).toMatchObject({ code: 2, output: expect.stringMatching(/^row changed .*seal 1/m) });
    expect(await spanway(['audit', 'verify', '--file', join(folder.path, 'no-such-file')])).toMatchObject({ code: 1 });
    expect(await spanway(['audit', 'verify', '--expect', 'x'])).toMatchObject({ code: 1, output: expect.stringContaining('NUMBER:HASH') });

    const database = new DatabaseSync(join(folder.path, 'spanway.db'));
    database.exec(`UPDATE spanway_ledger SET entry = replace(entry, 'robot', 'nobody')`);
    database.close();
    const tampered = await spanway(['audit', 'verify', '--json']);
    expect(tampered.code).toBe(2);
    const found = tampered.output
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(found).toMatchObject([{ kind: 'row_changed', table: 'spanway_ledger', why: expect.stringContaining('actor') }, { findings: 1 }]);
  }, 180_000);
});
