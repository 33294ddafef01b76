/** The ledger: one row for each submission, one history row for each commit, and the packs that could not be opened. */
import { mutationCost } from '../resource/cost.ts';
import { type Cell, type ColumnType, COMMIT_TIMESTAMP, type RowWrite, type TableDefinition } from '../resource/table.ts';
import type { Envelope } from './envelope.ts';
import { correlationMark } from './ids.ts';
import type { Carried } from './pack.ts';

export const OUTCOMES = ['applied', 'rejected', 'dead_lettered'] as const;
export type Outcome = (typeof OUTCOMES)[number];

/** Why a submission was rejected or dead-lettered. Stable: clients match on it. */
export const REASONS = [
  'already_exists',
  'not_found',
  'parent_not_found',
  'has_children',
  'precondition_failed',
  'idempotency_key_reused',
  'foreign_key',
  'not_null',
  'too_long',
  'check_failed',
  'unique_violation',
  'constraint',
  'unknown_resource',
  'unknown_failure',
  'newer_applied',
  'behind_dead_letter',
] as const;
export type Reason = (typeof REASONS)[number];

/** Characters of a detail that are kept, and told: a database may quote a value of any length. */
const MAX_DETAIL = 2000;
export const keptDetail = (detail: string): string => detail.slice(0, MAX_DETAIL);

const string = (maxLength?: number): ColumnType => ({ scalar: 'STRING', array: false, ...(maxLength === undefined ? {} : { maxLength }) });
const timestamp: ColumnType = { scalar: 'TIMESTAMP', array: false };

/**
 * Kept longer than the longest way back of a message: 14 days in SQS, 31 in Pub/Sub, and the time it may be parked.
 * https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
 * https://cloud.google.com/pubsub/quotas#resource_limits
 */
export const LEDGER_DAYS = 90;

/**
 * Which submissions have their outcome, and what it is. Two small columns beside the key, and no index, since this is
 * paid for with every write: `entry` is a LedgerEntry as JSON, and the envelope is in COMMITS.
 */
export const LEDGER: TableDefinition = {
  name: 'spanway_ledger',
  columns: [
    { name: 'submission_id', type: string(36), notNull: true },
    { name: 'committed_at', type: timestamp, notNull: true, commitTimestamp: true },
    { name: 'entry', type: string(), notNull: true },
  ],
  primaryKey: ['submission_id'],
  indexes: [],
  rowDeletionPolicy: { column: 'committed_at', days: LEDGER_DAYS },
  adopted: false,
};

/**
 * The history: one row for each commit that wrote to the ledger, in the order of time, with the envelopes in their
 * order within it. So it costs next to nothing with each submission to list them by time and to find what came after
 * one in its aggregate.
 */
export const COMMITS: TableDefinition = {
  name: 'spanway_commits',
  columns: [
    // The first digit of its first submission's id. Ids are hashes or random, so it spreads the commits over 16 places.
    { name: 'time_shard', type: string(1), notNull: true },
    { name: 'committed_at', type: timestamp, notNull: true, commitTimestamp: true },
    { name: 'first_submission_id', type: string(36), notNull: true },
    { name: 'aggregates', type: { scalar: 'STRING', array: true, maxLength: 22 }, notNull: true },
    // https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md#4-json-batch-format
    { name: 'envelopes', type: string(), notNull: true },
    // The places within `envelopes` that did not apply, with their verdicts, as JSON. NULL where all did.
    { name: 'refusals', type: string(), notNull: false },
    // When its packs passed the brokers, as JSON: [the place of a pack's first envelope, queued at, bridged at], … NULL
    // where nothing is known of it.
    { name: 'carried', type: string(), notNull: false },
    // For each envelope, `correlationMark` of its correlation id: looked through to find one.
    { name: 'correlations', type: { scalar: 'STRING', array: true, maxLength: 11 }, notNull: false },
  ],
  primaryKey: ['time_shard', 'committed_at', 'first_submission_id'],
  indexes: [],
  rowDeletionPolicy: { column: 'committed_at', days: LEDGER_DAYS },
  adopted: false,
};

