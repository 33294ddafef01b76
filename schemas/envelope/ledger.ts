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

export const LEDGER: TableDefinition = {
  name: 'spanway_ledger',
  columns: [
    { name: 'submission_id', type: string(36), notNull: true },
    // Submission ids are hashes or random, so their first digit spreads the index by time over 16 places.
    { name: 'time_shard', type: string(1), notNull: true, generatedAs: 'SUBSTR(submission_id, 1, 1)' },
    { name: 'committed_at', type: timestamp, notNull: true, commitTimestamp: true },
    { name: 'commit_position', type: { scalar: 'INT64', array: false }, notNull: true },
    { name: 'outcome', type: string(16), notNull: true },
    { name: 'reason', type: string(64), notNull: false },
    { name: 'detail', type: string(2000), notNull: false },
    { name: 'payload_hash', type: string(22), notNull: true },
    { name: 'tenant', type: string(128), notNull: true },
    { name: 'resource', type: string(128), notNull: true },
    // The first mutation's, as JSON, without the tenant.
    { name: 'row_key', type: string(), notNull: true },
    { name: 'aggregate', type: string(22), notNull: true },
    { name: 'correlation_id', type: string(128), notNull: true },
    { name: 'caller', type: string(), notNull: true },
    { name: 'accepted_at', type: timestamp, notNull: true },
    { name: 'envelope', type: string(), notNull: true },
  ],
  primaryKey: ['submission_id'],
  indexes: [
    { name: 'spanway_ledger_by_time', columns: ['time_shard', 'committed_at', 'commit_position'], unique: false },
    { name: 'spanway_ledger_by_aggregate', columns: ['aggregate', 'committed_at', 'commit_position'], unique: false },
  ],
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
export const SYSTEM_TABLES: readonly TableDefinition[] = [LEDGER, PARKED];

export interface Verdict {
  readonly outcome: Outcome;
  readonly reason?: Reason;
  readonly detail?: string;
}

export const LEDGER_COLUMNS: readonly string[] = LEDGER.columns.filter((c) => c.generatedAs === undefined).map((c) => c.name);

/** The ledger row of a submission, in the order of LEDGER_COLUMNS. `position`: its place within the commit. */
export function ledgerRow(envelope: Envelope, text: string, verdict: Verdict, position: number): Cell[] {
  const { data } = envelope;
  const first = data.mutations[0];
  return [
    envelope.id,
    COMMIT_TIMESTAMP,
    String(position),
    verdict.outcome,
    verdict.reason ?? null,
    verdict.detail?.slice(0, 2000) ?? null,
    data.payloadHash,
    data.caller.tenant,
    first?.resource ?? '',
    JSON.stringify(first?.key ?? []),
    data.aggregate,
    envelope.correlationid,
    JSON.stringify(data.caller),
    envelope.time,
    text,
  ];
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

export const LEDGER_ENTRY_COLUMNS = [
  'outcome',
  'reason',
  'detail',
  'payload_hash',
  'committed_at',
  'tenant',
  'correlation_id',
  'accepted_at',
  'resource',
  'row_key',
] as const;

/** From the cells of LEDGER_ENTRY_COLUMNS. */
export function readLedgerEntry(cells: readonly Cell[]): LedgerEntry {
  const [outcome, reason, detail, hash, committedAt, tenant, correlationId, acceptedAt, resource, rowKey] = cells as (string | null)[];
  return {
    outcome: outcome as Outcome,
    ...(reason === null ? {} : { reason: reason as Reason }),
    ...(detail == null ? {} : { detail }),
    payloadHash: hash ?? '',
    committedAt: committedAt ?? '',
    tenant: tenant ?? '',
    correlationId: correlationId ?? '',
    acceptedAt: acceptedAt ?? '',
    resource: resource ?? '',
    key: JSON.parse(rowKey ?? '[]') as Cell[],
  };
}
