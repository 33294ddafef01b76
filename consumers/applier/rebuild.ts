/**
 * A database made again out of the history of another one: each commit as it was, with its time, its outcomes and its
 * rows in one transaction, so that a rebuild that is cut off goes on where it was. Nothing is decided anew: what was
 * applied is written, under the versions it had, and what was refused is recorded.
 */
import { StoreError } from '../../ports/errors.ts';
import type { Store, StoreMutation } from '../../ports/store/port.ts';
import { COMMIT_RECORD_COLUMNS, commitRowKey, type HistoryRecord, readCommit } from '../../schemas/envelope/history.ts';
import { COMMITS, recordedMutations } from '../../schemas/envelope/ledger.ts';
import { envelopeText } from '../../schemas/envelope/pack.ts';
import type { ResourceSet } from '../../schemas/resource/registry.ts';
import { COMMIT_TIMESTAMP } from '../../schemas/resource/table.ts';
import { planWork } from './plan.ts';
import { decide, readRows } from './read-write.ts';
import type { Plan, Work } from './work.ts';

/** What became of the records of the commits. */
export interface Rebuilt {
  /** Those in `failed` too. */
  readonly written: number;
  /** They were there. */
  readonly unchanged: number;
  /** Applied in the other database, and not here: what they build on is missing, or the resource files differ. */
  readonly failed: readonly { readonly record: HistoryRecord; readonly why: string }[];
}

const OPTIONS = { tag: 'spanway-rebuild' };

/**
 * `commits` in their order, each behind all before it. Several go in one transaction, as far as `maxMutations` allows.
 * @throws StoreError (`transient`) while the database is away: then some are written, in order
 */
export async function applyRecorded(
  store: Store,
  commits: readonly (readonly HistoryRecord[])[],
  { resources, maxMutations }: { readonly resources: ResourceSet; readonly maxMutations: number },
): Promise<Rebuilt> {
  let total: Rebuilt = { written: 0, unchanged: 0, failed: [] };
  const run = async (some: readonly RecordedCommit[]): Promise<void> => {
    const { written, unchanged, failed } = await applyOrSplit(store, some);
    total = { written: total.written + written, unchanged: total.unchanged + unchanged, failed: [...total.failed, ...failed] };
  };
  let gathered: RecordedCommit[] = [];
  let cost = 0;
  for (const records of commits) {
    const commit = plan(records, resources);
    if (gathered.length > 0 && cost + commit.cost > maxMutations) {
      await run(gathered);
      [gathered, cost] = [[], 0];
    }
    gathered.push(commit);
    cost += commit.cost;
  }
  if (gathered.length > 0) await run(gathered);
  return total;
}

interface RecordedCommit {
  readonly records: readonly HistoryRecord[];
  readonly works: readonly Work[];
  readonly cost: number;
}

function plan(records: readonly HistoryRecord[], resources: ResourceSet): RecordedCommit {
  const works = records.map((record) => {
    const work = planWork(record.envelope, envelopeText(record.envelope), resources);
    return { ...work, plan: record.verdict.outcome === 'applied' ? asItWas(work.plan, record.committedAt) : { verdict: record.verdict } };
  });
  return { records, works, cost: works.reduce((sum, work) => sum + work.cost, 0) };
}

/** Without its condition, which held then, and with the version that it made. */
function asItWas(plan: Plan, committedAt: string): Plan {
  if ('verdict' in plan) return plan;
  return {
    writes: plan.writes.map(({ ifMatch: _held, mutation, ...write }) => ({
      ...write,
      mutation:
        mutation.op === 'delete'
          ? mutation
          : { ...mutation, values: mutation.values.map((cell) => (cell === COMMIT_TIMESTAMP ? committedAt : cell)) },
    })),
  };
}

