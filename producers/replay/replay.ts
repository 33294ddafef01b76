/**
 * A replay: records of the history, or of a file, once more. Into the queue, with their ids, where what was applied
 * changes nothing; or into another database, commit by commit as they were. It goes on behind its last checkpoint, and a
 * step that is done twice has the effect of one.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Store } from '../../ports/store/port.ts';
import type { Envelope } from '../../schemas/envelope/envelope.ts';
import type { HistoryRecord } from '../../schemas/envelope/history.ts';
import type { Verdict } from '../../schemas/envelope/ledger.ts';
import type { ResourceSet } from '../../schemas/resource/registry.ts';
import { awaitOutcomes, readEntries, verdictOn } from './attempts.ts';
import { ReplayError } from './errors.ts';
import { messageBytes, sendEnvelopes, type SenderParts } from './sender.ts';
import { REPLAY_RESULTS, type ReplayProblem, type ReplayProgress, type ReplayResult, type ReplaySpec } from './spec.ts';
import { type Step, stepsOfFile, stepsOfHistory } from './steps.ts';

export interface ReplayParts {
  readonly store: Store;
  readonly resources: ResourceSet;
  /** To the queue; needed without `into`. */
  readonly sender: SenderParts;
  /** Writes commits as they were into another database; needed with `into`. */
  readonly rebuild?: (commits: readonly (readonly HistoryRecord[])[]) => Promise<RebuildResult>;
  /** How long the outcomes of one step are waited for. */
  readonly outcomeMs: number;
}

export interface RebuildResult {
  readonly written: number;
  readonly unchanged: number;
  readonly failed: readonly { readonly record: HistoryRecord; readonly why: string }[];
}

export interface ReplayRun {
  readonly spec: ReplaySpec;
  /** Where a run before was cut off. */
  readonly from?: ReplayProgress;
  /** Called after each step; durable when it resolves. */
  readonly save: (progress: ReplayProgress) => Promise<void>;
  /** Ends the run between two steps; it throws the reason. */
  readonly signal: AbortSignal;
}

const MAX_PROBLEMS = 100;

