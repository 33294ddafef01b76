/**
 * What a submission costs as the ledger grows, on the embedded store: the applier's own commits of 500, timed when the
 * ledger holds 10⁴ rows, ten times as many, and so on. `npm run bench -- growth 7` goes to 10⁷ (some 12 GB of disk).
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { applyBatch } from '../consumers/applier/apply.ts';
import { Breaker } from '../consumers/applier/breaker.ts';
import { planWork } from '../consumers/applier/plan.ts';
import { envelopeText } from '../schemas/envelope/pack.ts';
import { preparedStore } from '../test/fixtures/stores.ts';
import { rate } from './parts/measure.ts';
import { benchResources, itemEnvelope } from './parts/packs.ts';
import type { Results } from './run.ts';

const BATCH = 500;
const FIRST_POWER = 4;
const TIMED_BATCHES = 10;

export async function bench(say: (line: string) => void, [lastPower = '6']: readonly string[]): Promise<Results> {
  const folder = await mkdtemp(join(tmpdir(), 'spanway-bench-'));
  const store = await preparedStore(`sqlite:${folder}/spanway.db`, benchResources);
  const context = {
    store,
    log: pino({ level: 'warn' }),
    settings: { backoff: { minMs: 1, maxMs: 5 }, maxAttempts: 3 },
    signal: new AbortController().signal,
    breaker: new Breaker({ opened: () => undefined, closed: () => undefined }),
  };
  const applyOne = async (): Promise<void> => {
    const works = Array.from({ length: BATCH }, () => {
      const envelope = itemEnvelope();
      return planWork(envelope, envelopeText(envelope), benchResources);
    });
    await applyBatch(context, works);
  };
  try {
    const figures: Record<string, number> = {};
    let rows = 0;
    for (let power = FIRST_POWER; power <= Number(lastPower); power += 1) {
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
  } finally {
    await store.close();
    await rm(folder, { recursive: true, force: true });
  }
}
