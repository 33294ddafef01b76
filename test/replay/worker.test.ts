import { afterEach, beforeEach, expect, it, onTestFinished } from 'vitest';
import { pino } from 'pino';
import { applyRecorded } from '../../consumers/applier/rebuild.ts';
import { PortUnavailableError } from '../../ports/errors.ts';
import { openJobs } from '../../ports/jobs/index.ts';
import type { Jobs } from '../../ports/jobs/port.ts';
import { startReplayWorker, type Target } from '../../producers/replay/worker.ts';
import { applyAll } from '../fixtures/applying.ts';
import { envelopeOf, orderUpsert } from '../fixtures/envelopes.ts';
import { type Pipeline, startPipeline } from '../fixtures/pipeline.ts';
import { preparedStore, resources } from '../fixtures/stores.ts';

let pipeline: Pipeline;
let jobs: Jobs;
beforeEach(async () => {
  pipeline = await startPipeline();
  jobs = await openJobs(`sqlite:${pipeline.folder}/jobs.db`, 'test');
});
afterEach(async () => {
  await jobs.close();
  await pipeline.stop();
});

async function rebuild(openTarget: () => Promise<Target>): Promise<{ state: string; error?: string; logged: string[] }> {
  const logged: string[] = [];
  const worker = startReplayWorker({
    jobs,
    store: pipeline.store,
    resources: pipeline.resources,
    sender: pipeline.sender,
    openTarget,
    log: pino({ level: 'warn' }, { write: (line: string) => void logged.push((JSON.parse(line) as { msg: string }).msg) }),
    settings: { concurrency: 1, outcomeMs: 20_000, backoff: { minMs: 1, maxMs: 5 } },
  });
  onTestFinished(() => worker.stop());
  const id = await jobs.add({ selection: {}, into: 'target', by: 'operator' });
  await expect.poll(async () => (await jobs.get(id))?.endedAt, { timeout: 20_000 }).toBeDefined();
  const job = await jobs.get(id);
  return { state: job?.state ?? '', ...(job?.error === undefined ? {} : { error: job.error }), logged };
}

it('waits for a database to rebuild into that is not there yet', async () => {
  await applyAll(pipeline.store, [envelopeOf([orderUpsert('o1')]), envelopeOf([orderUpsert('o2')])]);
  const target = await preparedStore(`sqlite:${pipeline.folder}/target.db`);
  onTestFinished(() => target.close());
  let opens = 0;
  const end = await rebuild(() => {
    opens += 1;
    if (opens < 3) return Promise.reject(new PortUnavailableError('store', 'no connection'));
    return Promise.resolve({
      write: (commits) => applyRecorded(target, commits, { resources, maxMutations: 5000 }),
      close: () => Promise.resolve(),
    });
  });
  expect(end).toEqual({ state: 'completed', logged: [expect.stringContaining('trying again'), expect.stringContaining('trying again')] });
  const { table } = resources.get('orders') ?? expect.unreachable('orders');
  expect(
    await target.read(
      table,
      [
        ['t1', 'o1'],
        ['t1', 'o2'],
      ],
      ['customer'],
    ),
  ).toEqual([['c1'], ['c1']]);
});

it('fails a job whose database cannot be opened at all, and logs why', async () => {
  const end = await rebuild(() => Promise.reject(new Error('no adapter for it')));
  expect(end).toEqual({ state: 'failed', error: 'no adapter for it', logged: ['replay failed'] });
});
