/** One chaos run on one stack: work, faults, the drain, and the checks. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { aggregateId, shardOf } from '../../schemas/envelope/ids.ts';
import { check } from './check.ts';
import { ChaosClient } from './client.ts';
import { type DatabaseReader, openDatabase } from '../fixtures/database.ts';
import { queueIsEmptied, startDuplicator } from './duplicates.ts';
import { startFaults } from './faults.ts';
import { type ChaosStack, SHARDS } from './stack.ts';
import { type Aggregate, newAggregate } from './workload.ts';
import { Writers } from './writers.ts';

export interface ChaosOptions {
  readonly seed: number;
  readonly submissions: number;
  readonly kills: number;
  readonly log: (line: string) => void;
  /** Without any progress for so long, the run is stuck: a violation. */
  readonly stuckMs?: number;
}

export interface ChaosReport {
  readonly violations: readonly string[];
  readonly counts: Readonly<Record<string, unknown>>;
  /** The logs of all processes; gone where there was no violation. */
  readonly folder: string;
}

const STUCK_MS = 180_000;
const TELL_MS = 10_000;

export async function chaos(start: (folder: string) => Promise<ChaosStack>, options: ChaosOptions): Promise<ChaosReport> {
  const folder = await mkdtemp(join(tmpdir(), 'spanway-chaos-'));
  const begun = performance.now();
  const stack = await start(folder);
  options.log(`${stack.name}: seed ${options.seed}, ${options.submissions} submissions, ${options.kills} kills; logs in ${folder}`);
  const violations: string[] = [];
  let counts: Record<string, unknown>;
  try {
    counts = await work(stack, options, violations);
  } finally {
    await stack.stop();
  }
  counts = {
    ...counts,
    duplicatesSettled: await countInLogs(folder, '"duplicate":true'),
    seconds: Math.round((performance.now() - begun) / 1000),
  };
  if (violations.length === 0) await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  return { violations, counts, folder };
}

async function work(stack: ChaosStack, options: ChaosOptions, violations: string[]): Promise<Record<string, unknown>> {
  const { seed, submissions, kills, stuckMs = STUCK_MS } = options;
  const client = new ChaosClient(stack.url, stack.dataDir, seed);
  const direct = new ChaosClient(stack.directUrl, stack.dataDir, seed);
  const writers = new Writers(client, seed, submissions);
  const calm = new Writers(direct, seed, 0);
  const database = openDatabase(stack.adapters.store);
  const watch = startWatch(stack, writers, [client, direct], options);
  const duplicator = await startDuplicator(stack, seed);
  const faults = startFaults(stack, { seed, kills, submissions, accepted: () => writers.progress.accepted });
  const counts = (): Record<string, unknown> => ({
    accepted: writers.progress.accepted + calm.progress.accepted,
    triedAgain: client.retries,
    resentAfter202: writers.progress.resent,
    duplicatePacks: duplicator.sent,
    ...faults.counts,
    endedByThemselves: stack.roles.flatMap((role) => role.ownEnds),
  });
  try {
    try {
      // A writer that fails ends the run at once; the kills are spread over the writes, so they end with them.
      await Promise.all([writers.run(), faults.killed]);
    } finally {
      await faults.stop().finally(() => duplicator.stop());
    }
    const fences = fenceAggregates();
    await calm.fence(fences);
    const aggregates = [...writers.aggregates, ...fences];
    await drained(database, aggregates, stuckMs);
    options.log(`${stack.name}: all is quiet; checking`);
    watch.stop();
    const { violations: found, ...findings } = await check(direct, database, aggregates);
    violations.push(...found);
    if (!(await queueIsEmptied(stack.adapters.queue, stuckMs))) violations.push('packs are left in the queue');
    return { ...findings, ...counts() };
  } catch (error) {
    // What ends a run early is what it found: a write refused, a role that does not start, no progress.
    violations.push(`the run ended early: ${(error as Error).stack ?? String(error)}`);
    for (const each of [client, direct]) each.giveUp(new Error('the run has ended'));
    return counts();
  } finally {
    violations.push(...writers.problems, ...calm.problems, ...client.wrong, ...direct.wrong);
    watch.stop();
    await database.close();
  }
}

/** One order for each shard: a write to it is behind all that the shard had before, duplicates too. */
function fenceAggregates(): Aggregate[] {
  const fences = new Map<number, Aggregate>();
  for (let i = 0; fences.size < SHARDS; i += 1) {
    const fence = newAggregate('t1', `fence-${i}`);
    fences.set(shardOf(aggregateId('t1', 'orders', [fence.orderId]), SHARDS), fence);
  }
  return [...fences.values()];
}

/** Resolves when the ledger has as many as were accepted, or gets no more of them: the checks say which are missing. */
async function drained(database: DatabaseReader, aggregates: readonly Aggregate[], stuckMs: number): Promise<void> {
  const expected = aggregates.reduce((sum, aggregate) => sum + aggregate.history.length, 0);
  let last = -1;
  for (let end = Date.now() + stuckMs; Date.now() < end; await sleep(500)) {
    const count = await database.ledgerCount();
    if (count >= expected) return;
    if (count > last) end = Date.now() + stuckMs;
    last = count;
  }
}

function startWatch(
  stack: ChaosStack,
  { progress }: Writers,
  clients: readonly ChaosClient[],
  { log, submissions, stuckMs = STUCK_MS }: ChaosOptions,
): { stop(): void } {
  const begun = performance.now();
  const timer = setInterval(() => {
    const killed = stack.roles.reduce((sum, role) => sum + role.kills, 0);
    log(
      `${stack.name}: ${Math.round((performance.now() - begun) / 1000)} s, ${progress.accepted}/${submissions} accepted, ${killed} kills`,
    );
    if (Date.now() - progress.at < stuckMs) return;
    for (const client of clients) client.giveUp(new Error(`nothing was accepted and no outcome was told for ${stuckMs / 1000} s`));
  }, TELL_MS);
  return { stop: () => clearInterval(timer) };
}

async function countInLogs(folder: string, text: string): Promise<number> {
  let count = 0;
  for (const name of await readdir(folder))
    if (name.endsWith('.log')) count += (await readFile(join(folder, name), 'utf8')).split(text).length - 1;
  return count;
}
