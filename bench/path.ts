/**
 * The whole path, from the HTTP request to the committed row, the load generator on the same machine. Embedded: how many
 * submissions a second, and at a set rate, how long after its 202 a write can be read. On real local servers: how many
 * a second, against the slowest of the hops (gateway to SQS, SQS to Pub/Sub, Pub/Sub to Spanner) doing its part alone.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startLocalServers } from '../cli/local-servers/index.ts';
import { type DatabaseReader, openDatabase } from '../test/fixtures/database.ts';
import { realAdapters } from '../test/fixtures/real-adapters.ts';
import { Client, type Command, prepareRoles, type RoleName, type Stack, startDev } from '../test/fixtures/stacks.ts';
import { queueDrained } from './parts/bridge-servers.ts';
import { inFolder } from './parts/folder.ts';
import { accepted, ready } from './parts/gateway.ts';
import { percentile, rate } from './parts/measure.ts';
import type { Results } from './run.ts';

const CONNECTIONS = 64;
const WARM_UP = 10_000;
const SUBMISSIONS = 30_000;
const LATENCY_RATE = 200;
const LATENCY_SECONDS = 10;
/** The bench's own HTTP client and the route that waits are new to their processes at first. */
const LATENCY_WARM_UP_SECONDS = 4;
const REAL_WARM_UP = 3_000;
const REAL_SUBMISSIONS = 10_000;
/** How often the ledger is looked at: counting it takes the emulator some milliseconds. */
const LOOK_MS = 50;
const QUIET = { SPANWAY_LOG_LEVEL: 'warn' };

export async function bench(say: (line: string) => void): Promise<Results> {
  const embedded = await inFolder((folder) => measureEmbedded(say, folder));
  const real = await inFolder((folder) => measureReal(say, folder));
  return { figures: { ...embedded, ...real?.figures }, ratios: { ...real?.ratios } };
}

async function measureEmbedded(say: (line: string) => void, folder: string): Promise<Results['figures']> {
  const stack = await startDev(folder, [], QUIET);
  const database = openDatabase(`sqlite:${join(folder, 'spanway.db')}`);
  try {
    await wholePath(stack.client, database, WARM_UP);
    const submissionsPerSecond = await wholePath(stack.client, database, SUBMISSIONS);
    say(`embedded: ${submissionsPerSecond.toFixed(0)} submissions/s from request to committed row`);
    const latencies = await latencyAtRate(stack);
    const [p50Ms, p99Ms] = [percentile(latencies, 50), percentile(latencies, 99)];
    say(`embedded, at ${LATENCY_RATE}/s, from 202 to readable: p50 ${p50Ms.toFixed(1)} ms, p99 ${p99Ms.toFixed(1)} ms`);
    return { submissionsPerSecond, p50Ms, p99Ms };
  } finally {
    await database.close();
    await stack.stop();
  }
}

async function measureReal(say: (line: string) => void, folder: string): Promise<Results | undefined> {
  const { servers, missing, stop } = await startLocalServers({ log: say });
  const running = new Map<RoleName, Command>();
  let database: DatabaseReader | undefined;
  try {
    const { sqs, pubsub, spanner, redis, eventbridge } = servers;
    if (!sqs || !pubsub || !spanner || !redis || !eventbridge) {
      say(`not measured on real servers, since some are missing: ${JSON.stringify(missing)}`);
      return undefined;
    }
    const env = realAdapters({ sqs, pubsub, spanner, redis, eventbridge });
    const { url, start } = await prepareRoles(folder, { ...env, ...QUIET });
    const client = new Client(url, folder);
    const ledger = openDatabase(env['SPANWAY_STORE'] ?? '');
    database = ledger;
    for (const name of ['issuer', 'applier', 'bridge', 'gateway'] as const) running.set(name, start(name));
    await ready(client, [...running.values()]);
    await wholePath(client, ledger, REAL_WARM_UP);
    const whole = await wholePath(client, ledger, REAL_SUBMISSIONS);
    // The others stand still meanwhile.
    const send = (signal: NodeJS.Signals, name: RoleName): unknown => running.get(name)?.process.kill(signal);
    send('SIGSTOP', 'bridge');
    send('SIGSTOP', 'applier');
    const before = await ledger.ledgerCount();
    const gateway = await rate(REAL_SUBMISSIONS, () => acceptedBy(client, REAL_SUBMISSIONS));
    send('SIGCONT', 'bridge');
    const bridge = await rate(REAL_SUBMISSIONS, () => queueDrained(env['SPANWAY_QUEUE'] ?? ''));
    send('SIGCONT', 'applier');
    const applier = await rate(REAL_SUBMISSIONS, () => applied(ledger, before + REAL_SUBMISSIONS));
    const hops = { gateway, bridge, applier };
    const alone = Object.entries(hops).map(([name, perSecond]) => `${name} ${perSecond.toFixed(0)}`);
    say(`real servers: ${whole.toFixed(0)} submissions/s; each hop alone: ${alone.join(', ')}`);
    return { figures: { realSubmissionsPerSecond: whole, ...hops }, ratios: { slowestHop: whole / Math.min(...Object.values(hops)) } };
  } finally {
    await database?.close();
    for (const role of [...running.values()].reverse()) await role.stop();
    await stop();
  }
}

/** Submissions a second, until the last one is in the ledger. */
async function wholePath(client: Client, database: DatabaseReader, amount: number): Promise<number> {
  const before = await database.ledgerCount();
  return rate(amount, async () => {
    await acceptedBy(client, amount);
    await applied(database, before + amount);
  });
}

async function acceptedBy(client: Client, amount: number): Promise<void> {
  await accepted(client.url, { token: await client.token(), connections: CONNECTIONS, amount });
}

async function applied(database: DatabaseReader, rows: number): Promise<void> {
  while ((await database.ledgerCount()) < rows) await sleep(LOOK_MS);
}

async function latencyAtRate(stack: Stack): Promise<number[]> {
  const latencies: number[] = [];
  const start = performance.now();
  const measuredFrom = start + LATENCY_WARM_UP_SECONDS * 1000;
  const one = async (): Promise<void> => {
    const accepted = await stack.client.call('PUT', `/v1/orders/${randomUUID()}`, { body: { customer: 'c', status: 'open' } });
    const at = performance.now();
    const status = await stack.client.call('GET', `${accepted.body['statusUrl'] as string}?wait=10`);
    if (status.body['status'] !== 'applied') throw new Error(JSON.stringify(status.body));
    if (at >= measuredFrom) latencies.push(performance.now() - at);
  };
  const running: Promise<void>[] = [];
  for (let i = 0; i < LATENCY_RATE * (LATENCY_WARM_UP_SECONDS + LATENCY_SECONDS); i += 1) {
    const due = start + (i * 1000) / LATENCY_RATE;
    const early = due - performance.now();
    if (early > 0) await sleep(early);
    running.push(one());
  }
  await Promise.all(running);
  return latencies;
}
