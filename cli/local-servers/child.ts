/** Starts a server as a child that cannot outlive us, and waits until it answers. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { extname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { SpanwayError } from '../../schemas/errors.ts';
import type { WatchedCommand } from './watcher.ts';

export interface ChildOptions {
  readonly title: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cleanup?: readonly string[];
  /** Tells whether the server answers. A throw counts as "not yet". */
  readonly ready: () => Promise<boolean>;
  readonly readyWithinMs: number;
}

export interface Child {
  /** Resolves when the server, with all it started, is gone. */
  readonly stop: () => Promise<void>;
}

/** A local server that did not start, with the end of what it printed. */
export class LocalServerError extends SpanwayError {
  override readonly name = 'LocalServerError';
  constructor(message: string, options: { context?: Record<string, unknown>; cause?: unknown } = {}) {
    super('local_server', message, options);
  }
}

const GRACE_MS = 3_000;
const POLL_MS = 40;
const TAIL_CHARACTERS = 2_000;

/** The file of a module in this folder, to run: `.ts` in the repository, `.js` in the published package. */
export function moduleBeside(name: string): string {
  return fileURLToPath(new URL(`./${name}${extname(import.meta.url)}`, import.meta.url));
}

export async function startChild(options: ChildOptions): Promise<Child> {
  const watched: WatchedCommand = {
    command: options.command,
    args: options.args,
    env: options.env ?? {},
    graceMs: GRACE_MS,
    ...(options.cleanup ? { cleanup: options.cleanup } : {}),
  };
  // In a temporary folder, since some servers write beside themselves; in a session of its own, out of Ctrl-C's reach.
  const watcher = spawn(process.execPath, [moduleBeside('watcher'), JSON.stringify(watched)], { detached: true, cwd: tmpdir() });
  let tail = '';
  for (const stream of [watcher.stdout, watcher.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => (tail = (tail + text).slice(-TAIL_CHARACTERS)));
  }
  // A broken pipe to a watcher that is gone; its `exit` says so.
  watcher.stdin.on('error', () => {});
  const state = { ended: false };
  const exited = Promise.race([once(watcher, 'exit'), once(watcher, 'error')]).then(() => {
    state.ended = true;
  });

  async function stop(): Promise<void> {
    watcher.stdin.end();
    await exited;
  }

  const deadline = performance.now() + options.readyWithinMs;
  while (!state.ended) {
    if (await options.ready().catch(() => false)) return { stop };
    if (performance.now() > deadline) break;
    await Promise.race([delay(POLL_MS), exited]);
  }
  const why = state.ended ? 'ended before it answered' : `did not answer within ${options.readyWithinMs / 1000} s`;
  await stop();
  const printed = tail.trim();
  throw new LocalServerError(`${options.title} ${why}${printed ? `; it printed: ${printed}` : ' and printed nothing'}`, {
    context: { command: options.command, args: options.args },
  });
}

/** For `ready`: a GET that is answered with a 2xx. */
export async function answersHttp(url: string): Promise<boolean> {
  const response = await fetch(url, { signal: AbortSignal.timeout(1_000) });
  await response.body?.cancel();
  return response.ok;
}

/** For `ready`: sends a line and looks at how the answer begins. */
export function answersLine(port: number, line: string, expected: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port, timeout: 1_000 });
    const answer = (yes: boolean) => {
      socket.destroy();
      resolve(yes);
    };
    socket.once('connect', () => socket.write(`${line}\r\n`));
    socket.once('data', (data) => answer(data.toString().startsWith(expected)));
    socket.once('error', () => answer(false)).once('timeout', () => answer(false));
  });
}

// Below the ranges from which Linux (32768) and macOS (49152) take ports for outgoing connections.
const FIRST_PORT = 18_000;
const PORTS = 14_000;
const given = new Set<number>();

/** A port of 127.0.0.1 that nobody listens on, and that this process did not hand out before. */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const port = FIRST_PORT + Math.floor(Math.random() * PORTS);
    if (given.has(port)) continue;
    const server = createServer();
    const listening = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen({ port, host: '127.0.0.1', exclusive: true }, () => resolve(true));
    });
    if (!listening) continue;
    await new Promise((resolve) => server.close(resolve));
    given.add(port);
    return port;
  }
  throw new LocalServerError('no free port was found on 127.0.0.1 between 18000 and 31999');
}
