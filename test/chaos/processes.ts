/** A role as a process that is killed and started again, with its log in a file. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const root = new URL('../../', import.meta.url).pathname;
const LOOK_MS = 50;
const START_MS = 60_000;
/** As a supervisor would: the pause before a process that ended by itself is started again. */
const RESTART_MS = 200;

/** Ended with this process, also where it is told to end in the middle of a run. */
const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export class RoleProcess {
  readonly name: string;
  readonly #args: readonly string[];
  readonly #env: Readonly<Record<string, string>>;
  readonly #logFolder: string;
  #starts = 0;
  #child: ChildProcess | undefined;
  #wanted = false;
  kills = 0;
  /** How it ended when nobody had killed it. */
  readonly ownEnds: string[] = [];

  constructor(name: string, args: readonly string[], env: Readonly<Record<string, string>>, logFolder: string) {
    this.name = name;
    this.#args = args;
    this.#env = env;
    this.#logFolder = logFolder;
  }

  /**
   * Resolves when it says that it works; at once, without that, when it was killed on the way. A role that was killed
   * twice before it had started has two starts to come: the later one finds it there.
   */
  async start(): Promise<void> {
    this.#wanted = true;
    if (this.#child) return;
    this.#starts += 1;
    const path = join(this.#logFolder, `${this.name}-${String(this.#starts).padStart(3, '0')}.log`);
    const log = openSync(path, 'w');
    const child = spawn(process.execPath, [join(root, 'cli/bin.mjs'), ...this.#args], {
      cwd: root,
      env: { ...process.env, SPANWAY_LOG_LEVEL: 'info', ...this.#env },
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    this.#child = child;
    running.add(child);
    child.once('exit', (code, signal) => {
      running.delete(child);
      if (this.#child !== child) return;
      this.#child = undefined;
      if (!this.#wanted) return;
      this.ownEnds.push(`${path} ended with ${signal ?? code ?? '?'}`);
      setTimeout(() => {
        if (this.#wanted && !this.#child) void this.start().catch(() => {});
      }, RESTART_MS);
    });
    for (const end = Date.now() + START_MS; Date.now() < end; await sleep(LOOK_MS)) {
      if (this.#child !== child) return;
      if (/"msg":"started"|listening on http/.test(readFileSync(path, 'utf8').slice(0, 100_000))) return;
    }
    throw new Error(`${this.name} did not start in ${START_MS} ms; see ${path}`);
  }

  async kill(): Promise<void> {
    this.kills += 1;
    await this.#end('SIGKILL', 10_000);
  }

  /** The process stands still, with its connections open, and goes on after `ms`. */
  async pause(ms: number): Promise<void> {
    const child = this.#child;
    child?.kill('SIGSTOP');
    await sleep(ms);
    child?.kill('SIGCONT');
  }

  async stop(): Promise<void> {
    await this.#end('SIGTERM', 30_000);
  }

  async #end(signal: NodeJS.Signals, withinMs: number): Promise<void> {
    this.#wanted = false;
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), withinMs);
    await ended;
    clearTimeout(timer);
  }
}
