/** A short chaos run of each stack. The long one is `npm run chaos`: docs/chaos.md. */
import { randomInt } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { SERVER_NAMES } from '../../cli/local-servers/index.ts';
import { describeWithServer } from '../servers.ts';
import { chaos, type ChaosOptions } from './chaos.ts';
import { startEmbedded, startReal } from './stack.ts';

/** A new seed each time; its line is printed, and it is in the failure. */
function shortRun(): ChaosOptions {
  return {
    seed: randomInt(1e9),
    submissions: 400,
    kills: 4,
    stuckMs: 120_000,
    log: (line) => void process.stderr.write(`chaos: ${line}\n`),
  };
}

describe('chaos on the embedded stack', () => {
  it('loses nothing, applies nothing twice and keeps the order through kills, cuts and duplicates', async () => {
    const options = shortRun();
    const { violations, folder } = await chaos(startEmbedded, options);
    expect(violations, `seed ${options.seed}, logs in ${folder}`).toEqual([]);
  }, 300_000);
});

describeWithServer(SERVER_NAMES, 'chaos on the real servers', (servers) => {
  it('loses nothing, applies nothing twice and keeps the order through kills, cuts and duplicates', async () => {
    const options = shortRun();
    const { violations, folder } = await chaos((folder) => startReal(folder, servers), options);
    expect(violations, `seed ${options.seed}, logs in ${folder}`).toEqual([]);
  }, 300_000);
});
