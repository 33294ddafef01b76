/**
 * Jobs of BullMQ in Redis: `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, or `rediss://…` for TLS. The server must
 * not evict keys: `maxmemory-policy noeviction` (https://docs.bullmq.io/guide/going-to-production#max-memory-policy).
 */
import { randomUUID } from 'node:crypto';
import { DelayedError, type Job as BullJob, Queue, WaitingError, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { PortUnavailableError } from '../errors.ts';
import { prefixOf, QUEUE } from './queue.ts';
import type { Job, JobRun, Jobs, JobState, JobWorker, RunningWorker, Wish } from './port.ts';

/** How long a job is its worker's without word of it, and how often jobs of dead workers are looked for. */
const LOCK_MS = 10_000;
const STALLED_LOOK_MS = 3_000;
/** How often a run looks for a wish. */
const LOOK_MS = 500;
/** BullMQ's scores hold times before 2039. */
const PAUSE_MS = 5 * 365 * 86_400_000;
const KEPT_SECONDS = 30 * 86_400;
const CONNECT_TIMEOUT_MS = 5_000;

interface Data {
  readonly spec: unknown;
  readonly wish?: 'pause' | 'cancel';
}

type Held = BullJob<Data, string>;

/** What a run that was cancelled returns. */
const CANCELLED = 'cancelled';

export function open(url: URL, namespace: string): Promise<Jobs> {
  return Promise.resolve(new BullJobs(url.href, namespace));
}

export class BullJobs implements Jobs {
  readonly #url: string;
  readonly #prefix: string;
  readonly #redis: Redis;
  /** For the board alone. */
  readonly queue: Queue<Data, string>;

  constructor(url: string, namespace: string) {
    this.#url = url;
    this.#prefix = prefixOf(namespace);
    this.#redis = new Redis(url, { maxRetriesPerRequest: 1, connectTimeout: CONNECT_TIMEOUT_MS });
    this.queue = new Queue(QUEUE, { connection: this.#redis, prefix: this.#prefix });
    // Each call reports its own failure; without a listener these would end the process.
    this.#redis.on('error', () => undefined);
    this.queue.on('error', () => undefined);
  }

  add(spec: unknown): Promise<string> {
    return this.#attempt('add', async () => {
      const id = randomUUID();
      const kept = { age: KEPT_SECONDS };
      await this.queue.add('job', { spec }, { jobId: id, removeOnComplete: kept, removeOnFail: kept });
      return id;
    });
  }

  get(id: string): Promise<Job | undefined> {
    return this.#attempt('get', async () => {
      const job = await this.#job(id);
      return job && (await jobOf(job));
    });
  }

  list(limit: number): Promise<readonly Job[]> {
    return this.#attempt('list', async () => {
      // All that are kept: Redis has those that ended in the order in which they did, which is another one.
      const jobs = (await this.queue.getJobs(['completed', 'failed', 'delayed', 'active', 'waiting'])) as (Held | undefined)[];
      const there = jobs.filter((job) => job !== undefined).sort((a, b) => b.timestamp - a.timestamp);
      return Promise.all(there.slice(0, limit).map(jobOf));
    });
  }

  steer(id: string, wish: Wish): Promise<void> {
    return this.#attempt('steer', async () => {
      const job = await this.#job(id);
      // One that is cancelled has ended for its users; a worker that takes it only says so.
      if (!job || job.finishedOn !== undefined || job.data.wish === 'cancel') return;
      await job.updateData({ spec: job.data.spec, ...(wish === 'resume' ? {} : { wish }) });
      if (wish !== 'pause') await wake(job);
    });
  }

  work({ concurrency, run, onError }: JobWorker): RunningWorker {
    const stopping = new AbortController();
    const connection = new Redis(this.#url, { maxRetriesPerRequest: null, connectTimeout: CONNECT_TIMEOUT_MS });
    connection.on('error', onError);
    const worker = new Worker<Data, string>(QUEUE, (job, token = '') => this.#run(job, token, run, stopping.signal), {
      connection,
      prefix: this.#prefix,
      concurrency,
      lockDuration: LOCK_MS,
      stalledInterval: STALLED_LOOK_MS,
      // However often its workers die, a job goes on.
      maxStalledCount: Number.MAX_SAFE_INTEGER,
    });
    worker.on('error', onError);
    return {
      stop: async () => {
        stopping.abort(new Error('the worker is stopping'));
        await worker.close();
        connection.disconnect();
      },
    };
  }

  async #run(job: Held, token: string, run: (job: JobRun) => Promise<void>, stopping: AbortSignal): Promise<string> {
    const { id = '', data, progress } = job;
    if (data.wish) return this.#settle(job, token, data.wish);
    const ending = new AbortController();
    const look = async (): Promise<void> => {
      const now = await this.#job(id);
      if (!now) ending.abort(new Error('the job is there no more'));
      else if (now.data.wish) ending.abort(new Error(`the job is asked to ${now.data.wish}`));
    };
    const timer = setInterval(() => void look().catch(() => undefined), LOOK_MS);
    try {
      await run({
        id,
        spec: data.spec,
        ...(isSaved(progress) ? { progress } : {}),
        signal: AbortSignal.any([ending.signal, stopping]),
        save: async (value) => {
          // No longer the one whose lock it is: another worker has the job.
          if ((await job.extendLock(token, LOCK_MS)) !== 1) ending.abort(new Error('the job has another worker by now'));
          ending.signal.throwIfAborted();
          await job.updateProgress(value as object);
          stopping.throwIfAborted();
        },
      });
    } catch (error) {
      // It may be wished otherwise by now than when it was told to end. What cannot be read is seen by who takes it next.
      const now = await this.#job(id).catch(() => undefined);
      if (now?.data.wish) return await this.#settle(job, token, now.data.wish);
      if (!stopping.aborted && !ending.signal.aborted) throw error;
      await job.moveToWait(token);
      throw new WaitingError();
    } finally {
      clearInterval(timer);
    }
    return 'completed';
  }

  /** A job that nobody runs any more, as it is wished. */
  async #settle(job: Held, token: string, wish: 'pause' | 'cancel'): Promise<string> {
    if (wish === 'cancel') return CANCELLED;
    await job.moveToDelayed(Date.now() + PAUSE_MS, token);
    // Who steered it otherwise meanwhile may have found it not paused yet.
    const now = await this.#job(job.id ?? '');
    if (now && now.data.wish !== 'pause') await wake(now);
    throw new DelayedError();
  }

  async #job(id: string): Promise<Held | undefined> {
    return await this.queue.getJob(id);
  }

  async ping(): Promise<void> {
    await this.#attempt('ping', () => this.#redis.ping());
  }

  async close(): Promise<void> {
    await this.queue.close();
    this.#redis.disconnect();
  }

  async #attempt<T>(call: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (cause) {
      throw new PortUnavailableError('jobs', `redis: ${call} failed: ${(cause as Error).message}`, { cause });
    }
  }
}

