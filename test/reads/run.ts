/**
 * `npm run reads -- [--seed N] [--writes N] [--store embedded|spanner|both] [--cache NAME]`: the model test of reads
 * (model.test.ts), as long as it is told, with each cache of CACHES (run-model.ts) or one. Exits with 1 on any violation,
 * and where a server that it needs is missing.
 */
import { randomInt } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startLocalServer } from '../../cli/local-servers/index.ts';
import '../fixtures/resolve-spanway.ts';

// Resource files among what these import are resolved by what is imported above.
const { spannerUrl } = await import('../fixtures/stores.ts');
const { CACHES, runModel } = await import('./run-model.ts');

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(randomInt(1e9)) },
    writes: { type: 'string', default: '1000' },
    store: { type: 'string', default: 'both' },
    cache: { type: 'string' },
  },
});

const print = (line: string): void => void process.stdout.write(`${line}\n`);

function whole(name: 'seed' | 'writes'): number {
  if (!/^\d{1,9}$/.test(values[name])) throw new Error(`--${name} is ${values[name]}; it must be a whole number`);
  return Number(values[name]);
}

const [seed, writes] = [whole('seed'), whole('writes')];
if (!['embedded', 'spanner', 'both'].includes(values.store))
  throw new Error(`--store is ${values.store}; it must be embedded, spanner or both`);
const caches = values.cache === undefined ? Object.keys(CACHES) : [values.cache];
print(`seed ${seed}`);

async function runAll(name: string, storeUrl: () => string): Promise<void> {
  for (const cache of caches) {
    const way = CACHES[cache as keyof typeof CACHES];
    if (!(way as unknown)) throw new Error(`--cache is ${cache}; it must be one of ${Object.keys(CACHES).join(', ')}`);
    const { violations, ...counts } = await way((options) => runModel({ seed, writes, store: storeUrl(), ...options }));
    print(`${name}, ${cache}: ${violations.length === 0 ? 'ok' : `${violations.length} VIOLATIONS`} ${JSON.stringify(counts)}`);
    for (const violation of violations) print(`  ${violation}`);
    if (violations.length === 0) continue;
    process.exitCode = 1;
    print(`the same choices again: npm run reads -- --seed ${seed} --writes ${writes} --store ${name} --cache ${cache}`);
  }
}

if (values.store !== 'spanner') {
  const folder = await mkdtemp(join(tmpdir(), 'spanway-reads-'));
  let files = 0;
  await runAll('embedded', () => `sqlite:${folder}/${(files += 1)}.db`);
  await rm(folder, { recursive: true, force: true });
}
if (values.store !== 'embedded') {
  const emulator = await startLocalServer('spanner', { log: print });
  if (typeof emulator === 'string') throw new Error(emulator);
  try {
    await runAll('spanner', () => spannerUrl(emulator.address.host));
  } finally {
    await emulator.stop();
  }
}
// The emulator's client keeps connections that nobody waits for.
process.exit();
