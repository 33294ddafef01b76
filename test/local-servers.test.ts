/** The real local servers end with who started them, however that ends. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, readFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, inject, it, onTestFinished, vi } from 'vitest';
import { freePort, startChild } from '../cli/local-servers/child.ts';
import { type LocalServers, type RunningServers, SERVER_NAMES, startLocalServer, startLocalServers } from '../cli/local-servers/index.ts';
import { describeWithServer } from './servers.ts';
import { temporaryFolder } from './temp.ts';

function isOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    }).on('error', () => resolve(false));
  });
}

/** The port of every server. */
function portsOf(servers: LocalServers): number[] {
  const { spanner, pubsub, sqs, redis, eventbridge } = servers;
  const addresses = [spanner?.host, pubsub?.host, sqs?.endpoint, redis?.url, eventbridge?.endpoint].filter(
    (address) => address !== undefined,
  );
  return addresses.map((address) => Number(/:(\d+)$/.exec(address)?.[1]));
}

/** A zombie counts: where process 1 collects none, the child of one that is gone stays as one. */
async function isDead(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch {
    return true;
  }
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return /^State:\s+Z/m.test(status);
}

describe('local servers', () => {
  it('end when the process that started them is killed', async () => {
    // Those that run for the whole test run can be had; fauxqs always can, as a dependency.
    const names = [...new Set(['sqs', ...Object.keys(inject('servers'))])];
    const starter = spawn(process.execPath, [join(import.meta.dirname, 'local-servers-starter.ts'), ...names], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => {
      starter.kill('SIGKILL');
    });
    const [line] = (await once(starter.stdout, 'data')) as [Buffer];
    const { servers, missing } = JSON.parse(line.toString()) as Pick<RunningServers, 'servers' | 'missing'>;
    expect(missing).toEqual({});
    const ports = portsOf(servers);
    expect(ports).toHaveLength(names.length);
    for (const port of ports) expect(await isOpen(port), `port ${port}`).toBe(true);

    starter.kill('SIGKILL');
    await expect.poll(() => Promise.all(ports.map(isOpen)), { timeout: 15_000 }).toEqual(ports.map(() => false));
  });

  it('are gone when stop resolves', async () => {
    const names = Object.keys(inject('servers')) as (keyof LocalServers)[];
    const { servers, stop } = await startLocalServers({ only: names, log: () => {} });
    const ports = portsOf(servers);
    expect(ports).toHaveLength(names.length);
    await stop();
    await stop();
    expect(await Promise.all(ports.map(isOpen))).toEqual(ports.map(() => false));
  });

  it('are told as missing, each with its reason, where nothing is installed', async () => {
    const nothing = await temporaryFolder();
    vi.stubEnv('PATH', nothing);
    vi.stubEnv('JAVA_HOME', '');
    vi.stubEnv('XDG_CACHE_HOME', nothing);
    onTestFinished(() => {
      vi.unstubAllEnvs();
    });
    const { servers, missing, stop } = await startLocalServers({ only: ['spanner', 'pubsub', 'redis', 'eventbridge'], log: () => {} });
    await stop();
    expect(servers).toEqual({});
    expect(missing).toEqual({
      spanner: expect.stringContaining('gcloud components install cloud-spanner-emulator'),
      pubsub: expect.stringContaining('gcloud components install pubsub-emulator'),
      redis: expect.stringContaining('install redis'),
      eventbridge: expect.stringContaining('Python 3.10'),
    });
  });

  it('have a reason with what they printed where they cannot start', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    onTestFinished(() => {
      taken.close();
    });
    const port = (taken.address() as { port: number }).port;
    expect(await startLocalServer('sqs', { log: () => {}, port })).toMatch(/fauxqs ended before it answered; it printed: [^]*EADDRINUSE/);
  });

  it('can be named, all of them', () => {
    expect([...SERVER_NAMES].sort()).toEqual(['eventbridge', 'pubsub', 'redis', 'spanner', 'sqs']);
  });
});

describeWithServer('redis', 'local servers with a folder', () => {
  it('keep what Redis holds where there is a folder for it', async () => {
    const folder = await temporaryFolder();
    const first = await startLocalServers({ only: ['redis'], log: () => {}, dataDir: folder });
    await first.stop();
    await expect(access(join(folder, 'redis', 'appendonlydir'))).resolves.toBeUndefined();
  });
});

describe('a child', () => {
  const never = () => Promise.resolve(false);

  it('that does not answer in time is ended, with all it started', async () => {
    const code = `
      const { spawn } = require('node:child_process');
      const grandchild = spawn(process.execPath, ['-e', 'process.on("SIGTERM", () => {}); setInterval(() => {}, 1e9)'], { stdio: 'ignore' });
      process.on('SIGTERM', () => {});
      console.log(process.pid, grandchild.pid);
      setInterval(() => {}, 1e9);`;
    const error: unknown = await startChild({
      title: 'the stubborn one',
      command: process.execPath,
      args: ['-e', code],
      ready: never,
      readyWithinMs: 1_000,
    }).catch((thrown: unknown) => thrown);
    const pids = /did not answer within 1 s; it printed: (\d+) (\d+)/.exec(String(error))?.slice(1).map(Number);
    expect(pids).toHaveLength(2);
    await expect.poll(() => Promise.all((pids ?? []).map(isDead))).toEqual([true, true]);
  });

  it('whose program is not there says so', async () => {
    const start = startChild({ title: 'nothing', command: '/no/such/program', args: [], ready: never, readyWithinMs: 10_000 });
    await expect(start).rejects.toThrow(/nothing ended before it answered; it printed: .*ENOENT/);
  });
});

it('a free port is one that nobody listens on and nobody else is given', async () => {
  const ports = await Promise.all(Array.from({ length: 20 }, () => freePort()));
  expect(new Set(ports).size).toBe(20);
  expect(await Promise.all(ports.map(isOpen))).toEqual(ports.map(() => false));
});
