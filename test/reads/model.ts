/** What reads may show: every row as it was at each moment, and what each read's consistency allows of that. Pure. */
import { versionOf } from '../../schemas/resource/row-cache.ts';

/** What a row holds, as far as the model looks: a number that no other write has. Undefined: there is no row. */
export type Held = number | undefined;

/** A submission that was applied. */
export interface Written {
  /** By their names; what each holds from then on. */
  readonly rows: ReadonlyMap<string, Held>;
  readonly commitTimestamp: string;
}

/** A commit of the applier, and when it was told of it: before anybody else. */
export interface Commit {
  readonly commitTimestamp: string;
  /** On the clock of `Reading.beganMs`. */
  readonly answeredMs: number;
}

/** An answer to a read. */
export interface Reading {
  /** The request, to read by. */
  readonly request: string;
  readonly beganMs: number;
  /** Commits that were answered less than this before may be missing; 0: none that was answered may. */
  readonly maxStalenessMs: number;
  /** The submission that it comes after. */
  readonly after: Promise<Written> | undefined;
  readonly readTimestamp: string;
  /** What the answer shows of each row that it is about, by their names. */
  readonly shown: ReadonlyMap<string, Held>;
  /** What it should show of a row that holds this. */
  readonly shows: (held: Held) => Held;
}

/** The gateway counts in whole milliseconds, once when a row is read and once when it is given. */
const ROUNDING_MS = 2;

/** Sentences: what no consistency allows. `writes`: of one row in the order in which they were accepted. */
export async function violationsOf(
  writes: readonly Written[],
  commits: readonly Commit[],
  readings: readonly Reading[],
): Promise<string[]> {
  const histories = historiesOf(writes);
  const answered = [...commits].sort((a, b) => a.answeredMs - b.answeredMs);
  /** By how many of `answered` there are: the newest of those. */
  const newest = [0];
  for (const { commitTimestamp } of answered) newest.push(Math.max(newest.at(-1) ?? 0, versionOf(commitTimestamp)));
  const violations: string[] = [];
  for (const { request, beganMs, maxStalenessMs, after, readTimestamp, shown, shows } of readings) {
    const readAt = versionOf(readTimestamp);
    const tell = (what: string): void => void violations.push(`${request} at ${beganMs.toFixed(1)}, read at ${readTimestamp}: ${what}`);
    const limitMs = beganMs - (maxStalenessMs === 0 ? 0 : maxStalenessMs + ROUNDING_MS);
    const seen = newest[countBefore(answered, limitMs)] ?? 0;
    if (readAt < seen) tell(`${seen - readAt} µs older than a commit that had been answered and had to be seen`);
    if (after && readAt < versionOf((await after).commitTimestamp)) tell(`before the submission it comes after`);
    for (const [row, is] of shown) {
      const history = histories.get(row) ?? [];
      const should = shows(history.findLast(({ micros }) => micros <= readAt)?.held);
      if (is !== should) tell(`${row} holds ${is ?? 'nothing'}; at that moment it held ${should ?? 'nothing'}`);
    }
  }
  return violations;
}

interface Moment {
  readonly micros: number;
  readonly held: Held;
}

function historiesOf(writes: readonly Written[]): ReadonlyMap<string, readonly Moment[]> {
  const histories = new Map<string, Moment[]>();
  for (const { rows, commitTimestamp } of writes) {
    for (const [row, held] of rows) {
      const history = histories.get(row) ?? [];
      history.push({ micros: versionOf(commitTimestamp), held });
      histories.set(row, history);
    }
  }
  return histories;
}

/** How many of them were answered before. */
function countBefore(answered: readonly Commit[], ms: number): number {
  let [low, high] = [0, answered.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((answered[middle]?.answeredMs ?? Infinity) < ms) low = middle + 1;
    else high = middle;
  }
  return low;
}
