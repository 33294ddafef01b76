/** The replay worker: runs replays as jobs, from their last checkpoint, until they are done, paused or cancelled. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type BackoffSettings, pauseMs } from '../../ports/backoff.ts';
import { PortUnavailableError, StoreError } from '../../ports/errors.ts';
import type { JobRun, Jobs, RunningWorker } from '../../ports/jobs/port.ts';
import type { HistoryRecord } from '../../schemas/envelope/history.ts';
import type { ResourceSource } from '../../schemas/resource/registry.ts';
import { type RebuildResult, replay, type ReplayParts } from './replay.ts';
import type { ReplayProgress, ReplaySpec } from './spec.ts';

export interface ReplayWorkerParts {
  readonly jobs: Jobs;
  readonly store: ReplayParts['store'];
  readonly resources: ResourceSource;
  readonly sender: Omit<ReplayParts['sender'], 'signal'>;
  /** Opens a database to rebuild into. */
  readonly openTarget: (url: string) => Promise<Target>;
  readonly log: Logger;
  readonly settings: {
    /** Jobs run at once. */
    readonly concurrency: number;
    readonly outcomeMs: number;
    readonly backoff: BackoffSettings;
  };
}

export interface Target {
  readonly write: (commits: readonly (readonly HistoryRecord[])[]) => Promise<RebuildResult>;
  close(): Promise<void>;
}

export function startReplayWorker(parts: ReplayWorkerParts): RunningWorker {
  const { jobs, log, settings } = parts;
  return jobs.work({
    concurrency: settings.concurrency,
    onError: (err) => log.warn({ err }, 'the jobs cannot be reached; trying again'),
    run: (job) => runReplay(parts, job),
  });
}

async function runReplay(parts: ReplayWorkerParts, job: JobRun): Promise<void> {
  const { store, resources, sender, openTarget, log, settings } = parts;
  const { id, signal } = job;
  const spec = job.spec as ReplaySpec;
  log.info({ job: id, spec, resumed: job.progress !== undefined }, 'replay started');
  let target: Target | undefined;
  let progress = job.progress as ReplayProgress | undefined;
  try {
    for (let failures = 0; ;) {
      try {
        if (spec.into !== undefined) target ??= await openTarget(spec.into);
        const end = await replay(
          {
            store,
            resources: resources.current,
            sender: { ...sender, signal },
            outcomeMs: settings.outcomeMs,
            ...(target ? { rebuild: target.write } : {}),
          },
          {
            spec,
            ...(progress ? { from: progress } : {}),
            signal,
            save: async (next) => {
              await job.save(next);
              progress = next;
              failures = 0;
            },
          },
        );
        log.info({ job: id, counts: end.counts }, 'replay completed');
        return;
      } catch (err) {
        if (signal.aborted || !passes(err)) throw err;
        failures += 1;
        log.warn({ err, job: id, attempt: failures }, 'a replay cannot go on; trying again from its last step');
        await sleep(pauseMs(settings.backoff, failures), undefined, { signal });
      }
    }
  } catch (err) {
    if (!signal.aborted) log.error({ err, job: id }, 'replay failed');
    throw err;
  } finally {
    await target?.close();
  }
}

function passes(error: unknown): boolean {
  return error instanceof PortUnavailableError || (error instanceof StoreError && error.failure === 'transient');
}
