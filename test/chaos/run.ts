/**
 * `npm run chaos -- --seed N --kills K [--submissions N] [--stack embedded|real|both]`: see docs/chaos.md.
 * Exits with 1 on any violation, and where a stack that was asked for cannot run.
 */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { type LocalServers, SERVER_NAMES, startLocalServers } from '../../cli/local-servers/index.ts';
import { chaos, type ChaosOptions, type ChaosReport } from './chaos.ts';
import { startEmbedded, startReal } from './stack.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    kills: { type: 'string', default: '100' },
    submissions: { type: 'string', default: '20000' },
    stack: { type: 'string', default: 'both' },
  },
});

function whole(name: 'seed' | 'kills' | 'submissions', text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new Error(`--${name} is ${text}; it must be a whole number`);
  return Number(text);
}

const print = (line: string): void => void process.stderr.write(`${line}\n`);
const options: ChaosOptions = {
  seed: values.seed === undefined ? randomInt(1e9) : whole('seed', values.seed),
  kills: whole('kills', values.kills),
  submissions: whole('submissions', values.submissions),
  log: print,
};
if (!['embedded', 'real', 'both'].includes(values.stack)) throw new Error(`--stack is ${values.stack}; it must be embedded, real or both`);
process.stdout.write(`seed ${options.seed}\n`);

function tell(stack: string, { violations, counts, folder }: ChaosReport): void {
  process.stdout.write(`${stack}: ${JSON.stringify(counts, undefined, 2)}\n`);
  if (violations.length === 0) {
    process.stdout.write(`${stack}: ok\n`);
    return;
  }
  process.exitCode = 1;
  for (const violation of violations) process.stdout.write(`${stack}: VIOLATION ${violation}\n`);
  const again = `npm run chaos -- --seed ${options.seed} --kills ${options.kills} --submissions ${options.submissions} --stack ${stack}`;
  process.stdout.write(`${stack}: ${violations.length} violations; logs in ${folder}; the same choices again: ${again}\n`);
}

// Without a handler a signal would end this process alone, and leave the roles behind.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

if (values.stack !== 'real') tell('embedded', await chaos(startEmbedded, options));
if (values.stack !== 'embedded') {
  const running = await startLocalServers({ log: print });
  try {
    const missing = SERVER_NAMES.filter((name) => running.servers[name] === undefined);
    if (missing.length > 0) {
      process.exitCode = 1;
      process.stdout.write(`real: not run: ${missing.map((name) => `${name} is missing: ${running.missing[name] ?? ''}`).join('; ')}\n`);
    } else {
      tell('real', await chaos((folder) => startReal(folder, running.servers as Required<LocalServers>), options));
    }
  } finally {
    await running.stop();
  }
}
// Node 24 may spin for ever while it frees what the clients of the emulators have left.
process.exit();
