/**
 * What several installations may share, opened as this one's. It is told from others by its database, so that its roles
 * and commands agree with no setting of their own, and an installation answers from no receipt of another's.
 */
import { hash } from 'node:crypto';
import { openCache } from '../ports/cache/index.ts';
import type { Cache } from '../ports/cache/port.ts';
import type { JobsBoard } from '../ports/jobs/board.ts';
import { openBoard, openJobs } from '../ports/jobs/index.ts';
import type { Jobs } from '../ports/jobs/port.ts';
import { storeIdentity } from '../ports/store/index.ts';
import type { Config } from './config.ts';

/** 64 bits, hexadecimal. */
const NAMESPACE_DIGITS = 16;

/** @throws AdapterConfigError */
export async function openCacheOf(config: Pick<Config, 'cache' | 'store'>): Promise<Cache> {
  return openCache(config.cache, namespaceOf(config));
}

/** @throws AdapterConfigError */
export async function openJobsOf(config: Pick<Config, 'jobs' | 'store'>): Promise<Jobs> {
  return openJobs(config.jobs, namespaceOf(config));
}

/** @throws AdapterConfigError, as `openBoard` does */
export async function openBoardOf(config: Pick<Config, 'jobs' | 'store'>, steerPath: string): Promise<JobsBoard> {
  return openBoard(config.jobs, namespaceOf(config), steerPath);
}

function namespaceOf({ store }: Pick<Config, 'store'>): string {
  return hash('sha256', storeIdentity(store), 'hex').slice(0, NAMESPACE_DIGITS);
}
