/**
 * A batch to its outcomes, exactly once in effect. The common case is one blind commit that inserts the ledger rows
 * and carries the data. A row that is already there sends the batch to a read-write transaction that reads the
 * ledger first. A batch that the database refuses is halved until the guilty are alone, and their refusal recorded.
 */
import type { Logger } from 'pino';
import { StoreError } from '../../ports/errors.ts';
import type { CommitOptions, Store, StoreMutation } from '../../ports/store/port.ts';
import { ledgerMutations, type Verdict } from '../../schemas/envelope/ledger.ts';
import { type BackoffSettings, untilPasses } from '../backoff.ts';
import type { Breaker } from './breaker.ts';
import { applyReadWrite } from './read-write.ts';
import type { Settled, Work } from './work.ts';

export interface ApplySettings {
  readonly backoff: BackoffSettings;
  /** Tries of a submission that fails for no known reason, before it is dead-lettered. */
  readonly maxAttempts: number;
}

export interface ApplyContext {
  readonly store: Store;
  readonly log: Logger;
  readonly settings: ApplySettings;
  readonly breaker: Breaker;
  /** Ends retries when the applier stops. */
  readonly signal: AbortSignal;
}

/** The outcomes in the order of the works. Rejects only when the signal aborts: then nothing is known of the rest. */
export async function applyBatch(context: ApplyContext, batch: readonly Work[]): Promise<readonly Settled[]> {
  return apply(context, batch, batch.every(isBlind) ? 'blind' : 'read-write');
}

type Way = 'blind' | 'read-write';

async function apply(context: ApplyContext, works: readonly Work[], way: Way): Promise<readonly Settled[]> {
  try {
    return await retryTransient(context, () =>
      way === 'blind' ? commitBlind(context, works) : applyReadWrite(context.store, works, commitOptions(works)),
    );
  } catch (error) {
    if (context.signal.aborted) throw error;
    const failure = storeError(error);
    // A row was in the way, or missing: reading says whose, in one transaction.
    if (way === 'blind' && (failure.failure === 'already_exists' || failure.failure === 'not_found'))
      return apply(context, works, 'read-write');
    if (works.length > 1) {
      const middle = works.length >> 1;
      const left = await apply(context, works.slice(0, middle), way);
      return [...left, ...(await apply(context, works.slice(middle), way))];
    }
    return [await settleAlone(context, works[0] as Work, failure)];
  }
}

/** One submission that the store does not take: by its own fault, or for no known reason however often it is tried. */
async function settleAlone(context: ApplyContext, work: Work, error: StoreError): Promise<Settled> {
  if (error.failure !== 'unknown') return record(context, work, rejection(tellable(work, error)));
  const { log, settings, signal } = context;
  const ids = { submissionId: work.envelope.id, correlationId: work.envelope.correlationid };
  try {
    const [settled] = await untilPasses(() => retryTransient(context, () => applyReadWrite(context.store, [work], commitOptions([work]))), {
      signal,
      backoff: settings.backoff,
      max: settings.maxAttempts - 1,
      when: (failure) => storeError(failure).failure === 'unknown',
      onFailure: (failure, attempt) =>
        log.warn({ err: tellable(work, storeError(failure)), attempt, ...ids }, 'a submission fails for no known reason'),
    });
    return settled as Settled;
  } catch (last) {
    if (signal.aborted) throw last;
    const failure = tellable(work, storeError(last));
    const verdict: Verdict =
      failure.failure === 'unknown'
        ? { outcome: 'dead_lettered', reason: 'unknown_failure', detail: chainOf(failure) }
        : rejection(failure);
    return record(context, work, verdict);
  }
}

/** A database quotes in its words the values that it refuses. Where a field is sensitive they go no further. */
function tellable({ plan }: Work, error: StoreError): StoreError {
  const resource = 'writes' in plan ? plan.writes.find((write) => write.resource.fields.some((f) => f.sensitive))?.resource : undefined;
  if (!resource) return error;
  const text = `the database refused it, and ${resource.name} has a sensitive field, so its words are not kept`;
  const { failure, reason, context } = error;
  return new StoreError(failure, text, { context, ...(reason === undefined ? {} : { reason }) });
}

/** What is no failure of the store was raised while deciding a submission: a fault that ends that one, not the lane. */
function storeError(error: unknown): StoreError {
  return error instanceof StoreError ? error : new StoreError('unknown', `cannot decide: ${(error as Error).message}`, { cause: error });
}

/** Writes the outcome alone; if the ledger has one by now, that one stands. */
async function record(context: ApplyContext, work: Work, verdict: Verdict): Promise<Settled> {
  const parked: Work = { ...work, plan: { verdict } };
  const [settled] = await retryTransient(context, () => applyReadWrite(context.store, [parked], commitOptions([parked])));
  return settled as Settled;
}

function rejection(error: StoreError): Verdict {
  return { outcome: 'rejected', reason: error.reason ?? 'constraint', detail: error.message };
}

const APPLIED: Verdict = { outcome: 'applied' };

async function commitBlind(context: ApplyContext, works: readonly Work[]): Promise<readonly Settled[]> {
  const entries = works.map((work) => ({ ...work, verdict: 'verdict' in work.plan ? work.plan.verdict : APPLIED }));
  // The ledger first, and so in one group; the data in order behind it.
  const mutations: StoreMutation[] = ledgerMutations(entries);
  for (const work of works) if ('writes' in work.plan) for (const write of work.plan.writes) mutations.push(write.mutation);
  const { commitTimestamp } = await context.store.commit(mutations, commitOptions(works));
  return entries.map(({ verdict }) => ({ verdict, commitTimestamp, duplicate: false }));
}

/** Nothing about it needs a look at what is there. */
function isBlind({ plan, envelope, waits }: Work): boolean {
  if (envelope.data.redrive || waits) return false;
  return 'verdict' in plan || plan.writes.every((w) => w.merge.length === 0 && w.ifMatch === undefined);
}

function retryTransient<T>({ log, settings, signal, breaker }: ApplyContext, work: () => Promise<T>): Promise<T> {
  const isTransient = (error: unknown): boolean => error instanceof StoreError && error.failure === 'transient';
  const attempt = async (): Promise<T> => {
    try {
      const value = await work();
      breaker.answered();
      return value;
    } catch (error) {
      if (!isTransient(error)) breaker.answered();
      throw error;
    }
  };
  return untilPasses(attempt, {
    signal,
    backoff: settings.backoff,
    when: isTransient,
    onFailure: (err, tries) => {
      if (!isTransient(err)) return;
      breaker.failed(tries);
      log.warn({ err, attempt: tries }, 'the store is not available; trying again in order');
    },
  });
}

/**
 * The batch is named by its first submission, whose correlation id and trace the ledger and the log have. A tag has at
 * most 50 characters: https://cloud.google.com/spanner/docs/introspection/troubleshooting-with-tags
 */
function commitOptions(works: readonly Work[]): CommitOptions {
  return { tag: `spanway-apply-${works[0]?.envelope.id ?? ''}` };
}

/** A failure and its causes, for the record. */
function chainOf(error: Error): string {
  const messages: string[] = [];
  for (let e: unknown = error; e instanceof Error && messages.length < 8; e = e.cause) messages.push(`${e.name}: ${e.message}`);
  return messages.join(' <- ');
}
