/** The memory of the replay worker: a ledger is filled first, then a process of its own replays all of it. */
import { applyAll } from '../../test/fixtures/applying.ts';
import { preparedStore } from '../../test/fixtures/stores.ts';
import type { Results } from '../run.ts';
import { inFolder } from './folder.ts';
import { memoryOf } from './memory.ts';
import { benchResources, itemEnvelope } from './packs.ts';

const BATCH = 500;

export async function measureReplayMemory(say: (line: string) => void, rows: number): Promise<Results> {
  if (!(rows >= BATCH)) throw new Error(`--memory needs a number of at least ${BATCH}`);
  return inFolder(async (folder) => {
    const store = await preparedStore(`sqlite:${folder}/spanway.db`, benchResources);
    for (let done = 0; done < rows; done += BATCH)
      await applyAll(store, Array.from({ length: BATCH }, itemEnvelope), { batch: BATCH, set: benchResources });
    await store.close();
    say(`the ledger has ${rows.toLocaleString('en')} rows`);
    const child = new URL('replay-child.ts', import.meta.url);
    say('a replay into the queue');
    const queue = await memoryOf(child, [folder, 'queue', String(rows)], rows, say);
    say('a rebuild of another database');
    const rebuild = await memoryOf(child, [folder, 'rebuild', String(rows)], rows, say);
    const named = Object.entries<number>({ ...rebuild }).map(([name, value]): [string, number] => [
      `rebuild${name[0]?.toUpperCase() ?? ''}${name.slice(1)}`,
      value,
    ]);
    return {
      figures: { rows, ...queue, ...Object.fromEntries(named) },
      ratios: {
        peakToFirstHalf: queue.peakMiB / queue.peakOfFirstHalfMiB,
        rebuildPeakToFirstHalf: rebuild.peakMiB / rebuild.peakOfFirstHalfMiB,
      },
    };
  });
}
