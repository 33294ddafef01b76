/**
 * The envelope: one submission as it travels, a CloudEvents 1.0 event in the JSON format, with the Distributed
 * Tracing extension. https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
 */
import { Ajv2020 } from 'ajv/dist/2020.js';
import { PackError } from '../errors.ts';
import { WRITE_ACTIONS, type WriteAction } from '../resource/access.ts';
import type { Cell } from '../resource/table.ts';

export const ENVELOPE_TYPE = 'dev.spanway.submission.v1';

/** One insert, update, upsert or delete of one row, in the names of the resource, values as cells. */
export interface Mutation {
  readonly op: WriteAction;
  readonly resource: string;
  /** The key without the tenant. */
  readonly key: readonly Cell[];
  /** By field. Absent for a delete. */
  readonly value?: Readonly<Record<string, Cell>>;
  /** JSON fields of an update whose value merges into what is there (RFC 7396). */
  readonly merge?: readonly string[];
}

/** Who sent it, as the gateway verified it: the only source of identity downstream. */
export interface Caller {
  readonly issuer: string;
  readonly subject: string;
  readonly tenant: string;
  readonly scopes: readonly string[];
  readonly roles?: readonly string[];
  /** The client the token was issued to (RFC 9068 `client_id`, or `azp`). */
  readonly client?: string;
  /** Who acts for the subject (RFC 8693 `act`). */
  readonly actor?: string;
}

export interface Envelope {
  readonly specversion: '1.0';
  /** The submission id. */
  readonly id: string;
  readonly source: string;
  readonly type: typeof ENVELOPE_TYPE;
  /** The first mutation's resource and key, to read by. */
  readonly subject: string;
  /** When it was accepted, RFC 3339. */
  readonly time: string;
  readonly datacontenttype: 'application/json';
  readonly correlationid: string;
  /** https://www.w3.org/TR/trace-context/ */
  readonly traceparent?: string;
  readonly tracestate?: string;
  readonly data: Submission;
}

/** 1..n mutations of one aggregate, applied together or not at all. */
export interface Submission {
  readonly mutations: readonly Mutation[];
  readonly payloadHash: string;
  /** See `aggregateId`. */
  readonly aggregate: string;
  readonly caller: Caller;
  /** The row's version must be this one (`If-Match`), or any (`*`). Applies to the first mutation. */
  readonly ifMatch?: string;
  /** Set where an operator sends it again, so that its outcome may change. */
  readonly redrive?: Redrive;
}

/**
 * A submission that did not apply, sent again under its own id. It changes its outcome once at most, however often it
 * is delivered: it names the outcome that it replaces, and any other one stands.
 */
export interface Redrive {
  /** The commit that recorded that outcome. Absent: none was recorded. */
  readonly replaces?: { readonly commit: string; readonly committedAt: string };
  /** Where it first stood in history. What its aggregate applied from behind there is newer than it. */
  readonly first: HistoryPlace;
  /** 2 for the first redrive. */
  readonly attempt: number;
  /** Up to this commit timestamp history was looked through, and nothing newer found, or `overNewer` given. */
  readonly lookedTo: string;
  /** Applied even over what is newer. */
  readonly overNewer: boolean;
  /** The operator, and when, RFC 3339. */
  readonly by: string;
  readonly time: string;
}

/** Of an envelope in the history of commits. */
export interface HistoryPlace {
  readonly committedAt: string;
  readonly position: number;
}

const cell = { type: ['string', 'number', 'boolean', 'null', 'array'] };
const isEnvelope = new Ajv2020({ strict: false }).compile<Envelope>({
  type: 'object',
  required: ['specversion', 'id', 'source', 'type', 'subject', 'time', 'correlationid', 'data'],
  properties: {
    specversion: { const: '1.0' },
    // The ledger's key has no room for more, and its first digit is a place in the history.
    id: { type: 'string', pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' },
    type: { const: ENVELOPE_TYPE },
    time: { type: 'string' },
    correlationid: { type: 'string' },
    traceparent: { type: 'string' },
    data: {
      type: 'object',
      required: ['mutations', 'payloadHash', 'aggregate', 'caller'],
      properties: {
        payloadHash: { type: 'string', minLength: 1 },
        aggregate: { type: 'string', pattern: '^[A-Za-z0-9_-]{22}$' },
        ifMatch: { type: 'string' },
        redrive: {
          type: 'object',
          required: ['first', 'attempt', 'lookedTo', 'overNewer', 'by', 'time'],
          properties: {
            replaces: {
              type: 'object',
              required: ['commit', 'committedAt'],
              properties: { commit: { type: 'string' }, committedAt: { type: 'string' } },
            },
            first: {
              type: 'object',
              required: ['committedAt', 'position'],
              properties: { committedAt: { type: 'string' }, position: { type: 'integer', minimum: 0 } },
            },
            attempt: { type: 'integer', minimum: 2 },
            lookedTo: { type: 'string' },
            overNewer: { type: 'boolean' },
          },
        },
        caller: {
          type: 'object',
          required: ['issuer', 'subject', 'tenant', 'scopes'],
          properties: { issuer: { type: 'string' }, subject: { type: 'string' }, tenant: { type: 'string', minLength: 1 } },
        },
        mutations: {
          type: 'array',
          minItems: 1,
          items: {
            type: 'object',
            required: ['op', 'resource', 'key'],
            properties: {
              op: { enum: WRITE_ACTIONS },
              resource: { type: 'string' },
              key: { type: 'array', minItems: 1, items: cell },
              value: { type: 'object', additionalProperties: cell },
              merge: { type: 'array', items: { type: 'string' } },
            },
          },
        },
      },
    },
  },
});

/** @throws PackError (`not_an_envelope`) for anything else. */
export function checkEnvelope(value: unknown): Envelope {
  if (isEnvelope(value)) return value;
  const first = isEnvelope.errors?.[0];
  throw new PackError('not_an_envelope', `not an envelope: ${first?.instancePath ?? ''} ${first?.message ?? ''}`);
}
