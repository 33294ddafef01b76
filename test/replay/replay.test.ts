import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { applyRecorded } from '../../consumers/applier/rebuild.ts';
import type { SchemaAdmin, Store } from '../../ports/store/port.ts';
import { compareTable } from '../../producers/replay/compare.ts';
import { readEntries } from '../../producers/replay/attempts.ts';
import { readHistory } from '../../producers/replay/history.ts';
import { redrive } from '../../producers/replay/redrive.ts';
import { replay, type ReplayParts } from '../../producers/replay/replay.ts';
import type { ReplayProgress, ReplaySpec } from '../../producers/replay/spec.ts';
import type { Envelope, Mutation } from '../../schemas/envelope/envelope.ts';
import type { HistoryRecord } from '../../schemas/envelope/history.ts';
import { ResourceSet } from '../../schemas/resource/registry.ts';
import allTypes from '../fixtures/all-types.ts';
import { applyAll } from '../fixtures/applying.ts';
import { envelopeOf, orderUpsert } from '../fixtures/envelopes.ts';
import { type Pipeline, startPipeline } from '../fixtures/pipeline.ts';
import { preparedStore, resources, spannerUrl } from '../fixtures/stores.ts';
import { describeWithServer } from '../servers.ts';

/** `SPANWAY_TEST_RECORDS=20000` makes it large. A step of a rebuild has 500 records, and there are to be ten kills. */
const RECORDS = Number(process.env['SPANWAY_TEST_RECORDS'] ?? 2000);
const REBUILT = Math.max(6000, RECORDS);

/** Writes of every kind: some rejected, some with conditions and merges, deletes, lines, two tenants. */
function workload(count: number): Envelope[] {
  const envelopes: Envelope[] = [];
  for (let i = 0; i < count; i += 1) {
    const orderId = `o${i % 40}`;
    const base = orderUpsert(orderId, `n${i}`);
    const line: Mutation = {
      op: 'upsert',
      resource: 'order-lines',
      key: [orderId, String((i % 3) + 1)],
      value: { sku: `s${i}`, quantity: '1', unitPrice: null },
    };
    const tenant = i % 5 === 0 ? 't2' : 't1';
    const kinds: (() => Envelope)[] = [
      () => envelopeOf([base], { tenant }),
      () => envelopeOf([base, line], { tenant }),
      () =>
        envelopeOf([{ op: 'update', resource: 'orders', key: [orderId], value: { metadata: `{"n${i}":1}` }, merge: ['metadata'] }], {
          tenant,
        }),
      () => envelopeOf([{ ...base, op: 'insert' }], { tenant }),
      () => envelopeOf([base], { tenant, ifMatch: i % 2 === 0 ? '*' : '2026-01-01T00:00:00Z' }),
      () => envelopeOf([{ op: 'delete', resource: 'order-lines', key: line.key }], { tenant }),
      () => envelopeOf([{ ...base, op: 'update', value: { note: `u${i}` } }], { tenant }),
    ];
    envelopes.push((kinds[i % kinds.length] as () => Envelope)());
  }
  return envelopes;
}

async function historyOf(store: Store): Promise<HistoryRecord[]> {
  const records: HistoryRecord[] = [];
  for await (const commit of readHistory(store, {})) records.push(...commit);
  return records;
}

async function differencesOf(a: Store, b: Store): Promise<unknown[]> {
  const found = [];
  for (const table of resources.tables()) {
    const { rows, ...difference } = await compareTable(a, b, table);
    if (difference.missing + difference.different + difference.extra > 0) found.push({ rows, ...difference });
  }
  return found;
}

function partsOf(pipeline: Pipeline, target?: Store, set = resources): ReplayParts {
  return {
    store: pipeline.store,
    resources: set,
    sender: pipeline.sender,
    outcomeMs: 20_000,
    ...(target ? { rebuild: (commits) => applyRecorded(target, commits, { resources: set, maxMutations: 5000 }) } : {}),
  };
}

/** Ends the run after so many steps, as a kill would, and goes on from what was saved before. */
async function runToEnd(
  parts: ReplayParts,
  spec: ReplaySpec,
  killEvery = Number.POSITIVE_INFINITY,
): Promise<{ end: ReplayProgress; kills: number }> {
  let saved: ReplayProgress | undefined;
  for (let kills = 0; ; kills += 1) {
    let steps = 0;
    try {
      const end = await replay(parts, {
        spec,
        ...(saved ? { from: saved } : {}),
        signal: new AbortController().signal,
        save: (progress) => {
          steps += 1;
          // The step is done, and nobody will know.
          if (steps > killEvery) return Promise.reject(new Error('killed'));
          saved = progress;
          return Promise.resolve();
        },
      });
      return { end, kills };
    } catch (error) {
      if ((error as Error).message !== 'killed') throw error;
    }
  }
}

