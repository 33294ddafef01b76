/** redis-server from PATH. */
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { answersLine, freePort, startChild } from './child.ts';
import { onPath } from './programs.ts';
import type { LocalServer } from './server.ts';

export const redis: LocalServer<{ readonly url: string }> = {
  async find() {
    const program = await onPath('redis-server');
    if (program === undefined) return { missing: 'redis-server is not on PATH (apt install redis-server, brew install redis)' };
    return {
      async start({ port: wanted, dataDir }) {
        const port = wanted ?? (await freePort());
        if (dataDir !== undefined) await mkdir(dataDir, { recursive: true });
        const child = await startChild({
          title: 'redis-server',
          command: program,
          args: [
            ['--bind', '127.0.0.1', '--port', String(port)],
            // BullMQ's jobs must not be evicted: https://docs.bullmq.io/guide/going-to-production#max-memory-policy
            ['--maxmemory-policy', 'noeviction'],
            ['--save', '', '--appendonly', dataDir === undefined ? 'no' : 'yes', '--dir', dataDir ?? tmpdir()],
          ].flat(),
          ready: () => answersLine(port, 'PING', '+PONG'),
          readyWithinMs: 30_000,
        });
        return { address: { url: `redis://127.0.0.1:${port}` }, stop: child.stop };
      },
    };
  },
};
