/**
 * What Spanner's answers mean for the caller, by gRPC code and, where one code has several meanings, by message.
 * Codes: https://cloud.google.com/spanner/docs/reference/rest/v1/Code
 *
 * Messages are not an interface, and the emulator's differ from Spanner's, so each pattern takes both. The emulator's
 * were provoked (SDK 528) and `test/conformance/store.ts` provokes them again; Spanner's are those that Google's own
 * Dataflow templates test for:
 * https://github.com/GoogleCloudPlatform/DataflowTemplates, DatastreamToSpannerExceptionClassifierTest.java
 *
 * A message quotes keys and values, which a caller chooses: a row may be called `Database not found`. So the patterns
 * see a message up to the first bracket or quotation mark only.
 */
import type { Reason } from '../../schemas/envelope/ledger.ts';
import { StoreError, type StoreFailure } from '../errors.ts';

interface Meaning {
  readonly failure: StoreFailure;
  readonly reason?: Reason;
  /** What to do about it, where that is not plain. */
  readonly advice?: string;
}

interface Row {
  readonly name: string;
  /** The first that matches. */
  readonly messages?: readonly (readonly [pattern: RegExp, meaning: Meaning])[];
  readonly otherwise: Meaning;
}

const TRANSIENT: Meaning = { failure: 'transient' };
/**
 * No access token could be fetched, and nothing was sent. Its code is 2, or the HTTP status of the token's endpoint:
 * https://github.com/grpc/grpc-node/blob/master/packages/grpc-js/src/load-balancing-call.ts
 */
const NO_TOKEN = /^Getting metadata from plugin failed/;
const SESSION_GONE = /^Session\b.*\b(not found|deleted)/i;
const UNKNOWN: Meaning = { failure: 'unknown' };
const refused = (reason: Reason): Meaning => ({ failure: 'refused', reason });
const SCHEMA: Meaning = { failure: 'unknown', advice: 'run "spanway schema apply"' };
/** Nothing in a submission causes these and every submission would meet them, so they hold the queue until it is mended. */
const operator = (advice: string): Meaning => ({ failure: 'transient', advice });

const table: Readonly<Record<number, Row>> = {
  // The channel or the stream was closed under the call.
  1: { name: 'CANCELLED', otherwise: TRANSIENT },
  // "Not enough information is known": so is it here.
  2: { name: 'UNKNOWN', otherwise: UNKNOWN },
  3: {
    name: 'INVALID_ARGUMENT',
    messages: [
      // A fault of the client's multiplexed sessions, tried again by the adapter: https://github.com/googleapis/google-cloud-node/issues/9153
      [/invalid mutation key/i, UNKNOWN],
      // "Number of bytes for key of table … exceeds the maximum of 8192", "maximum size for a single column value is …"
      [/bytes for key .* exceeds|maximum size for a single column value|key .*too large/i, refused('too_long')],
      // More than a commit may hold: https://cloud.google.com/spanner/quotas#limits-for
      [/too many mutations|exceeds the maximum (total )?(bytes|size)/i, refused('constraint')],
    ],
    otherwise: UNKNOWN,
  },
  // Passed, or passes later; of a commit, nobody knows.
  4: { name: 'DEADLINE_EXCEEDED', otherwise: TRANSIENT },
  5: {
    name: 'NOT_FOUND',
    messages: [
      // Sessions and transactions are the client's; a new one is made.
      [SESSION_GONE, TRANSIENT],
      [/^Transaction not found/i, TRANSIENT],
      [/^(Database|Instance) not found/i, operator('make the database, or name the right one')],
      [/^(Table|Column|Index) not found/i, SCHEMA],
      // "Insert failed because key was not found in parent table", "Parent row for row … is missing. Row cannot be written."
      [/\bparent (table|row)\b/i, refused('parent_not_found')],
      // "Table …: Row … not found.", "Row … in table … is missing."
      [/\brow\b/i, { failure: 'not_found', reason: 'not_found' }],
    ],
    otherwise: UNKNOWN,
  },
  6: {
    name: 'ALREADY_EXISTS',
    // "UNIQUE violation on index …", "Unique index violation on index … It conflicts with row …"
    messages: [[/unique (index )?violation/i, refused('unique_violation')]],
    // "Row … already exists."
    otherwise: { failure: 'already_exists', reason: 'already_exists' },
  },
  7: { name: 'PERMISSION_DENIED', otherwise: operator('grant this process roles/spanner.databaseUser on the database') },
  8: {
    name: 'RESOURCE_EXHAUSTED',
    // gRPC's own limit on a message, not a quota: it would not fit the next time either.
    messages: [[/message larger than max/i, UNKNOWN]],
    // A quota or an overload.
    otherwise: TRANSIENT,
  },
  9: {
    name: 'FAILED_PRECONDITION',
    messages: [
      [/NOT NULL column|specify a null value|must not be NULL in table/i, refused('not_null')],
      [/exceeds the maximum size limit/i, refused('too_long')],
      // "… one or more keys exist within the child table", "… Found child row … in table …"
      [/\bchild (table|row)\b/i, refused('has_children')],
      [/^Foreign key/i, refused('foreign_key')],
      // https://cloud.google.com/spanner/docs/use-cmek
      [/^KMS key\b/i, operator('enable the Cloud KMS key of the database, or let Spanner use it again')],
      [/Check constraint/i, refused('check_failed')],
      // A value that is none of its column's type.
      [/Could not parse|Invalid value for column|Cannot write timestamps in the future/i, refused('constraint')],
    ],
    otherwise: UNKNOWN,
  },
  // A deadlock, a conflict, or an idle transaction: https://cloud.google.com/spanner/docs/transactions#idle_transactions
  10: { name: 'ABORTED', otherwise: TRANSIENT },
  11: {
    name: 'OUT_OF_RANGE',
    messages: [[/Check constraint/i, refused('check_failed')]],
    // The expression of a generated column or a check cannot be computed from this row.
    otherwise: refused('constraint'),
  },
  // The feature or method is not there.
  12: { name: 'UNIMPLEMENTED', otherwise: UNKNOWN },
  13: {
    name: 'INTERNAL',
    // The transport broke: those the client's own transaction runner retries, and two more of HTTP/2.
    messages: [
      [/EOS on DATA frame|RST_STREAM|HTTP\/2 error code|Connection closed with unknown cause|GOAWAY|stream terminated/i, TRANSIENT],
      [/please retry/i, TRANSIENT],
    ],
    otherwise: UNKNOWN,
  },
  14: { name: 'UNAVAILABLE', otherwise: TRANSIENT },
  15: { name: 'DATA_LOSS', otherwise: UNKNOWN },
  16: { name: 'UNAUTHENTICATED', otherwise: operator('give this process credentials of a service account that may use Spanner') },
};

