/**
 * Runs one server for a process that may die at any moment, and ends it when that process is gone.
 *
 * The starter holds the other end of this process's standard input. When that pipe closes, because the starter
 * stops the server or because it was killed, the server's whole process group is ended: Spanner's `gateway_main`,
 * for one, starts `emulator_main` and leaves it running.
 */
import { spawn, spawnSync } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';

/** What the starter asks for: one JSON object, the only argument. */
export interface WatchedCommand {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Run after the end: what ends a container, whose processes are not in the group. */
  readonly cleanup?: readonly string[];
  /** How long the server has to end by itself before it is killed. */
  readonly graceMs: number;
}

const { command, args, env, cleanup, graceMs } = JSON.parse(process.argv[2] ?? '') as WatchedCommand;

// Ctrl-C goes to the starter, which first finishes its work on the servers.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});

// Its own group (`detached`), so that one signal reaches all that it starts.
const server = spawn(command, args, { detached: true, stdio: ['ignore', 'inherit', 'inherit'], env: { ...process.env, ...env } });

/** Whether anybody was there to get it. */
function signalGroup(signal: NodeJS.Signals | 0): boolean {
  try {
    return server.pid !== undefined && process.kill(-server.pid, signal);
  } catch {
    return false;
  }
}

/** How long the killed have to let go of their ports. A zombie that process 1 does not collect stays in the group for ever. */
const GONE_WITHIN_MS = 250;

let finishing = false;
async function finish(code: number): Promise<void> {
  if (finishing) return;
  finishing = true;
  signalGroup('SIGKILL');
  for (let waitedMs = 0; waitedMs < GONE_WITHIN_MS && signalGroup(0); waitedMs += 10) await delay(10);
  const [program, ...rest] = cleanup ?? [];
  if (program !== undefined) spawnSync(program, rest, { stdio: 'ignore', timeout: 10_000 });
  process.exit(code);
}

server.on('error', (error) => {
  process.stderr.write(`${error.message}\n`);
  void finish(127);
});
server.on('exit', (code) => void finish(code ?? 1));

function starterIsGone(): void {
  signalGroup('SIGTERM');
  setTimeout(() => void finish(0), graceMs);
}
process.stdin.on('end', starterIsGone).on('error', starterIsGone).resume();
