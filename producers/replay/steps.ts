/** The records of a replay in steps, from behind its last checkpoint: what is worked on and saved at once. */
import type { Store } from '../../ports/store/port.ts';
import { type CommitKey, compareInstants, type HistoryRecord } from '../../schemas/envelope/history.ts';
import type { ResourceSet } from '../../schemas/resource/registry.ts';
import { ReplayError } from './errors.ts';
import { readLines } from './file.ts';
import { lastCommitBefore, readHistory } from './history.ts';
import { isSelected, rangeOf } from './select.ts';
import type { ReplayProblem, ReplayProgress, ReplaySpec } from './spec.ts';

const STEP_RECORDS = 500;
/** Commits of a step, though nothing in them is meant: so a long search is checkpointed, and can be paused, too. */
const STEP_COMMITS = 500;

/** The records that are meant, commit by commit; whole commits. */
export interface Step {
  readonly commits: readonly (readonly HistoryRecord[])[];
  readonly count: number;
  readonly at: Pick<ReplayProgress, 'after' | 'lines' | 'fraction' | 'firstAt'>;
  /** Lines that are none of an export. */
  readonly unreadable: readonly ReplayProblem[];
}

/** Records of one step: at most a second's worth, but a commit goes whole. */
function stepRecords({ rate = STEP_RECORDS }: ReplaySpec): number {
  return Math.min(STEP_RECORDS, Math.ceil(rate));
}

export async function* stepsOfHistory(
  { store, resources }: { readonly store: Store; readonly resources: ResourceSet },
  spec: ReplaySpec,
  progress: ReplayProgress,
): AsyncGenerator<Step> {
  const { selection } = spec;
  const { after, startedAt } = progress;
  const to = selection.to !== undefined && compareInstants(selection.to, startedAt) < 0 ? selection.to : startedAt;
  const lastAt = (await lastCommitBefore(store, to)) ?? to;
  let firstAt = progress.firstAt;
  let commits: (readonly HistoryRecord[])[] = [];
  let [count, looked] = [0, 0];
  let last: CommitKey | undefined;
  const step = (): Step => {
    const { committedAt, commit } = last as CommitKey;
    const first = Date.parse(firstAt ?? committedAt);
    const spanMs = Date.parse(lastAt) - first;
    const fraction = spanMs > 0 ? Math.min(1, (Date.parse(committedAt) - first) / spanMs) : 1;
    return { commits, count, at: { after: { committedAt, commit }, fraction, firstAt: firstAt ?? committedAt }, unreadable: [] };
  };
  for await (const records of readHistory(store, { ...rangeOf(selection, resources), ...(after ? { after } : {}), to })) {
    last = records[0] ?? last;
    firstAt ??= records[0]?.committedAt;
    const meant = records.filter((record) => isSelected(record, selection));
    if (meant.length > 0) commits.push(meant);
    count += meant.length;
    looked += 1;
    if (count < stepRecords(spec) && looked < STEP_COMMITS) continue;
    yield step();
    [commits, count, looked] = [[], 0, 0];
  }
  if (looked > 0) yield step();
}

/** A file has no commits of its own: its lines go in their order. */
export async function* stepsOfFile(path: string, spec: ReplaySpec, { lines = 0 }: ReplayProgress): AsyncGenerator<Step> {
  let commits: HistoryRecord[][] = [];
  let unreadable: ReplayProblem[] = [];
  let count = 0;
  let done = lines;
  for await (const { line, record } of readLines(path, { needsCommit: spec.into !== undefined })) {
    if (line <= lines) continue;
    if (record instanceof ReplayError) unreadable.push({ submissionId: `line ${line}`, result: 'failed', why: record.message });
    else if (isSelected(record, spec.selection)) {
      const open = commits.at(-1);
      if (open?.[0] && isSameCommit(open[0], record)) open.push(record);
      else {
        if (count >= stepRecords(spec)) {
          yield { commits, count, at: { lines: done }, unreadable };
          [commits, count, unreadable] = [[], 0, []];
        }
        commits.push([record]);
      }
      count += 1;
    }
    done = line;
  }
  yield { commits, count, at: { lines: done, fraction: 1 }, unreadable };
}

function isSameCommit(a: CommitKey, b: CommitKey): boolean {
  return a.committedAt !== '' && a.committedAt === b.committedAt && a.commit === b.commit;
}
