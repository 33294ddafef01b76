/** What the operator's commands make of what they are given, and of a database of their own. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished, vi } from 'vitest';
import { dlqPurge, dlqRedrive } from '../../cli/commands/dlq.ts';
import { ConfigError, readConfig } from '../../cli/config.ts';
import { ensureDevelopmentKeys } from '../../cli/keys.ts';
import { segmentsOf, timesOf } from '../../cli/operator.ts';
import { provision } from '../../cli/provision.ts';
import { openStore } from '../../ports/store/index.ts';
import { PARKED, parkedMutation } from '../../schemas/envelope/ledger.ts';
import { SYSTEM_TABLES } from '../../schemas/envelope/tables.ts';
import { envelopeOf, orderUpsert } from '../fixtures/envelopes.ts';
import { makeTemporaryFolder } from '../temp.ts';

it('reads a key as it stands in a path, and says how to write one that cannot be read', () => {
  expect(segmentsOf('o1/7')).toEqual(['o1', '7']);
  expect(segmentsOf('a%25%2Fb')).toEqual(['a%/b']);
  expect(() => segmentsOf('a%')).toThrow(ConfigError);
  expect(() => segmentsOf('a%')).toThrow('% as %25');
});

it('refuses a range of time that holds nothing', () => {
  expect(timesOf({ from: '2026-11-25T02:00:00Z', to: '2026-11-25T02:00:01Z' })).toEqual({
    from: '2026-11-25T02:00:00Z',
    to: '2026-11-25T02:00:01Z',
  });
  expect(() => timesOf({ from: '1h', to: '2h' })).toThrow(/--from .* is not before --to/);
  const time = '2026-11-25T02:00:00.5Z';
  expect(() => timesOf({ from: time, to: '2026-11-25T02:00:00.500Z' })).toThrow(`--from ${time} is not before --to ${time}`);
  expect(timesOf({ from: '2026-11-25T02:00:00.000001Z', to: '2026-11-25T03:00:00.000002+01:00' })).toEqual({
    from: '2026-11-25T02:00:00.000001Z',
    to: '2026-11-25T02:00:00.000002Z',
  });
});

async function commands() {
  const folder = await makeTemporaryFolder();
  const orders = fileURLToPath(new URL('../../schemas/orders.ts', import.meta.url));
  await writeFile(join(folder.path, 'orders.mjs'), `export { default } from ${JSON.stringify(orders)};`);
  const config = readConfig({ SPANWAY_DATA_DIR: folder.path, SPANWAY_SCHEMAS: folder.path });
  await ensureDevelopmentKeys(`${folder.path}/secrets`, config.packSignature);
  await provision(config);
  const store = await openStore(config.store);
  const { missing } = await store.compare(SYSTEM_TABLES);
  await store.apply(missing);
  const written: string[] = [];
  const take = (text: string | Uint8Array): boolean => written.push(String(text)) > 0;
  const outputs = [vi.spyOn(process.stdout, 'write').mockImplementation(take), vi.spyOn(process.stderr, 'write').mockImplementation(take)];
  onTestFinished(async () => {
    for (const output of outputs) output.mockRestore();
    process.exitCode = undefined;
    await store.close();
    await folder.remove();
  });
  /** The exit code, and what was printed. */
  async function run(command: () => Promise<void>): Promise<{ code: typeof process.exitCode; output: string }> {
    process.exitCode = 0;
    await command();
    const code = process.exitCode;
    process.exitCode = undefined;
    return { code, output: written.splice(0).join('') };
  }
  return { config, store, run };
}

const FLAGS = { rejected: false, json: false, all: false };
const REDRIVE = { ...FLAGS, overNewer: false, dryRun: false, wait: 1 };

it('a purge by a filter keeps a message that holds what the filter does not mean, and says so', async () => {
  const { config, store, run } = await commands();
  const ofTenant = (tenant: string) => envelopeOf([orderUpsert('o1')], { tenant });
  for (const [id, envelopes] of Object.entries({ one: [ofTenant('t1')], both: [ofTenant('t1'), ofTenant('t2')] })) {
    const body = Buffer.from(JSON.stringify(envelopes)).toString('base64');
    await store.commit([parkedMutation({ id, reason: 'unknown_key', detail: '', attributes: '{}', body })], { tag: 'test' });
  }
  const parked = async () => (await store.scan(PARKED, { prefix: [], limit: 10 }, ['parked_id'])).flat();
  const filtered = await run(() => dlqPurge(config, [], { ...FLAGS, tenant: 't1' }));
  expect(filtered).toMatchObject({ code: 2, output: expect.stringMatching(/kept parked:both.*spanway dlq purge parked:both/) });
  expect(await parked()).toEqual(['both']);
  expect(await run(() => dlqPurge(config, ['parked:both'], FLAGS))).toMatchObject({ code: 0 });
  expect(await parked()).toEqual([]);
});

it('a redrive or a purge of what is no dead letter says so', async () => {
  const { config, run } = await commands();
  const id = '6f1c2d3e-0000-4000-8000-000000000000';
  for (const command of [() => dlqPurge(config, [id], FLAGS), () => dlqRedrive(config, [id], REDRIVE)])
    expect(await run(command)).toMatchObject({ code: 1, output: expect.stringContaining(`${id} is no dead letter`) });
});
