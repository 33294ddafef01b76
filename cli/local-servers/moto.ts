/** moto: EventBridge in a Python process, from a virtual environment that is made once and kept in the user's cache. */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { answersHttp, freePort, LocalServerError, startChild } from './child.ts';
import { isExecutable, onPath, succeeds } from './programs.ts';
import type { LocalServer } from './server.ts';

const run = promisify(execFile);
const VERSION = '5.2.5';
const INSTALL_LIMIT_MS = 600_000;
const PYTHON_SUFFICES = 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))';

function folder(): string {
  const cache = process.env['XDG_CACHE_HOME'];
  return join(cache === undefined || cache === '' ? join(homedir(), '.cache') : cache, 'spanway', `moto-${VERSION}`);
}

const pythonOf = (environment: string): string => join(environment, 'bin/python');

/** Makes the environment under another name and renames it, so that nobody finds half of one. */
async function install(python: string, target: string): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  await removeLeftovers(target);
  const making = `${target}.making-${randomUUID()}`;
  try {
    await run(python, ['-m', 'venv', making], { timeout: INSTALL_LIMIT_MS });
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', `moto[server]==${VERSION}`];
    await run(pythonOf(making), pip, { timeout: INSTALL_LIMIT_MS });
    // There is one with a Python that is gone, or another run has made it by now.
    if (!(await isExecutable(pythonOf(target)))) {
      await rm(target, { recursive: true, force: true });
      await rename(making, target).catch(async (cause: unknown) => {
        if (!(await isExecutable(pythonOf(target)))) throw cause;
      });
    }
  } catch (cause) {
    const printed = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim().slice(-1_000) : String(cause);
    throw new LocalServerError(`moto could not be installed in ${target}: ${printed}`, { cause });
  } finally {
    await rm(making, { recursive: true, force: true });
  }
}

/** Of runs that were killed while they installed. */
async function removeLeftovers(target: string): Promise<void> {
  for (const name of await readdir(dirname(target))) {
    const path = join(dirname(target), name);
    if (!name.startsWith(`${basename(target)}.making-`)) continue;
    const made = await stat(path).catch(() => undefined);
    if (made && Date.now() - made.mtimeMs > INSTALL_LIMIT_MS * 2) await rm(path, { recursive: true, force: true });
  }
}

/** `endpoint` is for an EventBridge client; credentials and region may be anything. */
export const moto: LocalServer<{ readonly endpoint: string }> = {
  async find() {
    const environment = folder();
    const installed = await isExecutable(pythonOf(environment));
    const python = installed ? pythonOf(environment) : await onPath('python3');
    if (python === undefined || !(installed || (await succeeds(python, ['-c', PYTHON_SUFFICES])))) {
      return { missing: `moto needs Python 3.10 or newer with venv (apt install python3-venv, brew install python)` };
    }
    return {
      async start({ port: wanted, log }) {
        if (!installed) {
          log(`moto: installing moto[server] ${VERSION} in ${environment}, once; this takes about a minute`);
          await install(python, environment);
        }
        const port = wanted ?? (await freePort());
        const endpoint = `http://127.0.0.1:${port}`;
        const child = await startChild({
          title: 'moto',
          command: pythonOf(environment),
          // As a module: the scripts of an environment that was renamed name a Python that is not there.
          args: ['-m', 'moto.server', '-H', '127.0.0.1', '-p', String(port)],
          ready: () => answersHttp(`${endpoint}/moto-api/data.json`),
          readyWithinMs: 60_000,
        });
        return { address: { endpoint }, stop: child.stop };
      },
    };
  },
};
