/** A short chaos run of the embedded stack. Longer ones, and those on real servers, are `npm run chaos`: docs/chaos.md. */
import { describe, expect, it } from 'vitest';
import { chaos, type ChaosOptions } from './chaos.ts';
import { startEmbedded } from './stack.ts';

/** The same plan each time, so that a change is what makes a difference; the long run takes new seeds. */
function shortRun(): ChaosOptions {
  return {
    seed: 7,
    submissions: 200,
    kills: 2,
    stuckMs: 120_000,
    log: (line) => void process.stderr.write(`chaos: ${line}\n`),
  };
}

describe('chaos on the embedded stack', () => {
  it('loses nothing, applies nothing twice and keeps the order through kills, cuts and duplicates', async () => {
    const options = shortRun();
    const { violations, folder } = await chaos(startEmbedded, options);
    expect(violations, `seed ${options.seed}, logs in ${folder}`).toEqual([]);
  }, 600_000);
});
