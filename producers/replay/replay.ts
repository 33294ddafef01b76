/**
 * A replay: records of the history, or of a file, once more. Into the queue, with their ids, where what was applied
 * changes nothing; or into another database, commit by commit as they were. It goes on behind its last checkpoint, and a
 * step that is done twice has the effect of one.
 */
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Store } from '../../ports/store/port.ts';
import { checkEnvelope, type Envelope } from '../../schemas/envelope/envelope.ts';
import type { CommitKey, HistoryRecord } from '../../schemas/envelope/history.ts';
import type { CommittedEntry } from '../../schemas/envelope/ledger.ts';
import type { ResourceSet } from '../../schemas/resource/registry.ts';
import { readEntries } from './attempts.ts';
import { ReplayError } from './errors.ts';
import { readHistory } from './history.ts';
import { isSelected, selectedAggregate, type Selection } from './select.ts';
import { messageBytes, sendEnvelopes, type SenderParts } from './sender.ts';

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

/** What is counted. `unchanged`: it had its outcome. `unsettled`: its outcome did not come in time; it is on its way. */
export const REPLAY_RESULTS = ['applied', 'rejected', 'dead_lettered', 'unchanged', 'unsettled', 'rebuilt', 'failed'] as const;
export type ReplayResult = (typeof REPLAY_RESULTS)[number];

