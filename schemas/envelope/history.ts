/** The history as it is read back: what each commit made of its submissions, in the order of time. */
import type { Cell } from '../resource/table.ts';
import type { Envelope, HistoryPlace } from './envelope.ts';
import type { Verdict } from './ledger.ts';
import { type Carried, carriedOf } from './pack.ts';

/** The values of `time_shard`: hexadecimal digits. */
export const TIME_SHARDS: readonly string[] = Array.from({ length: 16 }, (_, i) => i.toString(16));

/** The key of a row of COMMITS. */
export interface CommitKey {
  readonly committedAt: string;
  /** The id of its first submission. */
  readonly commit: string;
}

/** One submission, and what one commit made of it. */
export interface HistoryRecord extends CommitKey {
  readonly position: number;
  readonly envelope: Envelope;
  readonly verdict: Verdict;
  /** Of the pack that brought it, as far as it is known. */
  readonly carried?: Carried;
}

export function commitRowKey({ commit, committedAt }: CommitKey): readonly Cell[] {
  return [commit.slice(0, 1), committedAt, commit];
}

/** What `readCommit` reads of a row of COMMITS. */
export const COMMIT_RECORD_COLUMNS = ['envelopes', 'refusals', 'carried'] as const;

/** From the cells of COMMIT_RECORD_COLUMNS. */
export function readCommit(key: CommitKey, [envelopes, refusals, carried]: readonly Cell[]): HistoryRecord[] {
  const packs = readCarried(carried ?? null);
  const refused = new Map(readRefusals(refusals ?? null).map(({ position, ...verdict }) => [position, verdict]));
  let pack: Carried | undefined;
  return (JSON.parse(envelopes as string) as Envelope[]).map((envelope, position) => {
    pack = packs.get(position) ?? pack;
    const verdict = refused.get(position) ?? { outcome: 'applied' };
    return { ...key, position, envelope, verdict, ...(pack ? { carried: pack } : {}) };
  });
}

/** From the cell of `carried`: each pack by the place of its first envelope. */
function readCarried(cell: Cell): ReadonlyMap<number, Carried> {
  const packs = cell === null ? [] : (JSON.parse(cell as string) as [number, string | null, string | null][]);
  return new Map(packs.map(([position, queuedAt, bridgedAt]) => [position, carriedOf(queuedAt ?? undefined, bridgedAt ?? undefined)]));
}

/** From the cell of `refusals`: the places of what did not apply. */
function readRefusals(cell: Cell): readonly (Verdict & { readonly position: number })[] {
  return cell === null ? [] : (JSON.parse(cell as string) as (Verdict & { position: number })[]);
}

/** Where a submission stands among those of its aggregate: a redrive keeps the place that it first had. */
export function placeOf({ committedAt, position, envelope }: Pick<HistoryRecord, 'committedAt' | 'position' | 'envelope'>): HistoryPlace {
  return envelope.data.redrive?.first ?? { committedAt, position };
}

/** Below 0 where `a` comes first, 0 at the same place. Within one aggregate, commits have times of their own. */
export function comparePlaces(a: HistoryPlace, b: HistoryPlace): number {
  return compareInstants(a.committedAt, b.committedAt) || a.position - b.position;
}

/** RFC 3339 in UTC, with as many digits as each has. */
export function compareInstants(a: string, b: string): number {
  const [left, right] = [a.slice(0, -1), b.slice(0, -1)];
  return left < right ? -1 : left > right ? 1 : 0;
}

/** From `from` on and before `to`, which have no zeros at the end of a second's digits; each where it is given. */
export function isWithin(at: string, { from, to }: { readonly from?: string; readonly to?: string }): boolean {
  return (from === undefined || compareInstants(at, from) >= 0) && (to === undefined || compareInstants(at, to) < 0);
}
