/** What every adapter of the jobs port must do. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openJobs } from '../../ports/jobs/index.ts';
import type { Job, JobRun, Jobs, JobState, RunningWorker } from '../../ports/jobs/port.ts';

const HOLDER = fileURLToPath(new URL('../fixtures/job-holder.ts', import.meta.url));
/** Of `job-holder.ts` too. */
const NAMESPACE = 'test';
const WAIT = { timeout: 40_000, interval: 50 };

export function jobsConformance(name: string, make: () => Promise<{ readonly url: string; remove(): Promise<void> }>): void {
  describe(`jobs: ${name}`, () => {
    let url: string;
    let jobs: Jobs;
    let remove: () => Promise<void>;
    const workers: RunningWorker[] = [];
    beforeEach(async () => {
      ({ url, remove } = await make());
      jobs = await openJobs(url, NAMESPACE);
    });
    afterEach(async () => {
      for (const worker of workers.splice(0)) await worker.stop();
      await jobs.close();
      await remove();
    });

    const failed = (error: Error): void => expect.unreachable(error.message);
    function work(run: (job: JobRun) => Promise<void>, concurrency = 1, on = jobs): RunningWorker {
      const worker = on.work({ concurrency, run, onError: failed });
      workers.push(worker);
      return worker;
    }
    const until = (id: string, state: JobState): Promise<void> => expect.poll(async () => (await jobs.get(id))?.state, WAIT).toBe(state);
    /** Counts up and saves, until it is told to end. */
    const counting =
      (to = Number.POSITIVE_INFINITY) =>
      async ({ save, progress, signal }: JobRun): Promise<void> => {
        for (let { count } = (progress ?? { count: 0 }) as { count: number }; count < to; count += 1) {
          await save({ count: count + 1 });
          await new Promise((resolve) => setTimeout(resolve, 5));
          signal.throwIfAborted();
        }
      };
    const count = (job: Job | undefined): number => ((job?.progress ?? { count: 0 }) as { count: number }).count;

    it('answers a ping', async () => {
      await jobs.ping();
    });

    it('runs a job with what it was given, and keeps what it saved and how it ended', async () => {
      const id = await jobs.add({ what: 'this' });
      expect(await jobs.get(id)).toMatchObject({ id, spec: { what: 'this' }, state: 'waiting' });
      const specs: unknown[] = [];
      work(async (job) => {
        specs.push(job.spec, job.progress);
        await job.save({ count: 1 });
      });
      await until(id, 'completed');
      expect(specs).toEqual([{ what: 'this' }, undefined]);
      const job = await jobs.get(id);
      expect(job).toMatchObject({ progress: { count: 1 } });
      expect(Date.parse(job?.endedAt ?? '')).toBeGreaterThanOrEqual(Date.parse(job?.addedAt ?? ''));
      expect(await jobs.get('none')).toBeUndefined();
    });

    it('keeps why a job failed, and runs it no more', async () => {
      const id = await jobs.add({});
      let runs = 0;
      work(() => {
        runs += 1;
        return Promise.reject(new Error('no such file'));
      });
      await until(id, 'failed');
      expect((await jobs.get(id))?.error).toBe('no such file');
      await jobs.steer(id, 'resume');
      const next = await jobs.add({});
      await until(next, 'failed');
      expect(runs).toBe(2);
    });

    it('pauses a job and goes on with it where it was', async () => {
      const id = await jobs.add({});
      work(counting());
      await expect.poll(async () => count(await jobs.get(id)), WAIT).toBeGreaterThan(3);
      await jobs.steer(id, 'pause');
      await until(id, 'paused');
      const paused = count(await jobs.get(id));
      // The worker is free for another one meanwhile.
      const other = await jobs.add({});
      await expect.poll(async () => count(await jobs.get(other)), WAIT).toBeGreaterThan(3);
      expect(count(await jobs.get(id))).toBe(paused);
      await jobs.steer(other, 'cancel');
      await until(other, 'cancelled');
      await jobs.steer(id, 'resume');
      await expect.poll(async () => count(await jobs.get(id)), WAIT).toBeGreaterThan(paused);
      expect((await jobs.get(id))?.state).toBe('active');
    });

    it('cancels a job that runs, waits or is paused', async () => {
      const ids = [await jobs.add({}), await jobs.add({}), await jobs.add({})] as const;
      await jobs.steer(ids[1], 'pause');
      await until(ids[1], 'paused');
      work(counting());
      await until(ids[0], 'active');
      for (const id of ids) await jobs.steer(id, 'cancel');
      for (const id of ids) await until(id, 'cancelled');
      await jobs.steer(ids[0], 'resume');
      const last = await jobs.add({});
      await until(last, 'active');
      expect((await jobs.get(ids[0]))?.state).toBe('cancelled');
    });

    it('runs no more once it is asked to cancel, though it is resumed before a worker has seen it', async () => {
      const id = await jobs.add({});
      await jobs.steer(id, 'cancel');
      await jobs.steer(id, 'resume');
      await jobs.steer(id, 'pause');
      expect((await jobs.get(id))?.state).toBe('cancelled');
      const runs: string[] = [];
      work((job) => {
        runs.push(job.id);
        return Promise.resolve();
      });
      const next = await jobs.add({});
      await until(next, 'completed');
      expect(runs).toEqual([next]);
    });

    it('goes on with a job that is resumed before its run has ended for the pause', async () => {
      const id = await jobs.add({});
      const found: unknown[] = [];
      const otherRuns = Promise.withResolvers<undefined>();
      const otherIsTold = Promise.withResolvers<undefined>();
      const told = async (signal: AbortSignal): Promise<void> => {
        if (!signal.aborted) await once(signal, 'abort');
      };
      work(async ({ id: running, save, progress, signal }) => {
        if (running !== id) {
          otherRuns.resolve(undefined);
          await told(signal);
          otherIsTold.resolve(undefined);
          throw signal.reason as Error;
        }
        found.push(progress);
        if (progress !== undefined) return;
        await save({ count: 1 });
        await jobs.steer(id, 'pause');
        await told(signal);
        await jobs.steer(id, 'resume');
        // What is wished is looked for again meanwhile: a run that began later is told of its own wish.
        const other = await jobs.add({});
        await otherRuns.promise;
        await jobs.steer(other, 'pause');
        await otherIsTold.promise;
        throw signal.reason as Error;
      }, 2);
      await until(id, 'completed');
      expect(found).toEqual([undefined, { count: 1 }]);
    });

    it('runs as many at once as it is told to, and each once', async () => {
      const ids = await Promise.all(Array.from({ length: 6 }, () => jobs.add({})));
      const other = await openJobs(url, NAMESPACE);
      const runs: string[] = [];
      let [now, most] = [0, 0];
      const run = async ({ id }: JobRun): Promise<void> => {
        runs.push(id);
        most = Math.max(most, (now += 1));
        await new Promise((resolve) => setTimeout(resolve, 100));
        now -= 1;
      };
      work(run, 2);
      const second = other.work({ concurrency: 1, run, onError: failed });
      for (const id of ids) await until(id, 'completed');
      await second.stop();
      await other.close();
      expect(runs.sort()).toEqual([...ids].sort());
      expect(most).toBeGreaterThan(1);
      expect(most).toBeLessThanOrEqual(3);
    });

    it('gives a job back when the worker stops, and another worker goes on', async () => {
      const id = await jobs.add({});
      const first = work(counting());
      await expect.poll(async () => count(await jobs.get(id)), WAIT).toBeGreaterThan(3);
      await first.stop();
      const stopped = count(await jobs.get(id));
      expect((await jobs.get(id))?.state).toBe('waiting');
      work(counting(stopped + 5));
      await until(id, 'completed');
      expect(count(await jobs.get(id))).toBe(stopped + 5);
    });

    it('goes on with a job whose worker was killed, from what it saved', async () => {
      const id = await jobs.add({});
      const holder = spawn(process.execPath, [HOLDER, url], { stdio: ['ignore', 'pipe', 'inherit'] });
      await once(holder.stdout, 'data');
      holder.kill('SIGKILL');
      await once(holder, 'exit');
      const found: unknown[] = [];
      work((job) => {
        found.push(job.progress);
        return Promise.resolve();
      });
      await until(id, 'completed');
      expect(found).toEqual([{ runs: 1 }]);
    }, 60_000);

    it('lists the newest first, in whichever order they ended', async () => {
      const ids: string[] = [];
      for (let i = 0; i < 3; i += 1) {
        ids.push(await jobs.add({ i }));
        // Times are of milliseconds.
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      expect((await jobs.list(2)).map((job) => job.id)).toEqual([ids[2], ids[1]]);
      // The first one ends last.
      work(async ({ id }) => {
        if (id === ids[0]) for (const other of ids.slice(1)) await until(other, 'completed');
      }, 2);
      for (const id of ids) await until(id, 'completed');
      expect((await jobs.list(2)).map((job) => job.id)).toEqual([ids[2], ids[1]]);
    });
  });
}