/** One commit that the database refuses stops nothing: it is left out, and each of its records is told. */
async function applyOrSplit(store: Store, commits: readonly RecordedCommit[]): Promise<Rebuilt> {
  try {
    return await applyRun(store, commits);
  } catch (error) {
    if (!(error instanceof StoreError) || error.failure === 'transient') throw error;
    const [{ records } = { records: [] }] = commits;
    if (commits.length === 1) {
      const failed = records.map((record) => ({ record, why: `its commit is refused: ${error.message}` }));
      return { written: records.length, unchanged: 0, failed };
    }
    let total: Rebuilt = { written: 0, unchanged: 0, failed: [] };
    for (const commit of commits) {
      const { written, unchanged, failed } = await applyOrSplit(store, [commit]);
      total = { written: total.written + written, unchanged: total.unchanged + unchanged, failed: [...total.failed, ...failed] };
    }
    return total;
  }
}

async function applyRun(store: Store, commits: readonly RecordedCommit[]): Promise<Rebuilt> {
  const isPlain = commits.every(({ works }) =>
    works.every(({ plan }) => 'verdict' in plan || plan.writes.every((write) => write.merge.length === 0)),
  );
  if (isPlain) {
    try {
      await store.commit(commits.flatMap(blindMutations), OPTIONS);
      return { written: commits.reduce((sum, { records }) => sum + records.length, 0), unchanged: 0, failed: failuresOf(commits) };
    } catch (error) {
      if (!(error instanceof StoreError) || (error.failure !== 'already_exists' && error.failure !== 'not_found')) throw error;
    }
  }
  const { value } = await store.readWrite(OPTIONS, async (transaction) => {
    const there = await transaction.read(
      COMMITS,
      commits.map(({ records }) => commitRowKey(records[0] as HistoryRecord)),
      COMMIT_RECORD_COLUMNS,
    );
    // Of a commit that is here, what a rebuild of others has left out may be missing.
    const fresh = commits.flatMap((commit, i) => {
      const before = there[i] ? readCommit(commit.records[0] as HistoryRecord, there[i]) : [];
      const missing = without(commit, new Set(before.map(({ envelope }) => envelope.id)));
      return missing.records.length > 0 ? [{ commit: missing, before }] : [];
    });
    const rows = await readRows(
      transaction,
      fresh.flatMap(({ commit }) => commit.works),
    );
    const failed: { record: HistoryRecord; why: string }[] = [];
    for (const { commit, before } of fresh) {
      transaction.write(ledgerOf(commit, before));
      commit.works.forEach((work, i) => {
        const { verdict, mutations } = decide(work, rows);
        transaction.write(mutations);
        const record = commit.records[i] as HistoryRecord;
        if (record.verdict.outcome === 'applied' && verdict.outcome !== 'applied')
          failed.push({ record, why: `${verdict.reason ?? ''}: ${verdict.detail ?? ''}` });
      });
    }
    const written = fresh.reduce((sum, { commit }) => sum + commit.records.length, 0);
    const unchanged = commits.reduce((sum, { records }) => sum + records.length, 0) - written;
    return { written, unchanged, failed };
  });
  return value;
}

function blindMutations(commit: RecordedCommit): StoreMutation[] {
  const data = commit.works.flatMap(({ plan }) => ('writes' in plan ? plan.writes.map((write) => write.mutation) : []));
  return [...ledgerOf(commit), ...data];
}

function ledgerOf({ records, works }: RecordedCommit, before: readonly HistoryRecord[] = []): StoreMutation[] {
  const writes = records.map(({ envelope, verdict }, i) => ({ envelope, verdict, text: (works[i] as Work).text }));
  return recordedMutations(
    records[0] as HistoryRecord,
    writes,
    before.map(({ envelope, verdict }) => ({ envelope, verdict, text: envelopeText(envelope) })),
  );
}

function without({ records, works, cost }: RecordedCommit, ids: ReadonlySet<string>): RecordedCommit {
  const isLeft = records.map(({ envelope }) => !ids.has(envelope.id));
  return { records: records.filter((_, i) => isLeft[i]), works: works.filter((_, i) => isLeft[i]), cost };
}

/** Applied then, and these resource files cannot say how. */
function failuresOf(commits: readonly RecordedCommit[]): Rebuilt['failed'] {
  return commits.flatMap(({ records, works }) =>
    records.flatMap((record, i) => {
      const plan = works[i]?.plan;
      return record.verdict.outcome === 'applied' && plan && 'verdict' in plan
        ? [{ record, why: `${plan.verdict.reason ?? ''}: ${plan.verdict.detail ?? ''}` }]
        : [];
    }),
  );
}
