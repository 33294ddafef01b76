/** `spanway jobs list|show|pause|resume|cancel`: replays that run, wait or have ended. */
import { boardPathOf, hasBoard } from '../../ports/jobs/index.ts';
import type { Job, Jobs, Wish } from '../../ports/jobs/port.ts';
import type { ReplayProgress } from '../../producers/replay/spec.ts';
import type { Config } from '../config.ts';
import { openJobsOf } from '../installation.ts';
import { checkDataIsThere, counted, note, print, printJson } from '../operator.ts';

const LISTED = 50;

export async function jobsList(config: Config, { json }: { readonly json: boolean }): Promise<void> {
  await withJobs(config, async (jobs) => {
    const listed = await jobs.list(LISTED);
    for (const job of listed) {
      if (json) printJson(job);
      else print(lineOf(job));
    }
    note(counted(listed.length, 'job'));
    if (hasBoard(config.jobs) && !json) note(`with spanway board: ${config.boardUrl}/`);
  });
}

/** The exit code is 1 where there is no such job. */
export async function jobsShow(config: Config, id: string): Promise<void> {
  await withJobs(config, async (jobs) => {
    const job = await jobs.get(id);
    if (!job) {
      missing(id);
      return;
    }
    print(JSON.stringify(job, null, 2));
    if (hasBoard(config.jobs)) note(boardLink(config, id));
  });
}

/** The exit code is 1 where there is no such job, or it has ended. */
export async function jobsSteer(config: Config, id: string, wish: Wish): Promise<void> {
  await withJobs(config, async (jobs) => {
    const job = await jobs.get(id);
    if (!job) {
      missing(id);
      return;
    }
    if (job.endedAt !== undefined || job.state === 'cancelled') {
      note(`job ${id} has ended: ${job.state}`);
      process.exitCode = 1;
      return;
    }
    await jobs.steer(id, wish);
    print(`asked to ${wish}; spanway jobs show ${id} tells when it is`);
  });
}

/** Where a person finds a job, if its jobs have a board. */
export function boardLink({ boardUrl }: Config, id: string): string {
  return `with spanway board: ${boardUrl}${boardPathOf(id)}`;
}

async function withJobs(config: Config, work: (jobs: Jobs) => Promise<void>): Promise<void> {
  if (!hasBoard(config.jobs)) checkDataIsThere(config, 'store', 'jobs');
  const jobs = await openJobsOf(config);
  try {
    await work(jobs);
  } finally {
    await jobs.close();
  }
}

function missing(id: string): void {
  note(`there is no job ${id}`);
  process.exitCode = 1;
}

function lineOf({ id, state, addedAt, progress, spec }: Job): string {
  const { counts = {}, fraction = 0 } = (progress ?? {}) as Partial<ReplayProgress>;
  const counted = Object.entries(counts).map(([result, count]) => `${count} ${result}`);
  return `${id}  ${addedAt}  ${state}  ${Math.round(fraction * 100)}%  ${counted.join(', ') || 'nothing yet'}  ${JSON.stringify(spec)}`;
}
