/** The ledger: the table with one row per submission, written in the transaction that applies it. */
import { type Cell, type ColumnType, COMMIT_TIMESTAMP, type TableDefinition } from '../resource/table.ts';
import type { Envelope } from './envelope.ts';

export type Outcome = 'applied' | 'rejected' | 'dead_lettered';

/** Why a submission was rejected or dead-lettered. Stable: clients match on it. */
export type Reason =
  | 'already_exists'
  | 'not_found'
  | 'parent_not_found'
  | 'has_children'
  | 'precondition_failed'
  | 'idempotency_key_reused'
  | 'foreign_key'
  | 'not_null'
  | 'too_long'
  | 'check_failed'
  | 'unique_violation'
  | 'constraint'
  | 'unknown_resource'
  | 'unknown_failure';

const string = (maxLength?: number): ColumnType => ({ scalar: 'STRING', array: false, ...(maxLength === undefined ? {} : { maxLength }) });
const timestamp: ColumnType = { scalar: 'TIMESTAMP', array: false };

/**
 * Kept longer than the longest way back of a message: 14 days in SQS, 31 in Pub/Sub, and the time it may be parked.
 * https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
 * https://cloud.google.com/pubsub/quotas#resource_limits
 */
export const LEDGER_DAYS = 90;

/**
 * Few columns, since each is paid for with every write: what is in the envelope is not beside it again. SQL reads it
 * there: `JSON_VALUE(envelope, '$.correlationid')`.
 */
export const LEDGER: TableDefinition = {
  name: 'spanway_ledger',
  columns: [
    { name: 'submission_id', type: string(36), notNull: true },
    { name: 'committed_at', type: timestamp, notNull: true, commitTimestamp: true },
    // Its place among the submissions of its commit.
    { name: 'commit_position', type: { scalar: 'INT64', array: false }, notNull: true },
    { name: 'outcome', type: string(16), notNull: true },
    { name: 'reason', type: string(64), notNull: false },
    { name: 'detail', type: string(2000), notNull: false },
    { name: 'aggregate', type: string(22), notNull: true },
    { name: 'envelope', type: string(), notNull: true },
  ],
  primaryKey: ['submission_id'],
  indexes: [{ name: 'spanway_ledger_by_aggregate', columns: ['aggregate'], unique: false }],
  rowDeletionPolicy: { column: 'committed_at', days: LEDGER_DAYS },
  adopted: false,
};

/**
 * The ledger in the order of time: one row for each commit that wrote to it, with the ids it wrote in their order. An
 * index of the ledger by time would cost an entry with every submission.
 */
export const COMMITS: TableDefinition = {
  name: 'spanway_commits',
  columns: [
    // The first digit of its first submission's id. Ids are hashes or random, so it spreads the commits over 16 places.
    { name: 'time_shard', type: string(1), notNull: true },
    { name: 'committed_at', type: timestamp, notNull: true, commitTimestamp: true },
    { name: 'first_submission_id', type: string(36), notNull: true },
    { name: 'submission_ids', type: { scalar: 'STRING', array: true, maxLength: 36 }, notNull: true },
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
    { name: 'detail', type: string(2000), notNull: false },
    { name: 'attributes', type: string(), notNull: true },
    { name: 'body', type: { scalar: 'BYTES', array: false }, notNull: true },
  ],
  primaryKey: ['parked_id'],
  indexes: [],
  rowDeletionPolicy: { column: 'parked_at', days: LEDGER_DAYS },
  adopted: false,
};

/** The pipeline's own tables, beside the resources'. */
export const SYSTEM_TABLES: readonly TableDefinition[] = [LEDGER, COMMITS, PARKED];

export interface Verdict {
  readonly outcome: Outcome;
  readonly reason?: Reason;
  readonly detail?: string;
}

/** What one commit writes to the ledger, and to the list of commits: each envelope, as text too, with its verdict. */
export function ledgerMutations(entries: readonly LedgerWrite[]): LedgerMutation[] {
  const [first] = entries;
  if (!first) return [];
  const ids = entries.map(({ envelope }) => envelope.id);
  return [
    ...entries.map((entry, position): LedgerMutation => {
      const { columns, values } = ledgerRow(entry, position);
      return { op: 'insert', table: LEDGER, columns, values };
    }),
    {
      op: 'insert',
      table: COMMITS,
      columns: COMMIT_COLUMNS,
      values: [first.envelope.id.slice(0, 1), COMMIT_TIMESTAMP, first.envelope.id, ids],
    },
  ];
}

export interface LedgerWrite {
  readonly envelope: Envelope;
  readonly text: string;
  readonly verdict: Verdict;
}

interface LedgerMutation {
  readonly op: 'insert';
  readonly table: TableDefinition;
  readonly columns: readonly string[];
  readonly values: readonly Cell[];
}

const COMMIT_COLUMNS = COMMITS.columns.map((c) => c.name);
const APPLIED_COLUMNS = ['submission_id', 'committed_at', 'commit_position', 'outcome', 'aggregate', 'envelope'];
const REFUSED_COLUMNS = [...APPLIED_COLUMNS, 'reason', 'detail'];

/** The columns that have a value, so that the many that are applied pay for no empty ones. */
function ledgerRow(
  { envelope, text, verdict }: LedgerWrite,
  position: number,
): { readonly columns: readonly string[]; readonly values: readonly Cell[] } {
  const values = [envelope.id, COMMIT_TIMESTAMP, String(position), verdict.outcome, envelope.data.aggregate, text];
  if (verdict.outcome === 'applied') return { columns: APPLIED_COLUMNS, values };
  return { columns: REFUSED_COLUMNS, values: [...values, verdict.reason ?? null, verdict.detail?.slice(0, 2000) ?? null] };
}

/** What a reader of the ledger finds for a submission. */
export interface LedgerEntry extends Verdict {
  readonly payloadHash: string;
  readonly committedAt: string;
  readonly tenant: string;
  readonly correlationId: string;
  readonly acceptedAt: string;
  readonly resource: string;
  readonly key: readonly Cell[];
}

export const LEDGER_ENTRY_COLUMNS = ['outcome', 'reason', 'detail', 'committed_at', 'envelope'] as const;

/** From the cells of LEDGER_ENTRY_COLUMNS. */
export function readLedgerEntry(cells: readonly Cell[]): LedgerEntry {
  const [outcome, reason, detail, committedAt, text] = cells as (string | null)[];
  const envelope = JSON.parse(text ?? '') as Envelope;
  const [first] = envelope.data.mutations;
  return {
    outcome: outcome as Outcome,
    ...(reason == null ? {} : { reason: reason as Reason }),
    ...(detail == null ? {} : { detail }),
    payloadHash: envelope.data.payloadHash,
    committedAt: committedAt ?? '',
    tenant: envelope.data.caller.tenant,
    correlationId: envelope.correlationid,
    acceptedAt: envelope.time,
    resource: first?.resource ?? '',
    key: first?.key ?? [],
  };
}