/** Packs that carry no submission to record: no valid signature, or no envelopes. Kept whole, with the reason. */
export const PARKED: TableDefinition = {
  name: 'spanway_parked',
  columns: [
    { name: 'parked_id', type: string(64), notNull: true },
    { name: 'parked_at', type: timestamp, notNull: true, commitTimestamp: true },
    { name: 'reason', type: string(64), notNull: true },
    { name: 'detail', type: string(MAX_DETAIL), notNull: false },
    { name: 'attributes', type: string(), notNull: true },
    { name: 'body', type: { scalar: 'BYTES', array: false }, notNull: true },
  ],
  primaryKey: ['parked_id'],
  indexes: [],
  rowDeletionPolicy: { column: 'parked_at', days: LEDGER_DAYS },
  adopted: false,
};

/** What parks a pack. `id` names it by its content, so that it is parked once however often it comes: then its row is there. */
export function parkedMutation(pack: {
  readonly id: string;
  readonly reason: string;
  readonly detail: string;
  readonly attributes: string;
  readonly body: string;
}): RowWrite {
  const { id, reason, detail, attributes, body } = pack;
  return {
    op: 'insert',
    table: PARKED,
    columns: PARKED.columns.map((c) => c.name),
    values: [id, COMMIT_TIMESTAMP, reason, keptDetail(detail), attributes, body],
  };
}

export interface Verdict {
  readonly outcome: Outcome;
  readonly reason?: Reason;
  readonly detail?: string;
}

/** The submission's id is taken by another payload, whose outcome stands. */
export const KEY_REUSED: Verdict = { outcome: 'rejected', reason: 'idempotency_key_reused' };

/** What Spanner counts for a submission beside its data, as if each went in a commit of its own. */
export const LEDGER_COST =
  mutationCost(LEDGER, { columns: LEDGER.columns.length }) + mutationCost(COMMITS, { columns: COMMITS.columns.length });

/** A dead letter's place in a hold (holds.ts). */
export interface Turn {
  /** The hold's id, which is that of its first dead letter. */
  readonly hold: string;
  /** From 1. */
  readonly number: number;
}

/** What the ledger says of a submission. */
export interface LedgerEntry extends Verdict {
  readonly payloadHash: string;
  /** The commit's row in COMMITS, and the place of its envelope there. */
  readonly commit: string;
  readonly position: number;
  readonly tenant: string;
  /** Of the first mutation; the key without the tenant. */
  readonly resource: string;
  readonly key: readonly Cell[];
  readonly subject: string;
  readonly actor?: string;
  readonly correlationId: string;
  readonly acceptedAt: string;
  /** Of a submission that was redriven: how often it was tried by now, from 2. The outcomes before are in the history. */
  readonly attempt?: number;
  /** An operator has looked at what did not apply, and wants it listed no more. RFC 3339. */
  readonly closed?: { readonly by: string; readonly at: string };
  /** Of a dead letter behind which its aggregate waits. */
  readonly turn?: Turn;
}

export interface LedgerWrite {
  readonly envelope: Envelope;
  /** As it came. */
  readonly text: string;
  readonly verdict: Verdict;
  /** Of the pack that brought it. */
  readonly carried?: Carried;
  /** The ledger has an outcome of it, and this one takes its place. */
  readonly replaces?: boolean;
  readonly turn?: Turn | undefined;
}

const LEDGER_COLUMNS = LEDGER.columns.map((c) => c.name);
const COMMIT_COLUMNS = COMMITS.columns.map((c) => c.name);

/** What one commit writes to the ledger and the history. */
export function ledgerMutations(writes: readonly LedgerWrite[]): RowWrite[] {
  const [first] = writes;
  if (!first) return [];
  const key = { commit: first.envelope.id, committedAt: COMMIT_TIMESTAMP };
  const rows = writes.map((write, i) => ledgerRow(key, write, i, write.replaces === true ? 'update' : 'insert'));
  return [...rows, historyRow(key, writes, 'insert')];
}

