/** The jobs suite on every adapter. */
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { expect, it, onTestFinished } from 'vitest';
import { openJobs } from '../../ports/jobs/index.ts';
import type { Jobs, RunningWorker } from '../../ports/jobs/port.ts';
import { describeWithServer } from '../servers.ts';
import { makeTemporaryFolder } from '../temp.ts';
import { jobsConformance } from './jobs.ts';

jobsConformance('sqlite', async () => {
  const folder = await makeTemporaryFolder();
  return { url: `sqlite:${join(folder.path, 'jobs.db')}`, remove: () => folder.remove() };
});

describeWithServer('redis', 'BullMQ on redis-server', ({ redis }) => {
  // A database of its own, which is emptied.
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

  it('keeps the jobs of one namespace from the workers and lists of another', async () => {
    const [mine, theirs] = await Promise.all([openJobs(url, 'mine'), openJobs(url, 'theirs')]);
    onTestFinished(async () => {
      await Promise.all([mine.close(), theirs.close()]);
    });
    const runs: unknown[] = [];
    const work = (jobs: Jobs, who: string): RunningWorker =>
      jobs.work({
        concurrency: 1,
        onError: () => undefined,
        run: ({ spec }) => {
          runs.push([who, spec]);
          return Promise.resolve();
        },
      });
    const theirWorker = work(theirs, 'theirs');
    const id = await mine.add('mine');
    // Behind it: once this one has run, their worker has had its chance at both.
    const theirId = await theirs.add('theirs');
    await expect.poll(async () => (await theirs.get(theirId))?.state, { timeout: 20_000 }).toBe('completed');
    expect(await theirs.get(id)).toBeUndefined();
    expect((await theirs.list(10)).map((job) => job.id)).toEqual([theirId]);
    await theirWorker.stop();
    const myWorker = work(mine, 'mine');
    await expect.poll(async () => (await mine.get(id))?.state, { timeout: 20_000 }).toBe('completed');
    await myWorker.stop();
    expect(runs).toEqual([
      ['theirs', 'theirs'],
      ['mine', 'mine'],
    ]);
  });
});
