/** The bootstrap: what counts as installed, which Node runs the sources, and how signals and exits pass through. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { ensureInstalled, isCurrent, takeLock } from '../cli/install.mjs';
import { findNode, platformPackage, SetupError } from '../cli/setup.mjs';
import { temporaryFolder } from './temp.ts';

const setupFile = fileURLToPath(new URL('../cli/setup.mjs', import.meta.url));
const binFile = fileURLToPath(new URL('../cli/bin.mjs', import.meta.url));

type Packages = Record<string, { version?: string; integrity?: string; optional?: boolean }>;
const PACKAGES: Packages = {
  '': { version: '0.1.0' },
  'node_modules/a': { version: '1.0.0', integrity: 'sha512-a' },
  'node_modules/node': { version: '24.1.2', integrity: 'sha512-n' },
  'node_modules/for-another-system': { version: '1.0.0', optional: true },
};
const { '': _root, 'node_modules/for-another-system': _optional, ...INSTALLED } = PACKAGES;

async function checkout(installed?: Packages): Promise<string> {
  const root = await temporaryFolder();
  await writeFile(join(root, 'package-lock.json'), JSON.stringify({ packages: PACKAGES }));
  if (installed) await install(root, installed);
  return root;
}

async function install(root: string, packages: Packages): Promise<void> {
  await mkdir(join(root, 'node_modules'), { recursive: true });
  await writeFile(join(root, 'node_modules/.package-lock.json'), JSON.stringify({ packages }));
}

describe('isCurrent', () => {
  it('takes what the lock file asks for, but for optional packages of other systems', async () => {
    expect(isCurrent(await checkout(INSTALLED))).toBe(true);
  });

  it.each([
    ['nothing is installed, or an install was broken off', undefined],
    ['a package is missing', { 'node_modules/node': INSTALLED['node_modules/node'] ?? {} }],
    ['a version differs', { ...INSTALLED, 'node_modules/a': { version: '1.0.1', integrity: 'sha512-a' } }],
    ['the content differs', { ...INSTALLED, 'node_modules/a': { version: '1.0.0', integrity: 'sha512-b' } }],
  ])('sees that %s', async (_what, installed) => {
    expect(isCurrent(await checkout(installed))).toBe(false);
  });

  it('says so when there is no lock file', async () => {
    const root = await temporaryFolder();
    expect(() => isCurrent(root)).toThrow(SetupError);
  });
});

describe('ensureInstalled', () => {
  /** Stands in for npm: notes what it is asked to do, and does it when told. */
  function fakeNpm(root: string, until: Promise<unknown> = Promise.resolve()) {
    const calls: string[] = [];
    const lines: string[] = [];
    let hasNode = false;
    const npm = async (_root: string, args: readonly string[]): Promise<void> => {
      calls.push(args.filter((arg) => !arg.startsWith('--')).join(' '));
      await until;
      if (args[0] === 'ci') await install(root, INSTALLED);
      else hasNode = true;
    };
    return { calls, lines, options: { npm, log: (line: string) => void lines.push(line), hasNode: () => hasNode } };
  }

  it('does nothing, and says nothing, when all is there', async () => {
    const root = await checkout(INSTALLED);
    const { calls, lines, options } = fakeNpm(root);
    await ensureInstalled(root, { ...options, hasNode: () => true });
    expect([calls, lines]).toEqual([[], []]);
  });

  it('installs what the lock file asks for, and says so in one line', async () => {
    const root = await checkout();
    const { calls, lines, options } = fakeNpm(root);
    await ensureInstalled(root, { ...options, hasNode: () => true });
    expect(calls).toEqual(['ci']);
    expect(lines).toHaveLength(1);
  });

  it("adds the platform's Node, in the version of the lock file, where install scripts are off", async () => {
    const root = await checkout();
    const { calls, options } = fakeNpm(root);
    await ensureInstalled(root, options);
    expect(calls).toEqual(['ci', `install ${platformPackage()}@24.1.2`]);
  });

  it('lets one of two processes install while the other waits', async () => {
    const root = await checkout();
    const gate = Promise.withResolvers<undefined>();
    const { calls, lines, options } = fakeNpm(root, gate.promise);
    const told = Promise.withResolvers<undefined>();
    const log = (line: string): void => {
      lines.push(line);
      if (line.includes('another process')) told.resolve(undefined);
    };
    const both = [1, 2].map(() => ensureInstalled(root, { ...options, log, hasNode: () => true }));
    await told.promise;
    gate.resolve(undefined);
    await Promise.all(both);
    expect(calls).toEqual(['ci']);
  });

  it('lets the next one try when an install fails', async () => {
    const root = await checkout();
    const { calls, options } = fakeNpm(root);
    const failing = { ...options, npm: () => Promise.reject(new SetupError('no network')) };
    await expect(ensureInstalled(root, failing)).rejects.toThrow('no network');
    await ensureInstalled(root, { ...options, hasNode: () => true });
    expect(calls).toEqual(['ci']);
  });

  it('takes over from a process that was killed, once the npm it had started is gone too', async () => {
    const lock = join(await temporaryFolder(), 'lock');
    const killed = spawn(process.execPath, ['-e', '']);
    await once(killed, 'exit');
    const npm = spawn(process.execPath, ['-e', 'process.stdin.resume()'], { stdio: ['pipe', 'ignore', 'ignore'] });
    await mkdir(lock);
    await writeFile(join(lock, 'holder.json'), JSON.stringify({ id: 'other', host: hostname(), pids: [killed.pid, npm.pid] }));

    const told = Promise.withResolvers<undefined>();
    const taken = takeLock(
      lock,
      () => told.resolve(undefined),
      () => false,
    );
    await told.promise;
    expect(JSON.parse(await readFile(join(lock, 'holder.json'), 'utf8'))).toMatchObject({ id: 'other' });
    npm.stdin.end();
    expect(await taken).toBeDefined();
    expect(JSON.parse(await readFile(join(lock, 'holder.json'), 'utf8'))).toMatchObject({ pids: [process.pid, null] });
  });
});

