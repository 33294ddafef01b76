/** What commands make of how they are called: ids, settings, folders that are not there or cannot be used. */
import { once } from 'node:events';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { complaintOf } from '../../cli/complaint.ts';
import { type Config, readConfig } from '../../cli/config.ts';
import { openCacheOf, openJobsOf } from '../../cli/installation.ts';
import { provision } from '../../cli/provision.ts';
import { openEvents } from '../../ports/events/index.ts';
import { openQueue } from '../../ports/queue/index.ts';
import { openSecrets } from '../../ports/secrets/index.ts';
import { openStore } from '../../ports/store/index.ts';
import { openTopic } from '../../ports/topic/index.ts';
import { Command } from '../fixtures/stacks.ts';
import { temporaryFolder } from '../temp.ts';

async function spanway(dataDir: string, args: readonly string[], env: Record<string, string> = {}) {
  const command = new Command(args, { SPANWAY_DATA_DIR: dataDir, PORT: '0', ...env });
  // All of what it printed has come.
  const [code] = await Promise.all([command.exited, once(command.process, 'close')]);
  return { code, output: command.output };
}

describe('a receipt id that begins with a hyphen', () => {
  // The first of them begins as -h does, which asks for help, the other one as an option with two hyphens.
  const ids = [`-hT7Q${'A'.repeat(59)}`, `--all${'B'.repeat(59)}`] as const;

  it('is an id, wherever it stands', async () => {
    const folder = await temporaryFolder();
    expect(await spanway(folder, ['schema', 'apply', '--provision'])).toMatchObject({ code: 0 });
    for (const id of ids)
      expect(await spanway(folder, ['trace', id, '--json'])).toMatchObject({ code: 1, output: expect.stringContaining(`known of ${id}`) });
    const { output } = await spanway(folder, ['dlq', 'show', '--json', ids[0], 'x', '--', ids[1]]);
    for (const id of ['x', ...ids]) expect(output).toContain(`${id} is no dead letter`);
    // The value of an option stays with it.
    expect(await spanway(folder, ['dlq', 'list', '--correlation-id', ids[0]])).toMatchObject({ code: 0, output: '0 dead letters\n' });
  }, 30_000);
});

describe('a data folder', () => {
  it('that cannot be used is said in one line, with its setting', async () => {
    const file = join(await temporaryFolder(), 'file');
    await writeFile(file, '');
    for (const args of [['dev'], ['token', '--tenant', 't1', '--subject', 's1'], ['schema', 'apply']]) {
      const { code, output } = await spanway(file, args);
      expect(output).toMatch(/^spanway: SPANWAY_DATA_DIR \(.*\) cannot be used: (?:EEXIST|ENOTDIR): .*; set it to .*\n$/);
      expect(code).toBe(1);
    }
    const elsewhere = `sqlite:${file}/spanway.db`;
    expect(await spanway(await temporaryFolder(), ['schema', 'apply'], { SPANWAY_STORE: elsewhere })).toMatchObject({
      code: 1,
      output: expect.stringContaining(`SPANWAY_STORE (${elsewhere}) cannot be used`),
    });
    // What an option names is no setting's.
    const folder = await temporaryFolder();
    expect(await spanway(folder, ['schema', 'apply'])).toMatchObject({ code: 0 });
    for (const into of [elsewhere, `sqlite:${folder}/into.db?leaseSecond=1`])
      expect(await spanway(folder, ['replay', '--into', into])).toMatchObject({
        code: 1,
        output: expect.stringMatching(/^spanway: --into: .*\n$/),
      });
  }, 30_000);

  it('that is not there is not made by a command that looks at data', async () => {
    const folder = await temporaryFolder();
    const mistyped = join(folder, 'spanwya');
    for (const args of [
      ['dlq', 'list'],
      ['trace', 'x'],
      ['jobs', 'list'],
      ['audit', 'verify'],
      ['schema', 'check'],
    ]) {
      const { code, output } = await spanway(mistyped, args);
      expect(output, args.join(' ')).toMatch(
        /^spanway: there is no data at .*spanwya.spanway\.db: check SPANWAY_DATA_DIR .* and SPANWAY_STORE .*\n$/,
      );
      expect(code).toBe(1);
    }
    expect(await readdir(folder)).toEqual([]);
  }, 30_000);

  it('without a development key gets one from spanway token, which says so', async () => {
    const folder = await temporaryFolder();
    const args = ['token', '--tenant', 't1', '--subject', 's1'];
    expect((await spanway(folder, args)).output).toMatch(/made a new development key, .*same SPANWAY_DATA_DIR, /);
    expect((await spanway(folder, args)).output).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
  }, 30_000);
});

it('an option that npm took for its own is said to need -- before it', async () => {
  const { code, output } = await spanway(await temporaryFolder(), ['token'], { npm_config_tenant: 'true', npm_config_subject: 'true' });
  expect(output).toContain("required option '--tenant <id>' not specified");
  expect(output).toContain('put -- before the options, as in npm run -s token -- --tenant');
  expect(code).toBe(1);
});

describe('the complaint of a URL that cannot be used', () => {
  const open: Readonly<Record<string, (config: Config) => unknown>> = {
    SPANWAY_QUEUE: ({ queue }) => openQueue(queue),
    SPANWAY_TOPIC: ({ topic }) => openTopic(topic),
    SPANWAY_STORE: ({ store }) => openStore(store),
    SPANWAY_EVENTS: ({ events }) => openEvents(events),
    SPANWAY_SECRETS: ({ secrets }) => openSecrets(secrets),
    SPANWAY_CACHE: openCacheOf,
    SPANWAY_JOBS: openJobsOf,
  };
  const URLS: Readonly<Record<string, string>> = { SPANWAY_SECRETS: 'env:', SPANWAY_CACHE: 'memory:' };

  it.each(Object.entries(open))('names %s', async (variable, opened) => {
    const config = readConfig({ [variable]: `${URLS[variable] ?? 'sqlite:x.db'}?leaseSecond=1` });
    const error = await Promise.resolve(opened(config)).catch((thrown: unknown) => thrown);
    expect(complaintOf(error, () => config)).toMatch(
      new RegExp(`^${variable}: .*: unknown option "leaseSecond"; (?:allowed: |it takes none)`),
    );
    // As it comes from another thread.
    expect(complaintOf(Object.assign(new Error((error as Error).message), { ...(error as object) }), () => config)).toMatch(variable);
  });

  it('is none for a fault of the program', () => {
    const config = readConfig({});
    expect(complaintOf(new TypeError('x is not a function'), () => config)).toBeUndefined();
    expect(complaintOf(Object.assign(new Error('SQL logic error'), { errcode: 1 }), () => config)).toBeUndefined();
  });
});

it('an installation without its folder of jobs has none', async () => {
  const folder = await temporaryFolder();
  await mkdir(join(folder, 'data'));
  await provision(readConfig({ SPANWAY_DATA_DIR: join(folder, 'data') }));
  expect(await spanway(join(folder, 'data'), ['jobs', 'list'])).toEqual({ code: 0, output: '0 jobs\n' });
});
