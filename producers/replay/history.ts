/**
 * The history of commits, in the order of time. It lies in sixteen ranges of the key: small columns of each are read
 * page by page and merged, and only the commits that are wanted are read whole, a few at a time. So memory is the
 * same however long the history is.
 */
import type { Store } from '../../ports/store/port.ts';
import { COMMITS } from '../../schemas/envelope/ledger.ts';
import {
  COMMIT_RECORD_COLUMNS,
  type CommitKey,
  commitRowKey,
  compareInstants,
  type HistoryRecord,
  readCommit,
  TIME_SHARDS,
} from '../../schemas/envelope/history.ts';
import { correlationMark } from '../../schemas/envelope/ids.ts';
import { scanPages } from './scan.ts';

export interface HistoryRange {
  /** Commits from this time on, RFC 3339 in UTC; absent: from the first. */
  readonly from?: string;
  /** Commits before this time; absent: to the last. */
  readonly to?: string;
  /** Only commits behind this one, the last of a reading before, in time and the order of keys. */
  readonly after?: CommitKey;
  /** Only commits that hold something of one of these aggregates. */
  readonly aggregates?: ReadonlySet<string>;
  /** Only commits that may hold something of this correlation id. */
  readonly correlationId?: string;
  /** Only commits that refused something. */
  readonly refused?: boolean;
  /** Commits read whole at once: more are quicker, and hold up what else the thread does for longer. */
  readonly wholeRows?: number;
}

/** Keys read at once of each range. */
const PAGE_ROWS = 200;
/** Commits read whole at once, unless a reading says otherwise: a commit's envelopes are at most some MB, see SPANWAY_APPLY_BATCH_BYTES. */
const WHOLE_ROWS = 16;

/** Commits with all their records, those too that are of other aggregates or were not refused. */
export function readHistory(store: Store, range: HistoryRange): AsyncGenerator<readonly HistoryRecord[]> {
  return readWhole(store, range, (keys) => readCommits(store, keys));
}

/** Commits in the order of time, a few at a time, each as `read` makes it of its key. */
export async function* readWhole<Commit>(
  store: Store,
  range: HistoryRange,
  read: (keys: readonly CommitKey[]) => Promise<readonly Commit[]>,
): AsyncGenerator<Commit> {
  let wanted: CommitKey[] = [];
  // One batch is on its way while the one before is worked on.
  let underWay: Promise<readonly Commit[]> = Promise.resolve([]);
  const next = (): Promise<readonly Commit[]> => {
    const reading = read(wanted);
    // Heard of when it is awaited: until then a failure is nobody's.
    reading.catch(() => undefined);
    wanted = [];
    return reading;
  };
  for await (const key of readCommitKeys(store, range)) {
    wanted.push(key);
    if (wanted.length < (range.wholeRows ?? WHOLE_ROWS)) continue;
    const ready = await underWay;
    underWay = next();
    yield* ready;
  }
  yield* await underWay;
  yield* await next();
}

/** The commits of these keys, in their order; one that its age limit has removed is left out. */
export async function readCommits(store: Store, keys: readonly CommitKey[]): Promise<(readonly HistoryRecord[])[]> {
  if (keys.length === 0) return [];
  const rows = await store.read(COMMITS, keys.map(commitRowKey), COMMIT_RECORD_COLUMNS);
  return keys.flatMap((key, i) => (rows[i] ? [readCommit(key, rows[i])] : []));
}

/** Single records, in the order in which they are named. */
export async function readRecords(store: Store, wanted: readonly (CommitKey & { readonly position: number })[]): Promise<HistoryRecord[]> {
  const found = new Map<string, HistoryRecord>();
  const nameOf = ({ commit, committedAt, position }: (typeof wanted)[number]): string => `${committedAt} ${commit} ${position}`;
  const names = new Set(wanted.map(nameOf));
  const keys = [...new Map(wanted.map(({ commit, committedAt }) => [`${committedAt} ${commit}`, { commit, committedAt }])).values()];
  for (let at = 0; at < keys.length; at += WHOLE_ROWS) {
    for (const records of await readCommits(store, keys.slice(at, at + WHOLE_ROWS)))
      for (const record of records) if (names.has(nameOf(record))) found.set(nameOf(record), record);
  }
  return wanted.flatMap((one) => found.get(nameOf(one)) ?? []);
}

/** When the last commit before this time was; undefined where there is none. */
export async function lastCommitBefore(store: Store, to: string): Promise<string | undefined> {
  const ofShards = await Promise.all(
    TIME_SHARDS.map(async (shard) => {
      const upper = { cell: to, inclusive: false };
      const range = { table: COMMITS, columns: ['committed_at'], prefix: [shard], upper, descending: true, limit: 1, children: [] };
      const { rows } = await store.readRange(range, { freshness: 'strong' });
      return rows.map(({ cells }) => cells[0] as string);
    }),
  );
  return ofShards.flat().sort(compareInstants).at(-1);
}

/** The keys of commits, oldest first. */
async function* readCommitKeys(store: Store, range: HistoryRange): AsyncGenerator<CommitKey> {
  const heads = await Promise.all(
    TIME_SHARDS.map(async (shard) => {
      const rows = readShard(store, shard, range);
      return { rows, head: await rows.next() };
    }),
  );
  for (;;) {
    let first: (typeof heads)[number] | undefined;
    for (const candidate of heads) {
      if (candidate.head.done) continue;
      if (!first || compareKeys(candidate.head.value, first.head.value as CommitKey) < 0) first = candidate;
    }
    if (!first) return;
    yield first.head.value as CommitKey;
    first.head = await first.rows.next();
  }
}

async function* readShard(store: Store, shard: string, range: HistoryRange): AsyncGenerator<CommitKey, undefined> {
  const { aggregates, correlationId, refused = false } = range;
  const mark = correlationId === undefined ? undefined : correlationMark(correlationId);
  const columns = [
    ...(aggregates === undefined ? [] : ['aggregates']),
    ...(mark === undefined ? [] : ['correlations']),
    ...(refused ? ['refusals'] : []),
  ];
  const from = range.after?.committedAt ?? range.from;
  const wanted = {
    prefix: [shard],
    ...(from === undefined ? {} : { from: [shard, from] }),
    ...(range.to === undefined ? {} : { before: [shard, range.to] }),
    limit: PAGE_ROWS,
  };
  for await (const rows of scanPages(store, COMMITS, wanted, columns)) {
    for (const [, committedAt, commit, ...rest] of rows) {
      const key = { committedAt: committedAt as string, commit: commit as string };
      if (range.after && compareKeys(key, range.after) <= 0) continue;
      if (aggregates && !(rest[0] as readonly string[]).some((aggregate) => aggregates.has(aggregate))) continue;
      // Of a commit from before the marks were, it takes a look.
      const marks = mark === undefined ? null : (rest[aggregates ? 1 : 0] as readonly string[] | null);
      if (mark !== undefined && marks?.includes(mark) === false) continue;
      if (refused && rest.at(-1) === null) continue;
      yield key;
    }
  }
  return undefined;
}

function compareKeys(a: CommitKey, b: CommitKey): number {
  return compareInstants(a.committedAt, b.committedAt) || (a.commit < b.commit ? -1 : a.commit > b.commit ? 1 : 0);
}
