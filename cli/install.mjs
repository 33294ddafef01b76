/**
 * Keeps the dependencies of a checkout of the repository installed and current, so that `npm start` and `npm test`
 * are the only commands one needs. An installed package never runs this.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findNode, platformPackage, SetupError } from './setup.mjs';

/** @typedef {{ packages?: Record<string, { version?: string, integrity?: string, optional?: boolean }> }} LockFile */
/** @typedef {{ log?: (line: string) => void, npm?: typeof runNpm, hasNode?: () => boolean }} InstallOptions */

const POLL_MS = 200;

/**
 * Whether node_modules holds what package-lock.json asks for. npm writes what it installed, last of all, to
 * node_modules/.package-lock.json, so a broken-off install is not current, and one made by hand is.
 * @param {string} root
 */
export function isCurrent(root) {
  const wanted = readLockFile(join(root, 'package-lock.json'))?.packages;
  if (wanted === undefined) throw new SetupError(`${join(root, 'package-lock.json')} is missing or not readable: restore it from git`);
  const installed = readLockFile(join(root, 'node_modules', '.package-lock.json'))?.packages;
  if (installed === undefined) return false;
  return Object.entries(wanted).every(([path, want]) => {
    if (path === '') return true;
    const have = installed[path];
    // An optional package for another system is left out.
    if (have === undefined) return want.optional === true;
    return have.version === want.version && have.integrity === want.integrity;
  });
}

/**
 * Installs what is missing. Of several processes that find it so, one installs and the others wait.
 * @param {string} root
 * @param {InstallOptions} [options]
 */
export async function ensureInstalled(root, options = {}) {
  const { log = (line) => void process.stderr.write(`${line}\n`), npm = runNpm, hasNode = () => findNode() !== undefined } = options;
  const isDone = () => isCurrent(root) && hasNode();
  if (isDone()) return;
  const lock = await takeLock(join(root, '.setup.lock'), log, isDone);
  if (lock === undefined) return;
  try {
    if (!isCurrent(root)) {
      log('spanway: installing the dependencies (npm ci), which takes up to a minute …');
      // A checkout needs them all, whatever NODE_ENV says.
      await npm(root, ['ci', '--include=dev', '--no-audit', '--no-fund'], lock.setWorker);
    }
    if (!hasNode()) {
      // Install scripts are off, so the package `node` stayed empty. The platform's package holds the same binary
      // and needs none; `--no-save` leaves package.json and package-lock.json as they are.
      const name = `${platformPackage()}@${readLockFile(join(root, 'package-lock.json'))?.packages?.['node_modules/node']?.version ?? ''}`;
      log(`spanway: install scripts are off, so adding Node as ${name} …`);
      await npm(root, ['install', '--no-save', '--ignore-scripts', '--include=dev', '--no-audit', '--no-fund', name], lock.setWorker);
    }
  } finally {
    lock.release();
  }
}

/**
 * A folder that one process at a time can make. Its holder writes down itself and the npm process it waits for,
 * since that one goes on working when the holder is killed.
 * @param {string} path
 * @param {(line: string) => void} log
 * @param {() => boolean} isDone ends the wait: another process has done the work.
 */
export async function takeLock(path, log, isDone) {
  const mine = mkdtempSync(`${path}.`);
  const id = mine.slice(path.length + 1);
  /** @param {string} folder @param {number} [worker] */
  const write = (folder, worker) => {
    writeFileSync(join(folder, 'holder.json'), JSON.stringify({ id, host: hostname(), pids: [process.pid, worker] }));
  };
  let told = false;
  try {
    write(mine);
    while (!moveOnto(mine, path)) {
      if (isDone()) return undefined;
      const holder = readHolder(path);
      if (holder !== undefined && isGone(holder)) removeStale(path, holder.id);
      else {
        if (!told) log(`spanway: another process is installing the dependencies; waiting for it (if there is none, delete ${path}) …`);
        told = true;
        await sleep(POLL_MS);
      }
    }
  } finally {
    rmSync(mine, { recursive: true, force: true });
  }
  return {
    /** @param {number | undefined} worker */
    setWorker: (worker) => write(path, worker),
    release: () => rmSync(path, { recursive: true, force: true }),
  };
}

