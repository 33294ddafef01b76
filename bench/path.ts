/**
 * The whole path, embedded: how many submissions a second go from the HTTP request to the committed row, the load
 * generator on the same machine; and at a set rate, how long after its 202 a write can be read.
 */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Stack, startDev } from '../test/fixtures/stacks.ts';
import { httpLoad } from './http-load.ts';
import { percentile } from './measure.ts';
import type { Results } from './run.ts';

const CONNECTIONS = 64;
const WARM_UP = 5_000;
const SUBMISSIONS = 20_000;
const LATENCY_RATE = 200;
const LATENCY_SECONDS = 10;

export async function bench(say: (line: string) => void): Promise<Results> {
  const folder = await mkdtemp(join(tmpdir(), 'spanway-bench-'));
  const stack = await startDev(folder, [], { SPANWAY_LOG_LEVEL: 'warn' });
  try {
    await flood(stack, folder, WARM_UP);
    const { perSecond, acceptedPerSecond } = await flood(stack, folder, SUBMISSIONS);
    say(`${perSecond.toFixed(0)} submissions/s from request to committed row (${acceptedPerSecond.toFixed(0)}/s accepted)`);
    const latencies = await latencyAtRate(stack);
    const [p50Ms, p99Ms] = [percentile(latencies, 50), percentile(latencies, 99)];
    say(`at ${LATENCY_RATE}/s, from 202 to readable: p50 ${p50Ms.toFixed(1)} ms, p99 ${p99Ms.toFixed(1)} ms`);
    return { figures: { submissionsPerSecond: perSecond, acceptedPerSecond, p50Ms, p99Ms }, ratios: {} };
  } finally {
    await stack.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Every submission upserts a row of its own. */
async function flood(
  stack: Stack,
  folder: string,
  amount: number,
): Promise<{ readonly perSecond: number; readonly acceptedPerSecond: number }> {
  const token = await stack.client.token();
  const ledger = new DatabaseSync(join(folder, 'spanway.db'), { readOnly: true });
  const count = (): number => ledger.prepare('SELECT count(*) AS n FROM spanway_ledger').get()?.['n'] as number;
  const before = count();
  const start = performance.now();
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const body = JSON.stringify({ customer: 'customer-1', status: 'open', total: '12.50' });
  const statuses = await httpLoad({
    url: stack.url,
    connections: CONNECTIONS,
    amount,
    request: () => ({ method: 'PUT', path: `/v1/orders/${randomUUID()}`, headers, body }),
  });
  const accepted = performance.now() - start;
  if (statuses.get(202) !== amount) throw new Error(`not all of ${amount} were accepted: ${JSON.stringify([...statuses])}`);
  while (count() < before + amount) await sleep(5);
  const applied = performance.now() - start;
  ledger.close();
  return { perSecond: (amount / applied) * 1000, acceptedPerSecond: (amount / accepted) * 1000 };
}

async function latencyAtRate(stack: Stack): Promise<number[]> {
  const latencies: number[] = [];
  const one = async (): Promise<void> => {
    const accepted = await stack.client.call('PUT', `/v1/orders/${randomUUID()}`, { body: { customer: 'c', status: 'open' } });
    const at = performance.now();
    const status = await stack.client.call('GET', `${accepted.body['statusUrl'] as string}?wait=10`);
    if (status.body['status'] !== 'applied') throw new Error(JSON.stringify(status.body));
    latencies.push(performance.now() - at);
  };
  const running: Promise<void>[] = [];
  const start = performance.now();
  for (let i = 0; i < LATENCY_RATE * LATENCY_SECONDS; i += 1) {
    const due = start + (i * 1000) / LATENCY_RATE;
    const early = due - performance.now();
    if (early > 0) await sleep(early);
    running.push(one());
  }
  await Promise.all(running);
  return latencies;
}