export async function replay(parts: ReplayParts, { spec, from, save, signal }: ReplayRun): Promise<ReplayProgress> {
  let progress = from;
  const keep = async (next: ReplayProgress): Promise<ReplayProgress> => {
    await save(next);
    return next;
  };
  if (!progress) {
    const { commitTimestamp } = await parts.store.commit([], { tag: 'spanway-replay' });
    progress = await keep({ counts: {}, startedAt: commitTimestamp, problems: [] });
  }
  const began = performance.now();
  let done = 0;
  for await (const step of spec.file === undefined ? stepsOfHistory(parts, spec, progress) : stepsOfFile(spec.file, spec, progress)) {
    signal.throwIfAborted();
    let results: Results;
    if (spec.into === undefined) {
      const plan = await planStep(parts, step, progress);
      // A step that is done again has saved them.
      if (plan.waiting.length > 0 && !progress.open) progress = await keep({ ...progress, open: plan.waiting.map(({ id }) => id) });
      results = await sendStep(parts, plan);
    } else results = await rebuildStep(parts, step);
    progress = await keep(advance(progress, step, results));
    done += step.count;
    // The rate is kept over the whole run, in steps.
    const aheadMs = spec.rate === undefined ? 0 : (done / spec.rate) * 1000 - (performance.now() - began);
    if (aheadMs > 0) await sleep(aheadMs, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
  // Nothing that is meant may be left long before the end of the time that is replayed.
  return progress.fraction === 1 ? progress : keep({ ...progress, fraction: 1 });
}

interface Results {
  readonly counts: ReplayProgress['counts'];
  readonly problems: readonly ReplayProblem[];
}

/** What of a step is sent, what of it is waited for, and what is known without. */
interface SendPlan extends Results {
  readonly sending: readonly Envelope[];
  /** Of `sending`, those that had no outcome. */
  readonly waiting: readonly Envelope[];
}

async function planStep({ store, sender }: ReplayParts, { commits }: Step, { open = [] }: ReplayProgress): Promise<SendPlan> {
  const records = commits.flat();
  const entries = await readEntries(
    store,
    records.map(({ envelope }) => envelope.id),
  );
  const { maxMessageBytes } = sender.queue.capabilities;
  const plan = {
    sending: [] as Envelope[],
    waiting: [] as Envelope[],
    counts: {} as Partial<Record<ReplayResult, number>>,
    problems: [] as ReplayProblem[],
  };
  const count = (result: ReplayResult): void => void (plan.counts[result] = (plan.counts[result] ?? 0) + 1);
  const tell = (problem: ReplayProblem): void => {
    count(problem.result);
    plan.problems.push(problem);
  };
  const openIds = new Set(open);
  const seen = new Set<string>();
  for (const [i, { envelope: recorded, verdict }] of records.entries()) {
    // What an operator sent again goes as a submission like any other: its place in the order is where it was applied.
    const { redrive: _, ...data } = recorded.data;
    const envelope: Envelope = { ...recorded, data };
    const { id } = envelope;
    const entry = openIds.has(id) ? undefined : entries[i];
    const name = `${id} ${data.payloadHash}`;
    const isKnown = entry !== undefined || seen.has(name);
    if (entry && entry.payloadHash !== data.payloadHash) tell(problemOf(envelope, verdictOn(envelope, entry)));
    else if (verdict.outcome !== 'applied') count(isKnown ? 'unchanged' : 'left_out');
    else if (messageBytes(envelope) > maxMessageBytes) {
      if (isKnown) count('unchanged');
      else tell({ submissionId: id, result: 'failed', why: `the queue takes ${maxMessageBytes} bytes` });
    } else {
      plan.sending.push(envelope);
      if (isKnown) count('unchanged');
      else plan.waiting.push(envelope);
      seen.add(name);
    }
  }
  return plan;
}

async function sendStep({ store, sender, outcomeMs }: ReplayParts, { sending, waiting, counts, problems }: SendPlan): Promise<Results> {
  await sendEnvelopes(sender, sending);
  const verdicts = await awaitOutcomes(
    store,
    waiting.map((envelope) => ({ envelope })),
    { outcomeMs, signal: sender.signal },
  );
  const outcomes = waiting.map((envelope, i) => problemOf(envelope, verdicts[i]));
  const sum: Partial<Record<ReplayResult, number>> = { ...counts };
  for (const { result } of outcomes) sum[result] = (sum[result] ?? 0) + 1;
  return { counts: sum, problems: [...problems, ...outcomes.filter(({ result }) => result !== 'applied')] };
}

function problemOf({ id }: Envelope, verdict: Verdict | undefined): ReplayProblem {
  const why = [verdict?.reason, verdict?.detail].filter((part) => part !== undefined).join(': ');
  return { submissionId: id, result: verdict?.outcome ?? 'unsettled', ...(why === '' ? {} : { why }) };
}

async function rebuildStep({ rebuild }: ReplayParts, { commits }: Step): Promise<Results> {
  if (!rebuild) throw new ReplayError('no_target', 'a rebuild needs a database');
  const { written, unchanged, failed } = await rebuild(commits);
  return {
    counts: { rebuilt: written - failed.length, unchanged, failed: failed.length },
    problems: failed.map(({ record, why }) => ({ submissionId: record.envelope.id, result: 'failed', why })),
  };
}

function advance({ open: _done, ...progress }: ReplayProgress, step: Step, { counts, problems }: Results): ReplayProgress {
  const { unreadable } = step;
  const sum: Partial<Record<ReplayResult, number>> = {};
  for (const result of REPLAY_RESULTS) {
    const total = (progress.counts[result] ?? 0) + (counts[result] ?? 0) + (result === 'failed' ? unreadable.length : 0);
    if (total > 0) sum[result] = total;
  }
  return { ...progress, ...step.at, counts: sum, problems: [...progress.problems, ...unreadable, ...problems].slice(0, MAX_PROBLEMS) };
}
