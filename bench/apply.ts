/**
 * The applier on the Spanner emulator, fed by prepared packs, against what people write by hand (one read-write
 * transaction a message: ledger read, ledger insert, upsert) and against raw blind commits of the same rows, which is
 * the ceiling of any exactly-once applier.
 */
import { MutationSet, Spanner } from '@google-cloud/spanner';
import { pino } from 'pino';
import { startLocalServers } from '../cli/local-servers/index.ts';
import { startApplier } from '../consumers/applier/applier.ts';
import { openCache } from '../ports/cache/index.ts';
import type { Events } from '../ports/events/port.ts';
import type { Store } from '../ports/store/port.ts';
import type { Envelope } from '../schemas/envelope/envelope.ts';
import { ledgerMutations } from '../schemas/envelope/ledger.ts';
import { envelopeText } from '../schemas/envelope/pack.ts';
import { preparedStore, spannerUrl } from '../test/fixtures/stores.ts';
import { percentile, rate } from './parts/measure.ts';
import { benchResources, itemEnvelope, items, packsOf, PreparedSubscriber, ring } from './parts/packs.ts';
import { backoff, defaults } from './parts/settings.ts';
import type { Results } from './run.ts';

const SUBMISSIONS = 10_000;
const BATCH = defaults.maxBatchCount;
const BY_HAND = 400;
const RUNS = 3;