const SPEC = { selection: {}, by: 'operator' };

describe('a replay into the queue', () => {
  let pipeline: Pipeline;
  beforeEach(async () => {
    pipeline = await startPipeline();
  });
  afterEach(() => pipeline.stop());

  it('changes no row, no version and no outcome of what was applied, and counts it', async () => {
    const sent = workload(RECORDS);
    await pipeline.submit(sent);
    const copy = await preparedStore(`sqlite:${pipeline.folder}/copy.db`);
    await runToEnd(partsOf(pipeline, copy), { ...SPEC, into: 'copy' });
    const before = await historyOf(pipeline.store);
    const { end } = await runToEnd(partsOf(pipeline), SPEC);
    expect(end.counts).toEqual({ unchanged: RECORDS });
    // Behind what was replayed in each shard comes one more, so it has all been applied by now.
    await pipeline.submit(Array.from({ length: 40 }, (_, i) => envelopeOf([{ op: 'delete', resource: 'orders', key: [`none${i}`] }])));
    expect((await historyOf(pipeline.store)).slice(0, before.length)).toEqual(before);
    expect((await historyOf(pipeline.store)).length).toBe(before.length + 40);
    expect(await differencesOf(pipeline.store, copy)).toEqual([]);
    await copy.close();
  }, 300_000);

  it('applies what a file has and the ledger has not, in order, and only what is selected', async () => {
    const sent = [
      envelopeOf([orderUpsert('o1', 'a')]),
      envelopeOf([orderUpsert('o1', 'b')]),
      envelopeOf([orderUpsert('o2', 'c')], { tenant: 't2' }),
    ];
    const path = join(pipeline.folder, 'submissions.jsonl');
    await writeFile(path, sent.map((envelope) => `${JSON.stringify(envelope)}\n`).join(''));
    const { end } = await runToEnd(partsOf(pipeline), { ...SPEC, file: path, selection: { tenant: 't1' } });
    expect(end.counts).toEqual({ applied: 2 });
    expect((await historyOf(pipeline.store)).map((r) => r.envelope.id)).toEqual(sent.slice(0, 2).map((e) => e.id));
    expect((await runToEnd(partsOf(pipeline), { ...SPEC, file: path })).end.counts).toEqual({ applied: 1, unchanged: 2 });
  });

  it('goes on behind the line of a file that cannot be read, and lists it', async () => {
    const path = join(pipeline.folder, 'bad.jsonl');
    const [first, last] = ['a', 'b'].map((note) => JSON.stringify(envelopeOf([orderUpsert('o1', note)])));
    const good = envelopeOf([orderUpsert('o1', 'c')]);
    const noId = JSON.stringify({ ...good, id: 'no UUID' });
    const noAggregate = JSON.stringify({ ...good, data: { ...good.data, aggregate: 'o1' } });
    await writeFile(path, `${first}\n{"specversion":"1.0"}\nnone\n${noId}\n${noAggregate}\n${last}\n`);
    const { end } = await runToEnd(partsOf(pipeline), { ...SPEC, file: path });
    expect(end.counts).toEqual({ applied: 2, failed: 4 });
    expect(end.problems).toMatchObject([
      { submissionId: 'line 2', why: expect.stringMatching(/bad\.jsonl:2: not an envelope/) },
      { submissionId: 'line 3', why: expect.stringMatching(/bad\.jsonl:3/) },
      { submissionId: 'line 4', why: expect.stringMatching(/bad\.jsonl:4: not an envelope: \/id/) },
      { submissionId: 'line 5', why: expect.stringMatching(/bad\.jsonl:5: not an envelope: \/data\/aggregate/) },
    ]);
  });

  it('counts as if it had never been killed', async () => {
    const path = join(pipeline.folder, 'killed.jsonl');
    const sent = Array.from({ length: 1200 }, (_, i) => envelopeOf([orderUpsert(`o${i % 40}`, `n${i}`)]));
    await writeFile(path, sent.map((envelope) => `${JSON.stringify(envelope)}\n`).join(''));
    const { end, kills } = await runToEnd(partsOf(pipeline), { ...SPEC, file: path }, 1);
    expect(kills).toBeGreaterThan(2);
    expect(end.counts).toEqual({ applied: 1200 });
    expect(end.open).toBeUndefined();
    // Shards are applied beside each other.
    const byRow = (envelopes: readonly Envelope[]) => Map.groupBy(envelopes, ({ subject }) => subject);
    expect(byRow((await historyOf(pipeline.store)).map(({ envelope }) => envelope))).toEqual(byRow(sent));
  });

  it('ends where it was to end when it began, whatever is applied before another worker goes on', async () => {
    await applyAll(pipeline.store, workload(1200));
    const steps: ReplayProgress[] = [];
    const run = (from?: ReplayProgress): Promise<ReplayProgress> =>
      replay(partsOf(pipeline), {
        spec: SPEC,
        ...(from ? { from } : {}),
        signal: new AbortController().signal,
        save: (progress) => {
          steps.push(progress);
          return progress.after && !from ? Promise.reject(new Error('killed')) : Promise.resolve();
        },
      });
    await expect(run()).rejects.toThrow('killed');
    await applyAll(pipeline.store, workload(300));
    const end = await run(steps.at(-1));
    expect(end.counts).toEqual({ unchanged: 1200 });
    const fractions = steps.map(({ fraction = 0 }) => fraction);
    expect(fractions.at(-1)).toBe(1);
    expect([...fractions].sort((a, b) => a - b)).toEqual(fractions);
  });

  it('sends a line once that a file has twice, and tells of one whose id another payload has', async () => {
    const twice = envelopeOf([orderUpsert('o1', 'a')]);
    const taken = envelopeOf([orderUpsert('o2', 'first')]);
    await pipeline.submit([taken]);
    const other = envelopeOf([orderUpsert('o2', 'second')], { id: taken.id });
    const path = join(pipeline.folder, 'twice.jsonl');
    await writeFile(path, [twice, other, twice].map((envelope) => `${JSON.stringify(envelope)}\n`).join(''));
    const { end } = await runToEnd(partsOf(pipeline), { ...SPEC, file: path });
    expect(end.counts).toEqual({ applied: 1, unchanged: 1, rejected: 1 });
    expect(end.problems).toEqual([{ submissionId: taken.id, result: 'rejected', why: 'idempotency_key_reused' }]);
  });

  it('makes of an export what was applied, in its order, also what an operator had sent again', async () => {
    const late = envelopeOf([orderUpsert('o1', 'late')]);
    const never = envelopeOf([{ ...orderUpsert('none'), op: 'update' }]);
    pipeline.resources.current = new ResourceSet([allTypes]);
    await pipeline.submit([late]);
    pipeline.resources.current = resources;
    await pipeline.submit([never, envelopeOf([{ ...orderUpsert('o1', 'before'), op: 'delete' }])]);
    const sending = {
      store: pipeline.store,
      queue: pipeline.queue,
      resources,
      sender: pipeline.sender,
      verifier: () => pipeline.keys.current,
    };
    const how = { overNewer: true, by: 'operator', dryRun: false, outcomeMs: 20_000, now: () => new Date() };
    for await (const { result } of redrive(sending, {}, how)) expect(result).toBe('applied');
    const path = join(pipeline.folder, 'export.jsonl');
    await writeFile(path, (await historyOf(pipeline.store)).map((record) => `${JSON.stringify(record)}\n`).join(''));
    const other = await startPipeline();
    try {
      const { end } = await runToEnd(partsOf(other), { ...SPEC, file: path });
      expect(end.counts).toEqual({ applied: 2, left_out: 2 });
      const { table } = resources.get('orders') ?? expect.unreachable('orders');
      expect(await other.store.read(table, [['t1', 'o1']], ['note'])).toEqual([['late']]);
    } finally {
      await other.stop();
    }
  });

  it('saves where it is though nothing is found for long, so that it can be paused', async () => {
    await applyAll(pipeline.store, workload(510), { batch: 1 });
    const steps: ReplayProgress[] = [];
    const save = (progress: ReplayProgress): Promise<void> => Promise.resolve(void steps.push(progress));
    const spec = { ...SPEC, selection: { correlationId: 'none' } };
    await replay(partsOf(pipeline), { spec, signal: new AbortController().signal, save });
    expect(steps.filter(({ after }) => after).map(({ fraction = 0 }) => fraction < 1)).toEqual([true, false]);
    expect(steps.at(-1)?.counts).toEqual({});
  });

  it('keeps to its rate, in steps of a second at most', async () => {
    await pipeline.submit(workload(60));
    const counts: unknown[] = [];
    const save = (progress: ReplayProgress): Promise<void> => Promise.resolve(void counts.push(progress.counts['unchanged'] ?? 0));
    const path = join(pipeline.folder, 'rate.jsonl');
    const records = await historyOf(pipeline.store);
    await writeFile(path, records.map(({ envelope }) => `${JSON.stringify(envelope)}\n`).join(''));
    const began = performance.now();
    await replay(partsOf(pipeline), { spec: { ...SPEC, file: path, rate: 25 }, signal: new AbortController().signal, save });
    expect(counts).toEqual([0, 25, 50, 60]);
    expect(performance.now() - began).toBeGreaterThan(2300);
  });

  it('keeps to its rate over all steps', async () => {
    await pipeline.submit(workload(1100));
    const began = performance.now();
    await runToEnd(partsOf(pipeline), { ...SPEC, rate: 1000 });
    expect(performance.now() - began).toBeGreaterThan(900);
  });
});

