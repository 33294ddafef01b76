/**
 * What an operator sends again. It may take the place of the one outcome that it names, if that is none of `applied`,
 * and it is not written over what its aggregate has applied since, unless it says so.
 */
import type { StoreTransaction } from '../../ports/store/port.ts';
import type { HistoryPlace, Redrive, Submission } from '../../schemas/envelope/envelope.ts';
import {
  COMMIT_RECORD_COLUMNS,
  compareInstants,
  comparePlaces,
  type HistoryRecord,
  placeOf,
  readCommit,
  TIME_SHARDS,
} from '../../schemas/envelope/history.ts';
import { COMMITS, type CommittedEntry, type Verdict } from '../../schemas/envelope/ledger.ts';
import type { Cell } from '../../schemas/resource/table.ts';
import type { Work } from './work.ts';

/** Whether the outcome that the ledger has gives way. A delivery that comes again names one that is there no more. */
export function mayReplace(before: CommittedEntry, { redrive, payloadHash }: Submission): boolean {
  return (
    before.outcome !== 'applied' &&
    before.payloadHash === payloadHash &&
    before.commit === redrive?.replaces?.commit &&
    before.committedAt === redrive.replaces.committedAt
  );
}

interface Applied {
  readonly submissionId: string;
  readonly place: HistoryPlace | 'now';
}

const PAGE_ROWS = 100;

/** By aggregate, the newest that was applied since the redrives of a batch were prepared. */
export class NewerApplied {
  readonly #newest = new Map<string, Applied>();

  private constructor() {}

  /**
   * Who prepared a redrive has looked through history up to `lookedTo`; here the few commits since are read, in the
   * transaction, so that none can come between.
   */
  static async read(transaction: StoreTransaction, works: readonly Work[]): Promise<NewerApplied> {
    const newer = new NewerApplied();
    const guarded = works.filter((work) => guardOf(work) !== undefined);
    const aggregates = new Set(guarded.map((work) => work.envelope.data.aggregate));
    const [from] = guarded.flatMap((work) => guardOf(work)?.lookedTo ?? []).sort(compareInstants);
    if (from === undefined) return newer;
    for (const shard of TIME_SHARDS) {
      for await (const record of readSince(transaction, shard, from, aggregates)) newer.#note(record);
    }
    return newer;
  }

  #note(record: HistoryRecord): void {
    if (record.verdict.outcome !== 'applied') return;
    const { id, data } = record.envelope;
    const place = placeOf(record);
    const known = this.#newest.get(data.aggregate)?.place;
    if (known === undefined || (known !== 'now' && comparePlaces(place, known) > 0))
      this.#newest.set(data.aggregate, { submissionId: id, place });
  }

  /** It applies in this batch, so it is newer than what stood in history before. */
  add({ envelope: { id, data } }: Work): void {
    const { first } = data.redrive ?? {};
    const known = this.#newest.get(data.aggregate)?.place;
    if (!first) this.#newest.set(data.aggregate, { submissionId: id, place: 'now' });
    else if (known === undefined || (known !== 'now' && comparePlaces(first, known) > 0))
      this.#newest.set(data.aggregate, { submissionId: id, place: first });
  }

  /** Why a redrive is not applied; undefined where nothing newer is known. */
  refusalOf(work: Work): Verdict | undefined {
    const guard = guardOf(work);
    const newest = guard && this.#newest.get(work.envelope.data.aggregate);
    if (!newest || (newest.place !== 'now' && comparePlaces(newest.place, guard.first) <= 0)) return undefined;
    return { outcome: 'dead_lettered', reason: 'newer_applied', detail: `its aggregate has applied ${newest.submissionId} since` };
  }
}

function guardOf({ envelope }: Work): Redrive | undefined {
  const { redrive } = envelope.data;
  return redrive && !redrive.overNewer ? redrive : undefined;
}

async function* readSince(
  transaction: StoreTransaction,
  shard: string,
  from: string,
  aggregates: ReadonlySet<string>,
): AsyncGenerator<HistoryRecord> {
  let after: readonly Cell[] | undefined;
  for (;;) {
    const range = { prefix: [shard], ...(after ? { after } : { from: [shard, from] }), limit: PAGE_ROWS };
    const rows = await transaction.scan(COMMITS, range, ['committed_at', 'first_submission_id', 'aggregates']);
    const keys = rows.flatMap(([committedAt, commit, named]) =>
      (named as readonly string[]).some((aggregate) => aggregates.has(aggregate))
        ? [{ committedAt: committedAt as string, commit: commit as string }]
        : [],
    );
    const commits = await transaction.read(
      COMMITS,
      keys.map(({ committedAt, commit }) => [shard, committedAt, commit]),
      COMMIT_RECORD_COLUMNS,
    );
    for (const [i, key] of keys.entries()) {
      const records = commits[i] ? readCommit(key, commits[i]) : [];
      yield* records.filter(({ envelope }) => aggregates.has(envelope.data.aggregate));
    }
    const last = rows.at(-1);
    if (!last || rows.length < PAGE_ROWS) return;
    after = [shard, ...last.slice(0, 2)];
  }
}
