/** A short chaos run of each stack. Longer ones are `npm run chaos`: docs/chaos.md. */
import { describe, expect, it } from 'vitest';
import { SERVER_NAMES } from '../../cli/local-servers/index.ts';
import { describeWithServer } from '../servers.ts';
import { chaos } from './chaos.ts';
import { type ChaosStack, startEmbedded, startReal } from './stack.ts';

/** The same plan each time, so that a change is what makes a difference; the long run takes new seeds. */
const SHORT_RUN = { seed: 7, submissions: 200, kills: 2, stuckMs: 120_000 };

function survives(start: (folder: string) => Promise<ChaosStack>): void {
  it('loses nothing, applies nothing twice and keeps the order through kills, cuts and duplicates', async () => {
    const log = (line: string): void => void process.stderr.write(`chaos: ${line}\n`);
    const { violations, folder } = await chaos(start, { ...SHORT_RUN, log });
    expect(violations, `seed ${SHORT_RUN.seed}, logs in ${folder}`).toEqual([]);
  }, 600_000);
}

describe('chaos on the embedded stack', () => survives(startEmbedded));

describeWithServer(SERVER_NAMES, 'chaos on the real servers', (servers) => survives((folder) => startReal(folder, servers)));