function rebuilding(open: (pipeline: Pipeline) => Promise<Store & SchemaAdmin>, sourceUrl?: () => string): void {
  let pipeline: Pipeline;
  let target: Store & SchemaAdmin;
  beforeEach(async () => {
    pipeline = await startPipeline(resources, sourceUrl?.());
    target = await open(pipeline);
  });
  afterEach(async () => {
    await target.close();
    await pipeline.stop();
  });

  it('makes every table equal, row by row, though it is killed ten times', async () => {
    const sent = workload(REBUILT);
    const packs = Array.from({ length: 600 }, (_, i) => ({ queuedAt: new Date(i).toISOString() }));
    await applyAll(pipeline.store, sent, { batch: 50, carried: (i) => packs[Math.floor(i / 10)] });
    const { end, kills } = await runToEnd(partsOf(pipeline, target), { ...SPEC, into: 'target' }, 1);
    expect(kills).toBeGreaterThanOrEqual(10);
    const { rebuilt = 0, unchanged = 0, ...others } = end.counts;
    expect(others).toEqual({});
    // A step that was cut off before it was saved is found done.
    expect(rebuilt + unchanged).toBe(REBUILT);
    expect(unchanged).toBeGreaterThan(0);
    expect(await differencesOf(pipeline.store, target)).toEqual([]);
    expect(await historyOf(target)).toEqual(await historyOf(pipeline.store));
    const [orders] = resources.tables();
    const note = { tenant: 't1', order_id: 'o1', note: 'not as it was' };
    if (!orders) return expect.unreachable('no tables');
    await target.commit([{ op: 'update', table: orders, columns: Object.keys(note), values: Object.values(note) }], { tag: 'test' });
    expect(await differencesOf(pipeline.store, target)).toMatchObject([{ table: 'orders', different: 1, examples: [['t1', 'o1']] }]);
  }, 600_000);

  it('takes one tenant after the other, though they share commits', async () => {
    const sent = workload(200);
    await applyAll(pipeline.store, sent, { batch: 7 });
    const counts: number[] = [];
    for (const tenant of ['t1', 't2', 't1']) {
      const { end } = await runToEnd(partsOf(pipeline, target), { ...SPEC, into: 'target', selection: { tenant } });
      counts.push(end.counts.rebuilt ?? 0);
    }
    expect(counts).toEqual([160, 40, 0]);
    expect(await differencesOf(pipeline.store, target)).toEqual([]);
    const idsOf = async (store: Store): Promise<string[]> => (await historyOf(store)).map(({ envelope }) => envelope.id).sort();
    expect(await idsOf(target)).toEqual(await idsOf(pipeline.store));
    const verdicts = (records: readonly HistoryRecord[]) => new Map(records.map(({ envelope, verdict }) => [envelope.id, verdict]));
    expect(verdicts(await historyOf(target))).toEqual(verdicts(await historyOf(pipeline.store)));
    for (const record of await historyOf(target)) {
      const [entry] = await readEntries(target, [record.envelope.id]);
      expect(entry).toMatchObject({ commit: record.commit, position: record.position, committedAt: record.committedAt });
    }
  });

  it('takes the records of one tenant or row alone, and lists what cannot be made again', async () => {
    await applyAll(pipeline.store, workload(200), { batch: 7 });
    const { end } = await runToEnd(partsOf(pipeline, target), { ...SPEC, into: 'target', selection: { tenant: 't2' } });
    expect(end.counts.rebuilt).toBe(40);
    for (const table of resources.tables())
      expect(await compareTable(pipeline.store, target, table, 't2')).toMatchObject({ missing: 0, different: 0, extra: 0 });
    const without = new ResourceSet([allTypes]);
    const { end: lost } = await runToEnd(partsOf(pipeline, target, without), { ...SPEC, into: 'target', selection: { tenant: 't1' } });
    expect(lost.counts.failed).toBeGreaterThan(0);
    expect(lost.problems[0]).toMatchObject({ result: 'failed', why: expect.stringContaining('unknown_resource') });
  });
}

describe('a rebuild into SQLite', () => {
  rebuilding((pipeline) => preparedStore(`sqlite:${pipeline.folder}/target.db`));
});

describeWithServer('spanner', 'a rebuild on the Spanner emulator', ({ spanner }) => {
  rebuilding(
    () => preparedStore(spannerUrl(spanner.host)),
    () => spannerUrl(spanner.host),
  );
});