/** A checkpoint, and what is shown of a running replay. JSON. */
export interface ReplayProgress {
  readonly counts: Readonly<Partial<Record<ReplayResult, number>>>;
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

export const NO_PROGRESS: ReplayProgress = { counts: {}, problems: [] };

const STEP_RECORDS = 500;
const MAX_PROBLEMS = 100;
const FIRST_LOOK_MS = 10;
const LONGEST_LOOK_MS = 500;

export async function replay(parts: ReplayParts, { spec, from, save, signal }: ReplayRun): Promise<ReplayProgress> {
  let progress = from ?? NO_PROGRESS;
  const began = performance.now();
  let done = 0;
  for await (const step of spec.file === undefined ? stepsOfHistory(parts, spec, progress) : stepsOfFile(spec.file, spec, progress)) {
    signal.throwIfAborted();
    const problems = await (spec.into === undefined ? sendStep(parts, step) : rebuildStep(parts, step));
    progress = advance(progress, step, problems);
    await save(progress);
    done += step.count;
    // The rate is kept over the whole run, in steps.
    const aheadMs = spec.rate === undefined ? 0 : (done / spec.rate) * 1000 - (performance.now() - began);
    if (aheadMs > 0) await sleep(aheadMs, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
  return progress;
}

/** The records that are meant, commit by commit; whole commits. */
interface Step {
  readonly commits: readonly (readonly HistoryRecord[])[];
  readonly envelopes: readonly Envelope[];
  readonly count: number;
  readonly at: Pick<ReplayProgress, 'after' | 'lines' | 'fraction'>;
  /** Lines that are none of an export. */
  readonly unreadable: readonly ReplayProblem[];
}

interface Results {
  readonly counts: ReplayProgress['counts'];
  readonly problems: readonly ReplayProblem[];
}

async function* stepsOfHistory(
  { store, resources }: ReplayParts,
  { selection }: ReplaySpec,
  { after }: ReplayProgress,
): AsyncGenerator<Step> {
  // What is applied while the replay runs is none of it.
  const to = selection.to ?? (await store.commit([], { tag: 'spanway-replay' })).commitTimestamp;
  const aggregate = selectedAggregate(selection, resources);
  const range = {
    ...(selection.from === undefined ? {} : { from: selection.from }),
    ...(after ? { after } : {}),
    ...(aggregate === undefined ? {} : { aggregates: new Set([aggregate]) }),
    to,
  };
  let began = selection.from;
  let commits: (readonly HistoryRecord[])[] = [];
  let count = 0;
  let last: CommitKey | undefined;
  const step = (): Step => {
    const key = last as CommitKey;
    const spanMs = Date.parse(to) - Date.parse(began ?? to);
    const fraction = spanMs > 0 ? Math.min(1, Math.max(0, (Date.parse(key.committedAt) - Date.parse(began ?? to)) / spanMs)) : 1;
    const { committedAt, commit } = key;
    const envelopes = commits.flat().map(({ envelope }) => envelope);
    return { commits, envelopes, count, at: { after: { committedAt, commit }, fraction }, unreadable: [] };
  };
  for await (const records of readHistory(store, range)) {
    last = records[0] ?? last;
    began ??= records[0]?.committedAt;
    const meant = records.filter((record) => isSelected(record, selection));
    if (meant.length > 0) commits.push(meant);
    count += meant.length;
    if (count < STEP_RECORDS) continue;
    yield step();
    [commits, count] = [[], 0];
  }
  if (last) yield step();
}

/** A file has no commits of its own: its lines go in their order. */
async function* stepsOfFile(path: string, { selection, into }: ReplaySpec, { lines = 0 }: ReplayProgress): AsyncGenerator<Step> {
  let commits: HistoryRecord[][] = [];
  let unreadable: ReplayProblem[] = [];
  let count = 0;
  let line = 0;
  for await (const text of createInterface({ input: createReadStream(path), crlfDelay: Infinity })) {
    line += 1;
    if (line <= lines || text.trim() === '') continue;
    const record = parseLine(path, line, text, into !== undefined);
    if (record instanceof ReplayError) {
      unreadable.push({ submissionId: `line ${line}`, result: 'failed', why: record.message });
      continue;
    }
    if (!isSelected(record, selection)) continue;
    const open = commits.at(-1)?.[0];
    if (open && open.commit === record.commit && open.committedAt === record.committedAt && record.committedAt !== '')
      commits.at(-1)?.push(record);
    else {
      if (count >= STEP_RECORDS) {
        yield { commits, envelopes: commits.flat().map(({ envelope }) => envelope), count, at: { lines: line - 1 }, unreadable };
        [commits, count, unreadable] = [[], 0, []];
      }
      commits.push([record]);
    }
    count += 1;
  }
  yield { commits, envelopes: commits.flat().map(({ envelope }) => envelope), count, at: { lines: line, fraction: 1 }, unreadable };
}

/** A line of an export; or an envelope alone, which no commit is known of. */
export function parseLine(path: string, line: number, text: string, needsCommit: boolean): HistoryRecord | ReplayError {
  try {
    const value = JSON.parse(text) as Partial<HistoryRecord> & { readonly specversion?: string };
    const isBare = value.specversion !== undefined;
    const envelope = checkEnvelope(isBare ? value : value.envelope);
    const { committedAt = '', commit = '', position = 0, verdict = { outcome: 'applied' } } = isBare ? {} : value;
    if (needsCommit && (committedAt === '' || commit === ''))
      return new ReplayError('not_an_export', `${path}:${line}: it names no commit; a rebuild needs what spanway export wrote`);
    return { envelope, verdict, commit, committedAt, position };
  } catch (cause) {
    return new ReplayError('not_an_export', `${path}:${line}: ${(cause as Error).message}`, { cause });
  }
}

async function sendStep(parts: ReplayParts, { commits, envelopes }: Step): Promise<Results> {
  const { store, sender, outcomeMs } = parts;
  const before = await readEntries(
    store,
    envelopes.map(({ id }) => id),
  );
  const { maxMessageBytes } = sender.queue.capabilities;
  const refused = new Set(commits.flat().flatMap(({ envelope, verdict }) => (verdict.outcome === 'applied' ? [] : [envelope.id])));
  const tooLarge = envelopes.filter((envelope) => messageBytes(envelope) > maxMessageBytes);
  // What did not apply is an operator's to send again, by `dlq redrive`.
  await sendEnvelopes(
    sender,
    envelopes.filter((envelope) => !refused.has(envelope.id) && !tooLarge.includes(envelope)),
  );
  const awaited = envelopes.filter((envelope, i) => !before[i] && !refused.has(envelope.id) && !tooLarge.includes(envelope));
  const outcomes = await outcomesOf(store, awaited, outcomeMs, sender.signal);
  const failed = tooLarge.map(({ id }) => ({
    submissionId: id,
    result: 'failed' as const,
    why: `the queue takes ${maxMessageBytes} bytes`,
  }));
  const counts: Partial<Record<ReplayResult, number>> = { unchanged: envelopes.length - awaited.length - tooLarge.length };
  for (const { result } of [...outcomes, ...failed]) counts[result] = (counts[result] ?? 0) + 1;
  return { counts, problems: [...failed, ...outcomes.filter(({ result }) => result !== 'applied')] };
}

async function outcomesOf(
  store: Store,
  envelopes: readonly Envelope[],
  outcomeMs: number,
  signal: AbortSignal,
): Promise<readonly ReplayProblem[]> {
  const known = new Map<string, CommittedEntry>();
  const until = performance.now() + outcomeMs;
  for (let pauseMs = FIRST_LOOK_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_LOOK_MS)) {
    const open = [...new Set(envelopes.map(({ id }) => id).filter((id) => !known.has(id)))];
    const entries = await readEntries(store, open);
    open.forEach((id, i) => entries[i] && known.set(id, entries[i]));
    if (open.every((id) => known.has(id)) || performance.now() > until) break;
    await sleep(pauseMs, undefined, { signal });
  }
  return envelopes.map(({ id }) => {
    const entry = known.get(id);
    const why = [entry?.reason, entry?.detail].filter((part) => part !== undefined).join(': ');
    return { submissionId: id, result: entry?.outcome ?? 'unsettled', ...(why === '' ? {} : { why }) };
  });
}

async function rebuildStep({ rebuild }: ReplayParts, { commits }: Step): Promise<Results> {
  if (!rebuild) throw new ReplayError('no_target', 'a rebuild needs a database');
  const { written, unchanged, failed } = await rebuild(commits);
  return {
    counts: { rebuilt: written - failed.length, unchanged, failed: failed.length },
    problems: failed.map(({ record, why }) => ({ submissionId: record.envelope.id, result: 'failed', why })),
  };
}

function advance(progress: ReplayProgress, step: Step, { counts, problems }: Results): ReplayProgress {
  const { unreadable } = step;
  const sum: Partial<Record<ReplayResult, number>> = {};
  for (const result of REPLAY_RESULTS) {
    const total = (progress.counts[result] ?? 0) + (counts[result] ?? 0) + (result === 'failed' ? unreadable.length : 0);
    if (total > 0) sum[result] = total;
  }
  return { ...progress, ...step.at, counts: sum, problems: [...progress.problems, ...unreadable, ...problems].slice(0, MAX_PROBLEMS) };
}
