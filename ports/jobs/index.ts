/** Opens the jobs that a URL names: `redis://HOST:PORT`, `rediss://…` or `sqlite:PATH`. */
import { type Adapter, type AdapterTable, adapterOf, openAdapter } from '../adapter.ts';
import { AdapterConfigError } from '../errors.ts';
import type { JobsBoard } from './board.ts';
import type { Jobs } from './port.ts';

type Given = [namespace: string];

const bullmq: Adapter<Jobs, Given> = {
  options: [],
  open: async (url, namespace) => (await import('./bullmq.ts')).open(url, namespace),
};

export const jobsAdapters: AdapterTable<Jobs, Given> = {
  redis: bullmq,
  rediss: bullmq,
  // A file is one installation's.
  sqlite: { options: [], open: async (url) => (await import('./sqlite.ts')).open(url) },
};

/**
 * `namespace`: whose jobs these are. On a server that is shared, nobody sees or runs the jobs of another namespace.
 * @throws AdapterConfigError
 */
export function openJobs(url: string, namespace: string): Promise<Jobs> {
  return openAdapter('jobs', jobsAdapters, url, namespace);
}

export { boardPathOf } from './queue.ts';

/** Whether there is a board for the jobs of this URL. */
export function hasBoard(url: string): boolean {
  return /^rediss?:/.test(url);
}

/**
 * The jobs of this URL and namespace as web pages. `steerPath`: the path of the page that steers a job, before its id.
 * @throws AdapterConfigError where the jobs are not BullMQ's
 */
export async function openBoard(url: string, namespace: string, steerPath: string): Promise<JobsBoard> {
  if (!hasBoard(url)) {
    throw new AdapterConfigError(
      `jobs: ${JSON.stringify(url)} has no board, which shows the jobs of BullMQ in Redis (redis://HOST:PORT): use spanway jobs list, show, pause, resume and cancel`,
    );
  }
  return (await import('./board.ts')).open(adapterOf('jobs', jobsAdapters, url).url, namespace, steerPath);
}