/**
 * Makes one folder the lock. It fails where there is one, since a rename does onto a folder that is not empty.
 * @param {string} mine
 * @param {string} path
 */
function moveOnto(mine, path) {
  try {
    renameSync(mine, path);
    return true;
  } catch (error) {
    const { code = '' } = /** @type {NodeJS.ErrnoException} */ (error);
    // The last two are what Windows says.
    if (['ENOTEMPTY', 'EEXIST', ...(process.platform === 'win32' ? ['EPERM', 'EACCES'] : [])].includes(code)) return false;
    throw error;
  }
}

/**
 * Removes the lock of a holder that is gone. The marker lets one process do so, and makes sure that the lock it
 * removes is still that holder's.
 * @param {string} path
 * @param {string} id
 */
function removeStale(path, id) {
  const marker = `${path}.stale-${id}`;
  try {
    mkdirSync(marker);
  } catch {
    return;
  }
  try {
    if (readHolder(path)?.id === id) rmSync(path, { recursive: true, force: true });
  } finally {
    rmSync(marker, { recursive: true, force: true });
  }
}

/**
 * @typedef {{ id: string, host: string, pids: (number | null)[] }} Holder
 * @param {string} path
 * @returns {Holder | undefined}
 */
function readHolder(path) {
  return /** @type {Holder | undefined} */ (readJson(join(path, 'holder.json')));
}

/**
 * Whether none of the holder's processes is left. Of another machine or container that shares the folder, nobody can tell.
 * @param {Holder} holder
 */
function isGone({ host, pids }) {
  return host === hostname() && pids.every((pid) => pid === null || !isAlive(pid));
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM';
  }
}

/**
 * @param {string} path
 * @returns {LockFile | undefined}
 */
function readLockFile(path) {
  return /** @type {LockFile | undefined} */ (readJson(path));
}

/**
 * The file's content, or undefined where there is none, or half of one.
 * @param {string} path
 * @returns {unknown}
 */
function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

/**
 * Runs npm in silence; what it said comes out when it fails. Standard output stays the command's own.
 * @param {string} root
 * @param {readonly string[]} args
 * @param {(pid: number | undefined) => void} onStart
 * @returns {Promise<void>}
 */
function runNpm(root, args, onStart) {
  // Under `npm run`, the first `node` in PATH is the one in node_modules, which `npm ci` is about to remove.
  const bin = resolve(root, 'node_modules', '.bin');
  const path = (process.env.PATH ?? '').split(delimiter).filter((folder) => resolve(folder) !== bin);
  return new Promise((done, fail) => {
    const child = spawn('npm', args, {
      cwd: root,
      env: { ...process.env, PATH: path.join(delimiter) },
      stdio: ['ignore', 'pipe', 'pipe'],
      shell: process.platform === 'win32', // npm is a batch file there
    });
    onStart(child.pid);
    /** @type {Buffer[]} */
    const said = [];
    child.stdout.on('data', (/** @type {Buffer} */ chunk) => said.push(chunk));
    child.stderr.on('data', (/** @type {Buffer} */ chunk) => said.push(chunk));
    child.on('error', (error) => {
      fail(new SetupError(`cannot run npm (${error.message}); it comes with Node: https://nodejs.org/en/download`));
    });
    child.on('close', (code, signal) => {
      if (code === 0) return done();
      process.stderr.write(Buffer.concat(said));
      fail(new SetupError(`"npm ${args.join(' ')}" in ${root} ended with ${signal ?? `code ${code}`}; its output is above`));
    });
  });
}
