/** The package as a stranger meets it: packed, installed into an empty folder, used with a resource file of its own. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { delimiter, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeTemporaryFolder } from './temp.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('..', import.meta.url));

/** A shell's environment: without what `npm test` and vitest add to it, and with the machine's own Node first. */
function environment(added: Record<string, string> = {}): NodeJS.ProcessEnv {
  const env = Object.entries(process.env).filter(
    ([name]) => !/^(?:npm_(?:lifecycle|package|command|config_local_prefix)|VITEST|NODE_ENV|SPANWAY_)/.test(name),
  );
  const bin = resolve(root, 'node_modules/.bin');
  const path = (process.env.PATH ?? '').split(delimiter).filter((folder) => resolve(folder) !== bin);
  return { ...Object.fromEntries(env), PATH: path.join(delimiter), ...added };
}

const CUSTOMERS = `
import { defineResource, field, type RowOf, type Static, Type } from 'spanway';

const schema = Type.Object({
  customerId: Type.String({ minLength: 1, maxLength: 36 }),
  name: Type.String({ maxLength: 100 }),
  visits: Type.Optional(field.int64({ minimum: 0, maximum: 1000 })),
  changedAt: field.commitTimestamp(),
});

const customers = defineResource({
  name: 'customers',
  key: ['customerId'],
  schema,
  indexes: [{ fields: ['name'] }],
  access: [{ actions: ['read', 'upsert'], scope: 'customers:all' }],
});
export default customers;

const row: RowOf<typeof customers> = { customerId: 'c1', name: 'Ada', visits: 3, changedAt: '2026-01-01T00:00:00Z' };
export const same: Static<typeof schema> = row;
// @ts-expect-error a number is no name: the types are the resource's own, and not any
export const wrong: RowOf<typeof customers> = { ...row, name: 1 };
// @ts-expect-error a key is of the schema's fields
export const refused = () => defineResource({ name: 'others', key: ['other'], schema, access: [] });
`;

/** Strict, and resolving as Node does. */
const TSCONFIG = { compilerOptions: { strict: true, module: 'nodenext', target: 'es2024', noEmit: true, skipLibCheck: true, types: [] } };

describe('the package', () => {
  let folder: string;
  let remove: () => Promise<void>;
  let packed: readonly string[];

  beforeAll(async () => {
    ({ path: folder, remove } = await makeTemporaryFolder());
    const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], { cwd: root, env: environment() });
    const [tarball] = JSON.parse(stdout.slice(stdout.indexOf('['))) as [{ filename: string; files: { path: string }[] }];
    packed = tarball.files.map((file) => file.path);

    await mkdir(join(folder, 'schemas'));
    await writeFile(join(folder, 'package.json'), JSON.stringify({ name: 'shop', private: true, type: 'module' }));
    await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(TSCONFIG));
    await writeFile(join(folder, 'schemas/customers.ts'), CUSTOMERS);
    const flags = ['--prefer-offline', '--no-audit', '--no-fund'];
    await run('npm', ['install', ...flags, join(folder, tarball.filename)], { cwd: folder, env: environment() });
  }, 300_000);

  afterAll(() => remove());

  it('holds what runs, and nothing else of the repository', () => {
    expect(packed).toEqual(expect.arrayContaining(['LICENSE', 'cli/bin.mjs', 'dist/index.js', 'dist/index.d.ts', 'dist/cli/main.js']));
    expect(packed.filter((path) => path.startsWith('schemas/'))).toHaveLength(3);
    const unwanted = packed.filter(
      (path) =>
        !/^(?:(?:package\.json|README\.md|CHANGELOG\.md|LICENSE|cli\/(?:bin|setup)\.mjs)$|dist\/|schemas\/events\/submission\.\w+\.json$)/.test(
          path,
        ),
    );
    expect(unwanted).toEqual([]);
    expect(packed.filter((path) => /(?:^|\/)(?:test|bench)\/|\.test\.|(?<!\.d)\.ts$/.test(path))).toEqual([]);
  });

  it('type-checks a resource file in a strict project', async () => {
    const tsc = fileURLToPath(import.meta.resolve('typescript/bin/tsc'));
    await run(process.execPath, [tsc, '-p', folder]).catch((error: unknown) => {
      expect.fail((error as { stdout: string }).stdout);
    });
  }, 120_000);

  it('can be imported by name', async () => {
    const script = "console.log(Object.keys(await import('spanway')).join())";
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], { cwd: folder, env: environment() });
    expect(stdout.trim().split(',')).toEqual(
      expect.arrayContaining(['Type', 'defineResource', 'field', 'bridgeHandlerFromEnvironment', 'gatewayHandlerFromEnvironment']),
    );
  });

  it('gives a subscriber the schemas of its events by name', async () => {
    const script =
      "console.log((await import('spanway/schemas/events/submission.rejected.json', { with: { type: 'json' } })).default.title)";
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], { cwd: folder, env: environment() });
    expect(stdout.trim()).toBe('submission.rejected');
  });

  it('takes a write and serves it back, and stops when asked to', async () => {
    const env = environment({ PORT: '0', SPANWAY_DATA_DIR: join(folder, 'data') });
    const server = spawn(join(folder, 'node_modules/.bin/spanway'), ['dev'], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
    const ended = once(server, 'exit');
    try {
      const url = await listeningUrl(server);
      expect((await fetch(`${url}/readyz`)).status).toBe(200);

      const token = await run('npx', ['spanway', 'token', '--tenant', 't1', '--subject', 's1'], { cwd: folder, env });
      expect(token.stdout).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
      const headers = { authorization: `Bearer ${token.stdout.trim()}`, 'content-type': 'application/json' };

      const body = JSON.stringify({ name: 'Ada', visits: 3 });
      const put = await fetch(`${url}/v1/customers/c1`, { method: 'PUT', headers: { ...headers, prefer: 'wait=10' }, body });
      expect(await put.json()).toMatchObject({ status: 'applied' });
      expect(put.status).toBe(200);

      const get = await fetch(`${url}/v1/customers/c1`, { headers });
      expect(await get.json()).toMatchObject({ customerId: 'c1', name: 'Ada', visits: 3 });
    } finally {
      server.kill('SIGTERM');
    }
    expect(await ended).toEqual([0, null]);
  }, 120_000);
});

/** The address that the server prints when it listens; fails with what it printed if it ends before. */
async function listeningUrl(server: ChildProcess): Promise<string> {
  let printed = '';
  return new Promise((done, fail) => {
    const read = (chunk: Buffer): void => {
      printed += chunk.toString();
      const url = /listening on (http:\/\/\S+)/.exec(printed)?.[1];
      if (url !== undefined) done(url);
    };
    server.stdout?.on('data', read);
    server.stderr?.on('data', read);
    server.on('error', fail);
    server.on('exit', (code) => {
      fail(new Error(`spanway dev ended with ${code} before it listened; it printed: ${printed}`));
    });
  });
}