/** A paused job waits for a worker again. */
async function wake(job: Held): Promise<void> {
  if (!(await job.isDelayed())) return;
  await job.promote().catch(async (error: unknown) => {
    // Another one has woken it.
    if (await job.isDelayed()) throw error;
  });
}

/** BullMQ gives 0 where nothing was saved. */
function isSaved(progress: unknown): boolean {
  return typeof progress === 'object' && progress !== null;
}

async function jobOf(job: Held): Promise<Job> {
  const { id = '', data, progress, failedReason, timestamp, finishedOn } = job;
  return {
    id,
    spec: data.spec,
    state: stateOf(await job.getState(), job),
    ...(isSaved(progress) ? { progress } : {}),
    ...(finishedOn !== undefined && failedReason ? { error: failedReason } : {}),
    addedAt: new Date(timestamp).toISOString(),
    ...(finishedOn === undefined ? {} : { endedAt: new Date(finishedOn).toISOString() }),
  };
}

function stateOf(state: string, { data, returnvalue }: Held): JobState {
  switch (state) {
    case 'completed':
      return returnvalue === CANCELLED ? 'cancelled' : 'completed';
    case 'failed':
      return 'failed';
    case 'active':
      return 'active';
    default:
      return data.wish === undefined ? 'waiting' : data.wish === 'cancel' ? 'cancelled' : 'paused';
  }
}
