/**
 * What a submission costs as the ledger grows, on the embedded store: the applier's own commits of 500, timed when the
 * ledger holds 10⁴ rows, ten times as many, and so on. `npm run bench -- growth 7` goes to 10⁷ (some 12 GB of disk).
 */
import type { Store } from '../ports/store/port.ts';
import { applyAll } from '../test/fixtures/applying.ts';
import { preparedStore } from '../test/fixtures/stores.ts';
import { inFolder } from './parts/folder.ts';
import { rate } from './parts/measure.ts';
import { benchResources, itemEnvelope } from './parts/packs.ts';
import type { Results } from './run.ts';

const BATCH = 500;
const FIRST_POWER = 4;
const TIMED_BATCHES = 10;

export function bench(say: (line: string) => void, [lastPower = '6']: readonly string[]): Promise<Results> {
  return inFolder(async (folder) => {
    const store = await preparedStore(`sqlite:${folder}/spanway.db`, benchResources);
    try {
      return await grow(say, store, Number(lastPower));
    } finally {
      await store.close();
    }
  });
}

async function grow(say: (line: string) => void, store: Store, lastPower: number): Promise<Results> {
  const applyOne = (): Promise<unknown> =>
    applyAll(store, Array.from({ length: BATCH }, itemEnvelope), { batch: BATCH, set: benchResources });
  const figures: Record<string, number> = {};
  let rows = 0;
  for (let power = FIRST_POWER; power <= lastPower; power += 1) {
    for (; rows < 10 ** power; rows += BATCH) await applyOne();
    const perSecond = await rate(BATCH * TIMED_BATCHES, async () => {
      for (let i = 0; i < TIMED_BATCHES; i += 1) await applyOne();
    });
    rows += BATCH * TIMED_BATCHES;
    figures[`perSecondAt1e${power}`] = perSecond;
    say(`at ${rows.toLocaleString('en')} rows: ${perSecond.toFixed(0)} submissions/s`);
  }
  const first = figures[`perSecondAt1e${FIRST_POWER}`] ?? Number.NaN;
  return { figures, ratios: { lastToFirst: (figures[`perSecondAt1e${lastPower}`] ?? Number.NaN) / first } };
}