/** Outcome events are another server's speed; they are counted and dropped here. */
class CountedEvents implements Events {
  readonly capabilities = { maxBatchCount: Infinity, maxBatchBytes: Infinity };
  sent = 0;
  send(events: readonly unknown[]): Promise<void> {
    this.sent += events.length;
    return Promise.resolve();
  }
  ping(): Promise<void> {
    return Promise.resolve();
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}

type Name = 'applier' | 'duplicates' | 'ceiling' | 'byHand';

export async function bench(say: (line: string) => void): Promise<Results> {
  const runs: Record<Name, number>[] = [];
  // In turns, so that what else the machine does meets all of them.
  for (let run = 0; run <= RUNS; run += 1) {
    const results = {
      applier: await onNewEmulator((store) => applying(store, 0)),
      duplicates: await onNewEmulator((store) => applying(store, 0.1)),
      ceiling: await onNewEmulator((_, url) => rawBlindCommits(url)),
      byHand: await onNewEmulator((_, url) => transactionPerMessage(url)),
    };
    // The first run is of a process that is new.
    if (run === 0) continue;
    runs.push(results);
    const { applier, duplicates, ceiling, byHand } = results;
    say(
      `run ${run}: applier ${applier.toFixed(0)}, with 10% duplicates ${duplicates.toFixed(0)}, raw blind commits of ${BATCH} ` +
        `${ceiling.toFixed(0)}, one read-write transaction a message ${byHand.toFixed(0)} submissions/s`,
    );
  }
  const median = (of: (run: Record<Name, number>) => number): number => percentile(runs.map(of), 50);
  return {
    figures: {
      submissionsPerSecond: median((run) => run.applier),
      withDuplicates10: median((run) => run.duplicates),
      rawBlindCommits: median((run) => run.ceiling),
      byHand: median((run) => run.byHand),
    },
    ratios: {
      handWritten: median((run) => run.applier / run.byHand),
      ceiling: median((run) => run.applier / run.ceiling),
      handWrittenDuplicates10: median((run) => run.duplicates / run.byHand),
    },
  };
}

/** An emulator of its own, with the ledger and the items' table: it gets slower with all that it has done before. */
async function onNewEmulator(measure: (store: Store, url: string) => Promise<number>): Promise<number> {
  const { servers, missing, stop } = await startLocalServers({ only: ['spanner'], log: () => undefined });
  if (!servers.spanner) throw new Error(`the Spanner emulator is missing: ${missing.spanner ?? ''}`);
  try {
    const url = spannerUrl(servers.spanner.host);
    const store = await preparedStore(url, benchResources);
    try {
      return await measure(store, url);
    } finally {
      await store.close();
    }
  } finally {
    await stop();
  }
}

async function applying(store: Store, duplicateShare: number): Promise<number> {
  const envelopes = newEnvelopes(SUBMISSIONS);
  const sent = envelopes.flatMap((e, i) => (i % 10 < duplicateShare * 10 ? [e, envelopes[Math.max(0, i - 1000)] as Envelope] : [e]));
  const subscriber = new PreparedSubscriber(packsOf(sent, 50));
  const cache = await openCache('memory:', 'bench');
  const events = new CountedEvents();
  const run = await rate(sent.length, async () => {
    const applier = startApplier({
      subscriber,
      store,
      events,
      cache,
      resources: { current: benchResources },
      packKeys: { current: () => ring, refresh: () => Promise.resolve(ring) },
      log: pino({ level: 'warn' }),
      onFatal: (error) => {
        throw error;
      },
      settings: {
        ...defaults,
        // As the role has it on the emulator.
        parallelism: 1,
        backoff,
        keyPatienceMs: defaults.keyPatienceSeconds * 1000,
        stopMs: defaults.stopSeconds * 1000,
      },
    });
    await subscriber.drained;
    await applier.stop();
  });
  if (events.sent !== sent.length) throw new Error(`${events.sent} outcomes for ${sent.length} envelopes`);
  await cache.close();
  return run;
}

function newEnvelopes(count: number): Envelope[] {
  return Array.from({ length: count }, itemEnvelope);
}

/** As the official client is used by hand. */
function openDatabase(url: string): ReturnType<ReturnType<Spanner['instance']>['database']> {
  const { hostname: project, pathname, searchParams } = new URL(url);
  const [, instance = '', database = ''] = pathname.split('/');
  process.env['SPANNER_EMULATOR_HOST'] = searchParams.get('emulator') ?? '';
  process.env['GOOGLE_CLOUD_SPANNER_MULTIPLEXED_SESSIONS'] = 'false';
  process.env['GOOGLE_CLOUD_SPANNER_MULTIPLEXED_SESSIONS_FOR_RW'] = 'false';
  return new Spanner({ projectId: project }).instance(instance).database(database);
}

type Row = Record<string, unknown>;

/** The rows that the applier writes for a batch: the ledger's, the list of commits', the data's. */
function rowsOf(envelopes: readonly Envelope[]): { readonly ledger: readonly Row[]; readonly commit: Row; readonly data: readonly Row[] } {
  const rows = ledgerMutations(envelopes.map((envelope) => ({ envelope, text: envelopeText(envelope), verdict: { outcome: 'applied' } })));
  const objects = rows.map(({ columns, values }): Row => Object.fromEntries(columns.map((column, i) => [column, values[i]])));
  const data = envelopes.map(({ data: { mutations } }): Row => ({ tenant: 't1', id: mutations[0]?.key[0], ...mutations[0]?.value }));
  return { ledger: objects.slice(0, -1), commit: objects.at(-1) ?? {}, data };
}

async function rawBlindCommits(url: string): Promise<number> {
  const database = openDatabase(url);
  const envelopes = newEnvelopes(SUBMISSIONS);
  const batches = Array.from({ length: SUBMISSIONS / BATCH }, (_, i) => rowsOf(envelopes.slice(i * BATCH, (i + 1) * BATCH)));
  const result = await rate(SUBMISSIONS, async () => {
    for (const { ledger, commit, data } of batches) {
      const mutations = new MutationSet();
      mutations.insert('spanway_ledger', [...ledger]);
      mutations.insert('spanway_commits', commit);
      mutations.upsert(items.table.name, [...data]);
      await database.writeAtLeastOnce(mutations);
    }
  });
  await database.close();
  return result;
}

async function transactionPerMessage(url: string): Promise<number> {
  const database = openDatabase(url);
  const messages = newEnvelopes(BY_HAND).map((envelope) => rowsOf([envelope]));
  const result = await rate(BY_HAND, async () => {
    for (const { ledger, data } of messages) {
      const [entry = {}] = ledger;
      await database.runTransactionAsync(async (transaction) => {
        const [found] = await transaction.read('spanway_ledger', { keys: [String(entry['submission_id'])], columns: ['entry'] });
        if (found.length === 0) {
          transaction.insert('spanway_ledger', entry);
          transaction.upsert(items.table.name, [...data]);
        }
        await transaction.commit();
      });
    }
  });
  await database.close();
  return result;
}