/** Failures of the client itself, which have no code. */
const clientMessages: readonly (readonly [RegExp, Meaning])[] = [
  // The last two are of the client that was, while another one is made with new sessions.
  [/Timeout occurred while acquiring session|gave no session within|Database is closed|client has already been closed/i, TRANSIENT],
  [/Could not load the default credentials|Unable to detect a Project Id/i, operator('give this process Google Cloud credentials')],
];

export interface GrpcError extends Error {
  readonly code: number;
  readonly details?: string;
}

export function isGrpcError(error: unknown): error is GrpcError {
  return error instanceof Error && 'code' in error && typeof error.code === 'number';
}

export function isInvalidMutationKey(error: unknown): boolean {
  return isGrpcError(error) && error.code === 3 && /invalid mutation key/i.test(fixedPart(textOf(error)));
}

export function isSessionNotFound(error: unknown): boolean {
  return isGrpcError(error) && error.code === 5 && SESSION_GONE.test(fixedPart(textOf(error)));
}

/** Without the "5 NOT_FOUND: " that gRPC puts before it. */
function textOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/^\d+ [A-Z_]+: /, '');
}

/** What Spanner wrote itself: all before the first thing that it quotes. */
function fixedPart(text: string): string {
  return text.split(/["'`[{(]/, 1)[0] ?? '';
}

/** `where`: the database and what was being done. */
export function spannerStoreError(error: unknown, where: string): StoreError {
  if (error instanceof StoreError) return error;
  const code = isGrpcError(error) ? error.code : undefined;
  const text = textOf(error);
  const fixed = fixedPart(text);
  const row = code === undefined ? { name: 'client', messages: clientMessages, otherwise: UNKNOWN } : table[code];
  const meaning = NO_TOKEN.test(fixed)
    ? TRANSIENT
    : (row?.messages?.find(([pattern]) => pattern.test(fixed))?.[1] ?? row?.otherwise ?? UNKNOWN);
  return new StoreError(
    meaning.failure,
    `${where}: ${row?.name ?? `code ${code}`}: ${text}${meaning.advice ? ` (${meaning.advice})` : ''}`,
    {
      ...(meaning.reason ? { reason: meaning.reason } : {}),
      context: { where, ...(code === undefined ? {} : { grpcCode: code }) },
      cause: error,
    },
  );
}
