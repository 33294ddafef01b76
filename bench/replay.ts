/**
 * A replay on the embedded adapters: records of the ledger once more through queue, bridge and applier, where they
 * change nothing, against as many new ones on the same path, sent by the same sender; and rebuilt into another database.
 *
 * `--memory N`: the worker's memory while it replays a ledger of N rows.
 */
import { applyRecorded } from '../consumers/applier/rebuild.ts';
import { replay, type ReplayParts } from '../producers/replay/replay.ts';
import type { ReplaySpec } from '../producers/replay/spec.ts';
import { sendEnvelopes } from '../producers/replay/sender.ts';
import type { Envelope } from '../schemas/envelope/envelope.ts';
import { type Pipeline, startPipeline } from '../test/fixtures/pipeline.ts';
import { preparedStore } from '../test/fixtures/stores.ts';
import { percentile, rate } from './parts/measure.ts';
import { benchResources, itemEnvelope } from './parts/packs.ts';
import { measureReplayMemory } from './parts/replay-memory.ts';
import { defaults } from './parts/settings.ts';
import type { Results } from './run.ts';

const RECORDS = 20_000;
const WARM_UP = 5_000;
const RUNS = 3;
const DEFAULT_ROWS = 1_000_000;
/** So many aggregates that every shard has some. */
const MARKERS = 64;

export async function bench(say: (line: string) => void, [option, value]: readonly string[]): Promise<Results> {
  if (option === '--memory') return measureReplayMemory(say, Number(value ?? DEFAULT_ROWS));
  const pipeline = await startPipeline(benchResources);
  try {
    await liveAndReplayed(pipeline, WARM_UP);
    const runs: Round[] = [];
    // Turn by turn, so that what else the machine does meets both of them.
    for (let run = 1; run <= RUNS; run += 1) {
      const round = await liveAndReplayed(pipeline, RECORDS);
      runs.push(round);
      say(`run ${run}: live ${round.live.toFixed(0)}, replay ${round.replay.toFixed(0)} records/s`);
    }
    const rebuildPerSecond = await rebuilt(pipeline);
    say(`rebuilt into another database: ${rebuildPerSecond.toFixed(0)} records/s`);
    const median = (of: (run: Round) => number): number => percentile(runs.map(of), 50);
    return {
      figures: { recordsPerSecond: median((run) => run.replay), livePerSecond: median((run) => run.live), rebuildPerSecond },
      ratios: { livePath: median((run) => run.replay / run.live) },
    };
  } finally {
    await pipeline.stop();
  }
}

/** Records a second, each until the applier is done with the last one. */
interface Round {
  readonly live: number;
  readonly replay: number;
}

/** New submissions, then the same ones as records of the history. */
async function liveAndReplayed(pipeline: Pipeline, count: number): Promise<Round> {
  const { commitTimestamp: from } = await pipeline.store.commit([], { tag: 'bench' });
  const envelopes = newEnvelopes(count);
  const live = await rate(count + MARKERS, async () => {
    await sendEnvelopes(pipeline.sender, envelopes);
    await drained(pipeline);
  });
  const began = performance.now();
  const records = await run(pipeline, { selection: { from }, by: 'bench' });
  await drained(pipeline);
  return { live, replay: ((records + MARKERS) / (performance.now() - began)) * 1000 };
}

async function rebuilt(pipeline: Pipeline): Promise<number> {
  const target = await preparedStore(`sqlite:${pipeline.folder}/target.db`, benchResources);
  const limits = { resources: benchResources, maxMutations: defaults.maxBatchMutations };
  const began = performance.now();
  const records = await run(pipeline, { selection: {}, by: 'bench', into: 'target' }, (commits) => applyRecorded(target, commits, limits));
  const perSecond = (records / (performance.now() - began)) * 1000;
  await target.close();
  return perSecond;
}

/** How many records it had. */
async function run({ store, sender }: Pipeline, spec: ReplaySpec, rebuild?: ReplayParts['rebuild']): Promise<number> {
  const { counts } = await replay(
    { store, resources: benchResources, sender, outcomeMs: 60_000, ...(rebuild ? { rebuild } : {}) },
    { spec, save: () => Promise.resolve(), signal: new AbortController().signal },
  );
  const { unchanged = 0, rebuilt: made = 0, ...others } = counts;
  if (Object.keys(others).length > 0) throw new Error(`not all were replayed: ${JSON.stringify(counts)}`);
  return unchanged + made;
}

/** Behind all that was sent, each shard has some more: when they are applied, all is. */
async function drained(pipeline: Pipeline): Promise<void> {
  await pipeline.submit(newEnvelopes(MARKERS));
}

function newEnvelopes(count: number): Envelope[] {
  return Array.from({ length: count }, itemEnvelope);
}
