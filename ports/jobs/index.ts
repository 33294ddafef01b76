/** Opens the jobs that a URL names: `redis://HOST:PORT`, `rediss://…` or `sqlite:PATH`. */
import { type AdapterTable, openAdapter } from '../adapter.ts';
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
