/** The jobs suite on every adapter. */
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { describeWithServer } from '../servers.ts';
import { makeTemporaryFolder } from '../temp.ts';
import { jobsConformance } from './jobs.ts';

jobsConformance('sqlite', async () => {
  const folder = await makeTemporaryFolder();
  return { url: `sqlite:${join(folder.path, 'jobs.db')}`, remove: () => folder.remove() };
});

describeWithServer('redis', 'BullMQ on redis-server', ({ redis }) => {
  // A database of its own, since a server has one queue.
  const url = `${redis.url.replace(/\/\d*$/, '')}/7`;
  jobsConformance('redis', async () => {
    const server = new Redis(url);
    await server.flushdb();
    return {
      url,
      async remove() {
        await server.flushdb();
        server.disconnect();
      },
    };
  });
});