/**
 * The same for a commit of another database, or some of it, as it was there: with its name and time, and over what earlier
 * ones wrote. `before`: what is here of the same commit; it stays, and the others stand behind it.
 */
export function recordedMutations(key: CommitName, writes: readonly LedgerWrite[], before: readonly LedgerWrite[] = []): RowWrite[] {
  const rows = writes.map((write, i) => ledgerRow(key, write, before.length + i, 'upsert'));
  return [...rows, historyRow(key, [...before, ...writes], before.length > 0 ? 'upsert' : 'insert')];
}

interface CommitName {
  readonly commit: string;
  readonly committedAt: string;
}

function ledgerRow({ commit, committedAt }: CommitName, write: LedgerWrite, position: number, op: RowWrite['op']): RowWrite {
  const entry = JSON.stringify(entryOf(write, commit, position));
  return { op, table: LEDGER, columns: LEDGER_COLUMNS, values: [write.envelope.id, committedAt, entry] };
}

function historyRow({ commit, committedAt }: CommitName, writes: readonly LedgerWrite[], op: RowWrite['op']): RowWrite {
  const refusals = writes.flatMap(({ verdict }, position) => (verdict.outcome === 'applied' ? [] : [{ position, ...verdict }]));
  const values = [
    commit.slice(0, 1),
    committedAt,
    commit,
    writes.map(({ envelope }) => envelope.data.aggregate),
    `[${writes.map(({ text }) => text).join(',')}]`,
    refusals.length > 0 ? JSON.stringify(refusals) : null,
    carriedCell(writes),
    writes.map(({ envelope }) => correlationMark(envelope.correlationid)),
  ];
  return { op, table: COMMITS, columns: COMMIT_COLUMNS, values };
}

/** One entry a pack: its envelopes have the same `carried`, the very object. */
function carriedCell(writes: readonly LedgerWrite[]): string | null {
  const packs: (readonly [position: number, queuedAt: string | null, bridgedAt: string | null])[] = [];
  let last: Carried | undefined;
  for (const [position, { carried }] of writes.entries()) {
    if (carried === last && position > 0) continue;
    packs.push([position, carried?.queuedAt ?? null, carried?.bridgedAt ?? null]);
    last = carried;
  }
  return packs.some(([, queuedAt, bridgedAt]) => queuedAt !== null || bridgedAt !== null) ? JSON.stringify(packs) : null;
}

/** The entry of one try of a submission. */
export function entryOf(
  { envelope, verdict, turn }: Pick<LedgerWrite, 'envelope' | 'verdict' | 'turn'>,
  commit: string,
  position: number,
): LedgerEntry {
  const { data, correlationid, time } = envelope;
  const { outcome, reason, detail } = verdict;
  const [first] = data.mutations;
  return {
    outcome,
    ...(reason === undefined ? {} : { reason }),
    ...(detail === undefined ? {} : { detail: keptDetail(detail) }),
    payloadHash: data.payloadHash,
    commit,
    position,
    tenant: data.caller.tenant,
    resource: first?.resource ?? '',
    key: first?.key ?? [],
    subject: data.caller.subject,
    ...(data.caller.actor === undefined ? {} : { actor: data.caller.actor }),
    correlationId: correlationid,
    acceptedAt: time,
    ...(data.redrive === undefined ? {} : { attempt: data.redrive.attempt }),
    ...(turn === undefined ? {} : { turn }),
  };
}

/** An entry with the time of its commit. */
export interface CommittedEntry extends LedgerEntry {
  readonly committedAt: string;
}

/** What `readLedgerEntry` reads. */
export const LEDGER_ENTRY_COLUMNS = ['entry', 'committed_at'] as const;

/** From the cells of LEDGER_ENTRY_COLUMNS. */
export function readLedgerEntry([entry, committedAt]: readonly Cell[]): CommittedEntry {
  return { ...(JSON.parse(entry as string) as LedgerEntry), committedAt: committedAt as string };
}
