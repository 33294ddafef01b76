/** What a replay is told to do, and what it tells of itself: both JSON, kept with its job. */
import type { CommitKey } from '../../schemas/envelope/history.ts';
import type { Selection } from './select.ts';

export interface ReplaySpec {
  readonly selection: Selection;
  /** JSON lines as `spanway export` writes them, where the worker runs; in place of the ledger. */
  readonly file?: string;
  /** URL of the database to rebuild into; in place of the queue. */
  readonly into?: string;
  /** Records a second at most. */
  readonly rate?: number;
  readonly by: string;
}

/**
 * What is counted. `unchanged`: it had its outcome. `left_out`: it was not applied there, and has no outcome here; sending
 * such a one is an operator's decision. `unsettled`: its outcome did not come in time; it is on its way.
 */
export const REPLAY_RESULTS = ['applied', 'rejected', 'dead_lettered', 'unchanged', 'left_out', 'unsettled', 'rebuilt', 'failed'] as const;
export type ReplayResult = (typeof REPLAY_RESULTS)[number];

/** A checkpoint, and what is shown of a running replay. JSON. */
export interface ReplayProgress {
  readonly counts: Readonly<Partial<Record<ReplayResult, number>>>;
  /** Commit timestamp when it began, whichever worker did: what was applied since is none of it. */
  readonly startedAt: string;
  /** Commit timestamp of the first record, from which `fraction` counts. */
  readonly firstAt?: string;
  /** Ids that had no outcome when the step under way began, so that a step done again counts them as the first time. */
  readonly open?: readonly string[];
  /** The last commit that is done. */
  readonly after?: CommitKey;
  /** Lines of the file that are done. */
  readonly lines?: number;
  /** 0 to 1, of the time that is replayed; absent where it is not known. */
  readonly fraction?: number;
  /** Of the first ones that were not applied. */
  readonly problems: readonly ReplayProblem[];
}

export interface ReplayProblem {
  readonly submissionId: string;
  readonly result: ReplayResult;
  readonly why?: string;
}
