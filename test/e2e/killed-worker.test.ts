/** The replay worker as a process that is killed again and again: its jobs end as if nothing had been. */
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Rng } from '../../ports/rng.ts';
import { openStore } from '../../ports/store/index.ts';
import type { Store } from '../../ports/store/port.ts';
import { applyAll } from '../fixtures/applying.ts';
import { envelopeOf, orderUpsert } from '../fixtures/envelopes.ts';
import { ownSecrets } from '../fixtures/real-adapters.ts';
import { Command, schemaFolder } from '../fixtures/stacks.ts';
import { describeWithServer } from '../servers.ts';
import { makeTemporaryFolder } from '../temp.ts';

const RECORDS = Number(process.env['SPANWAY_TEST_RECORDS'] ?? 6000);
/** So that a job goes on for some seconds. */
const RATE = RECORDS / 4;
const ROWS = 100;

function killing(kills: number, jobs: () => Record<string, string>): void {
  let folder: { path: string; remove(): Promise<void> };
  let env: Record<string, string>;
  let store: Store;
  beforeEach(async () => {
    folder = await makeTemporaryFolder();
    env = { SPANWAY_DATA_DIR: folder.path, SPANWAY_SCHEMAS: await schemaFolder(folder.path), ...ownSecrets(), ...jobs() };
    expect(await new Command(['schema', 'apply', '--provision'], env).exited).toBe(0);
    store = await openStore(`sqlite:${join(folder.path, 'spanway.db')}`);
    // Every seventh is refused, and a replay leaves it out.
    const writes = Array.from({ length: RECORDS }, (_, i) =>
      envelopeOf([{ ...orderUpsert(`o${i % ROWS}`, String(i)), op: i >= ROWS && i % 7 === 0 ? 'insert' : 'upsert' }]),
    );
    await applyAll(store, writes);
  }, 120_000);
  afterEach(async () => {
    await store.close();
    await folder.remove();
  });

  /** What the command says in the end, while its worker is killed so often. */
  async function replayed(...args: string[]): Promise<{ code: unknown; lines: Record<string, unknown>[] }> {
    const command = new Command(['replay', '--rate', String(RATE), '--json', ...args], env);
    await command.printed(/"state":"waiting"/);
    const rng = new Rng(1, 'kills');
    for (let killed = 0; killed < kills; killed += 1) {
      const worker = new Command(['replay-worker'], env);
      await worker.printed(/"msg":"replay started"/);
      await new Promise((resolve) => setTimeout(resolve, rng.int(0, 400)));
      expect(await worker.stop('SIGKILL')).toBe('SIGKILL');
    }
    const worker = new Command(['replay-worker'], env);
    const code = await command.exited;
    expect(await worker.stop()).toBe(0);
    const lines = command.output.split('\n').filter((line) => line.startsWith('{'));
    return { code, lines: lines.map((line) => JSON.parse(line) as Record<string, unknown>) };
  }

  it('rebuilds another database, row by row', async () => {
    const { code, lines } = await replayed('--into', `sqlite:${join(folder.path, 'target.db')}`);
    expect(lines.find((line) => 'problems' in line)).toMatchObject({ state: 'completed', problems: [] });
    const { counts } = (lines.find((line) => 'problems' in line) ?? {}) as { counts: Record<string, number> };
    expect((counts['rebuilt'] ?? 0) + (counts['unchanged'] ?? 0)).toBe(RECORDS);
    expect(lines.filter((line) => 'table' in line && line['table'] === 'orders')).toMatchObject([
      { rows: ROWS, missing: 0, different: 0, extra: 0 },
    ]);
    expect(code).toBe(0);
  }, 300_000);

  it('sends what was applied to the queue again, and counts it once', async () => {
    const { code, lines } = await replayed();
    expect(lines.at(-1)).toMatchObject({ state: 'completed', counts: { unchanged: RECORDS }, problems: [] });
    expect(code).toBe(0);
  }, 300_000);
}

describe('a replay whose worker is killed ten times', () => {
  killing(10, () => ({}));
});

// BullMQ gives a job that lost its worker to another one after its lock: some ten seconds each time.
describeWithServer('redis', 'a BullMQ job whose worker is killed', ({ redis }) => {
  killing(process.env['SPANWAY_TEST_RECORDS'] === undefined ? 1 : 10, () => ({ SPANWAY_JOBS: redis.url }));
});
