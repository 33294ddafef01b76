/** `spanway audit` beside a running `spanway dev`, as one uses it, and somebody who writes to its database. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ensureDevelopmentKeys, SEAL_KEYS } from '../../cli/keys.ts';
import { SqliteFile } from '../../ports/sqlite/database.ts';
import { SqliteStore } from '../../ports/store/sqlite.ts';
import { Sealer } from '../../producers/replay/seals/sealer.ts';
import { parseKeyRing } from '../../schemas/envelope/key-ring.ts';
import { SEALS } from '../../schemas/envelope/seals.ts';
import { SYSTEM_TABLES } from '../../schemas/envelope/tables.ts';
import { applyAll } from '../fixtures/applying.ts';
import { envelopeOf, orderUpsert } from '../fixtures/envelopes.ts';
import { Command, type Stack, startDev } from '../fixtures/stacks.ts';
import { resources } from '../fixtures/stores.ts';
import { makeTemporaryFolder, temporaryFolder } from '../temp.ts';

async function spanway(dataDir: string, args: string[], env: Record<string, string> = {}) {
  const command = new Command(args, { SPANWAY_DATA_DIR: dataDir, ...env });
  const code = await command.exited;
  return { code, output: command.output };
}

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

  it('seal what is written, export it, and name what somebody changed', async () => {
    expect(await spanway(folder.path, ['audit', 'verify'])).toMatchObject({
      code: 1,
      output: expect.stringContaining('no seals in this database'),
    });
    const answer = await stack.client.call('PUT', '/v1/orders/o1', {
      body: { customer: 'c', status: 'open' },
      headers: { prefer: 'wait=20' },
      token: await stack.client.token({ actor: 'robot' }),
    });
    expect(answer.body['status']).toBe('applied');
    const [dev] = stack.commands;
    await dev?.printed(/"msg":"sealed"/);

    const sound = await spanway(folder.path, ['audit', 'verify']);
    expect(sound).toMatchObject({
      code: 0,
      output: expect.stringMatching(/^1 row is as it was sealed, under 1 seal, to 2\S+\n[^]*nothing was changed/),
    });
    const [, head = ''] = /^last seal (1:[0-9a-f]{64})$/m.exec(sound.output) ?? [];
    expect(dev?.output).toContain(head);

    const file = join(folder.path, 'audit.jsonl');
    expect(await spanway(folder.path, ['audit', 'export', '--from', '1h', '--out', file])).toMatchObject({ code: 0 });
    expect(await spanway(folder.path, ['audit', 'export', '--out', file])).toMatchObject({
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
    expect(await spanway(folder.path, ['audit', 'verify', '--file', file, '--expect', head], away)).toMatchObject({ code: 0 });
    await writeFile(join(folder.path, 'changed.jsonl'), `${lines.join('\n').replace('robot', 'nobody')}\n`);
    const forged = await spanway(folder.path, ['audit', 'verify', '--file', join(folder.path, 'changed.jsonl')], away);
    expect(forged).toMatchObject({ code: 2, output: expect.stringMatching(/^row changed .*seal 1/m) });
    expect(await spanway(folder.path, ['audit', 'verify', '--file', join(folder.path, 'no-such-file')])).toMatchObject({ code: 1 });
    expect(await spanway(folder.path, ['audit', 'verify', '--expect', 'x'])).toMatchObject({
      code: 1,
      output: expect.stringContaining('NUMBER:HASH'),
    });

    const database = new DatabaseSync(join(folder.path, 'spanway.db'));
    database.exec(`UPDATE spanway_ledger SET entry = replace(entry, 'robot', 'nobody')`);
    database.close();
    const tampered = await spanway(folder.path, ['audit', 'verify', '--json']);
    expect(tampered.code).toBe(2);
    const found = tampered.output
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(found).toMatchObject([{ kind: 'row_changed', table: 'spanway_ledger', why: expect.stringContaining('actor') }, { findings: 1 }]);
  }, 180_000);
});

it('say that rows are not sealed in time, and which seal is missing where one is expected', async () => {
  const folder = await temporaryFolder();
  await ensureDevelopmentKeys(join(folder, 'secrets'), 'hmac-sha256');
  const ring = parseKeyRing(SEAL_KEYS, await readFile(join(folder, 'secrets', SEAL_KEYS), 'utf8'));
  let now = Date.now() - 3_600_000;
  const store = new SqliteStore(SqliteFile.use(join(folder, 'spanway.db')), () => now);
  const sealer = new Sealer({ store, signer: () => ring, log: pino({ level: 'silent' }) });
  await store.apply((await store.compare([...SYSTEM_TABLES, ...resources.tables()])).missing);
  for (const orderId of ['a', 'b']) {
    await applyAll(store, [envelopeOf([orderUpsert(orderId)])]);
    now += 10_000;
    await sealer.sealClosed(new AbortController().signal);
  }
  const sound = await spanway(folder, ['audit', 'verify']);
  expect(sound.code).toBe(0);
  const [, head = ''] = /^last seal (2:[0-9a-f]{64})$/m.exec(sound.output) ?? [];
  await store.commit([{ op: 'delete', table: SEALS, key: ['2'] }], { tag: 'test' });
  await store.close();
  const cut = await spanway(folder, ['audit', 'verify']);
  expect(cut).toMatchObject({ code: 3, output: expect.stringMatching(/1 is not sealed yet[^]*the last seals were removed/) });
  const told = await spanway(folder, ['audit', 'verify', '--expect', head]);
  expect(told).toMatchObject({ code: 2, output: expect.stringMatching(/^seal missing {2}seal 2: you expect it/m) });
}, 120_000);