describe('findNode', () => {
  const missing = (): never => {
    throw new Error('not found');
  };

  it('takes the running Node when it is new enough', () => {
    expect(findNode({ version: '24.0.0', execPath: '/new/node', resolve: missing })).toBe('/new/node');
  });

  it('takes the one among the dependencies when the running one is too old', async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, 'bin'));
    await writeFile(join(folder, 'bin/node'), '');
    expect(findNode({ version: '20.20.2', resolve: () => join(folder, 'package.json') })).toBe(join(folder, 'bin/node'));
  });

  it('finds none when the package is there but its install script was blocked', async () => {
    const folder = await temporaryFolder();
    expect(findNode({ version: '20.20.2', resolve: () => join(folder, 'package.json') })).toBeUndefined();
    expect(findNode({ version: '20.20.2', resolve: missing })).toBeUndefined();
  });
});

describe('runUnderNode in a child', () => {
  /** A program that says when it is there, and stops as a server does, run as `bin.mjs` does it on an older Node. */
  async function start(): Promise<{ parent: ChildProcess; output: () => string; ready: Promise<void>; closed: Promise<unknown> }> {
    const folder = await temporaryFolder();
    const program = join(folder, 'program.mjs');
    await writeFile(
      program,
      `import { endWithParent } from ${JSON.stringify(setupFile)};
       endWithParent();
       const work = setInterval(() => {}, 1000);
       for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => {
         console.log('stopped by ' + signal);
         clearInterval(work);
         process.exitCode = 7;
       });
       console.log('ready ' + process.argv.slice(2).join());`,
    );
    const launcher = `
      import { runUnderNode } from ${JSON.stringify(setupFile)};
      await runUnderNode(${JSON.stringify(program)}, ['a', 'b'], { endWithParent: true });`;
    const parent = spawn(process.execPath, ['--input-type=module', '-e', launcher], { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    const ready = Promise.withResolvers<undefined>();
    parent.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
      if (output.includes('ready')) ready.resolve(undefined);
    });
    // The pipe closes when the last process that holds it has ended: the program, if it outlives its parent.
    return { parent, output: () => output, ready: ready.promise, closed: once(parent, 'close') };
  }

  it.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)('passes %s on and ends with the exit code of the program', async (signal) => {
    const { parent, output, ready, closed } = await start();
    await ready;
    parent.kill(signal);
    expect(await closed).toEqual([7, null]);
    expect(output()).toBe(`ready a,b\nstopped by ${signal}\n`);
  });

  it('stops the program when its parent is killed', async () => {
    const { parent, output, ready, closed } = await start();
    await ready;
    parent.kill('SIGKILL');
    await closed;
    expect(output()).toBe('ready a,b\nstopped by SIGTERM\n');
  });
});

describe('bin.mjs in an installed package', () => {
  async function installed(): Promise<string> {
    const folder = await temporaryFolder();
    await mkdir(join(folder, 'cli'));
    await mkdir(join(folder, 'dist/cli'), { recursive: true });
    await writeFile(join(folder, 'package.json'), '{ "type": "module" }');
    await writeFile(join(folder, 'dist/cli/main.js'), 'console.log(process.argv.slice(2).join());');
    await copyFile(binFile, join(folder, 'cli/bin.mjs'));
    await copyFile(setupFile, join(folder, 'cli/setup.mjs'));
    return join(folder, 'cli/bin.mjs');
  }

  const outcome = (args: readonly string[]): Promise<{ code: unknown; stdout: string; stderr: string }> =>
    new Promise((done) => {
      execFile(process.execPath, args, (error, stdout, stderr) => {
        done({ code: error?.code ?? 0, stdout, stderr });
      });
    });

  it('runs the compiled command, and writes nothing of its own', async () => {
    expect(await outcome([await installed(), 'token', '--tenant', 't1'])).toEqual({ code: 0, stdout: 'token,--tenant,t1\n', stderr: '' });
  });

  it('says what to do when there is no Node that is new enough', async () => {
    const older = "Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.20.2' } });";
    const { code, stdout, stderr } = await outcome([
      '--import',
      `data:text/javascript,${encodeURIComponent(older)}`,
      await installed(),
      'token',
    ]);
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toContain('npm rebuild node');
    expect(stderr).not.toContain('    at ');
  });
});
