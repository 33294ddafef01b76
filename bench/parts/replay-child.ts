/** A replay alone in a process: of all that a ledger has, into a queue that nobody empties, or into another database. */
import { applyRecorded } from '../../consumers/applier/rebuild.ts';
import { openQueue } from '../../ports/queue/index.ts';
import { openStore } from '../../ports/store/index.ts';
import { replay } from '../../producers/replay/replay.ts';
import { preparedStore } from '../../test/fixtures/stores.ts';
import { working } from './memory.ts';
import { benchResources, ring } from './packs.ts';
import { backoff, defaults } from './settings.ts';

const [folder = '', way = '', rows = ''] = process.argv.slice(2);
const store = await openStore(`sqlite:${folder}/spanway.db`);
const queue = await openQueue(`sqlite:${folder}/queue.db`);
const target = await preparedStore(`sqlite:${folder}/target.db`, benchResources);
const { signal } = new AbortController();
const sender = {
  queue,
  signer: () => ring,
  settings: { ...defaults, backoff },
  signal,
  onFailure: (error: Error) => {
    throw error;
  },
};
const limits = { resources: benchResources, maxMutations: defaults.maxBatchMutations };
let left = Number(rows);
await working(
  () => left,
  () =>
    replay(
      {
        store,
        resources: benchResources,
        sender,
        outcomeMs: 60_000,
        ...(way === 'rebuild' ? { rebuild: (commits) => applyRecorded(target, commits, limits) } : {}),
      },
      {
        spec: { selection: {}, by: 'bench', ...(way === 'rebuild' ? { into: 'target' } : {}) },
        save: ({ counts }) => {
          left = Number(rows) - Object.values(counts).reduce((sum, count) => sum + count, 0);
          return Promise.resolve();
        },
        signal,
      },
    ),
);
