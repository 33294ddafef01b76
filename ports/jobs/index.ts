/** Opens the jobs that a URL names: `redis://HOST:PORT`, `rediss://…` or `sqlite:PATH`. */
import { type AdapterTable, openAdapter } from '../adapter.ts';
import { AdapterConfigError } from '../errors.ts';
import type { JobsBoard } from './board.ts';
import type { Jobs } from './port.ts';

const bullmq = async (url: URL): Promise<Jobs> => (await import('./bullmq.ts')).open(url);

export const jobsAdapters: AdapterTable<Jobs> = {
  redis: bullmq,
  rediss: bullmq,
  sqlite: async (url) => (await import('./sqlite.ts')).open(url),
};

/** @throws AdapterConfigError */
export function openJobs(url: string): Promise<Jobs> {
  return openAdapter('jobs', jobsAdapters, url);
}

export { boardPathOf } from './queue.ts';

/** Whether there is a board for the jobs of this URL. */
export function hasBoard(url: string): boolean {
  return /^rediss?:/.test(url);
}

/**
 * The jobs of this URL as web pages. `steerPath`: the path of the page that steers a job, before its id.
 * @throws AdapterConfigError where the jobs are not BullMQ's
 */
export async function openBoard(url: string, steerPath: string): Promise<JobsBoard> {
  if (!hasBoard(url)) {
    throw new AdapterConfigError(
      `jobs: ${JSON.stringify(url)} has no board, which shows the jobs of BullMQ in Redis (redis://HOST:PORT): use spanway jobs list, show, pause, resume and cancel`,
    );
  }
  return (await import('./board.ts')).open(new URL(url), steerPath);
}
