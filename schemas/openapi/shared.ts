/** What the operations of the OpenAPI document have in common: headers, parameters, answers, and the schemas of documents that are no rows. */
import { OUTCOMES, REASONS } from '../envelope/ledger.ts';
import type { Field } from '../resource/define.ts';
import { keyField, type Schema } from './fields.ts';

/** The problem types of the API. The gateway has them with their words. */
export type ProblemName =
  | 'malformed_json'
  | 'unsupported_media_type'
  | 'invalid_parameter'
  | 'unserved_filter'
  | 'unauthenticated'
  | 'forbidden'
  | 'unknown_resource'
  | 'unknown_route'
  | 'row_not_found'
  | 'submission_not_found'
  | 'idempotency_key_reused'
  | 'too_large'
  | 'one_aggregate'
  | 'conditions_unsupported'
  | 'validation'
  | 'rate_limited'
  | 'unavailable'
  | 'internal';

export interface ProblemDescription {
  readonly status: number;
  readonly title: string;
  readonly explanation: string;
}

export type Problems = Readonly<Record<ProblemName, ProblemDescription>>;

export const ANY_CALL: readonly ProblemName[] = ['invalid_parameter', 'unauthenticated', 'rate_limited', 'internal', 'unavailable'];
export const OF_RESOURCE: readonly ProblemName[] = [...ANY_CALL, 'forbidden', 'unknown_resource', 'validation'];
export const OF_ROW: readonly ProblemName[] = [...OF_RESOURCE, 'unknown_route'];
export const OF_BODY: readonly ProblemName[] = ['malformed_json', 'unsupported_media_type'];

/** Segments of a path. */
export function keyParameters(key: readonly Field[]): readonly Schema[] {
  return key.map((field) => ({ name: field.name, in: 'path', required: true, schema: keyField(field, 'path') }));
}

export function reference(section: 'schemas' | 'parameters' | 'headers' | 'responses', name: string): Schema {
  return { $ref: `#/components/${section}/${name}` };
}

export const parameter = (name: keyof ReturnType<typeof parameters>): Schema => reference('parameters', name);
export const schema = (name: string): Schema => reference('schemas', name);

/** Headers of an answer, each a component by its own name. */
export function headersOf(...names: readonly (keyof typeof HEADERS)[]): Schema {
  return Object.fromEntries(['Correlation-Id' as const, ...names].map((name) => [name, reference('headers', name)]));
}

/** Of what a rate limit may apply to. */
export const RATE_HEADERS = ['RateLimit', 'RateLimit-Policy'] as const;

/** Of a problem with this status. */
function problemHeaders(status: number): readonly (keyof typeof HEADERS)[] {
  if (status === 401) return ['WWW-Authenticate'];
  if (status === 429) return ['Retry-After', ...RATE_HEADERS];
  return status === 503 ? ['Retry-After'] : [];
}

export function jsonOf(content: Schema): Schema {
  return { 'application/json': { schema: content } };
}

const CORRELATION_ID: Schema = { type: 'string', pattern: '^[A-Za-z0-9._:/+=@-]{1,128}$' };
const RECEIPT_ID: Schema = { type: 'string', description: 'Opaque.' };
const INSTANT: Schema = { type: 'string', format: 'date-time' };

export const HEADERS = {
  'Correlation-Id': {
    description: 'Of the request, or made for it. It is on each log line, in the ledger and in the outcome event.',
    schema: CORRELATION_ID,
  },
  Location: { description: 'Where the status of the submission is.', schema: { type: 'string', format: 'uri-reference' } },
  ETag: { description: 'The version of the row, in double quotes.', schema: { type: 'string' } },
  'Read-Timestamp': {
    description: 'Of which moment the rows are: every write that was committed by then is in them.',
    schema: INSTANT,
  },
  'Cache-Status': {
    description: '`spanway; hit`: the row is from the cache. With `detail=stale-if-error` it is older than what was asked for (RFC 9211).',
    schema: { type: 'string' },
  },
  'Preference-Applied': { description: 'The outcome came in time (RFC 7240).', schema: { type: 'string', const: 'wait' } },
  'Retry-After': { description: 'Seconds until another try makes sense.', schema: { type: 'integer', minimum: 0 } },
  RateLimit: {
    description:
      'What is left of each limit of this request: `r` requests now, and one more in `t` seconds. Only where there are limits. https://www.ietf.org/archive/id/draft-ietf-httpapi-ratelimit-headers-11.txt',
    schema: { type: 'string', examples: ['"tenant-writes";r=499;t=1, "caller-writes";r=49;t=1'] },
  },
  'RateLimit-Policy': {
    description: 'Each limit of this request: `q` requests at once, which flow in again over `w` seconds.',
    schema: { type: 'string', examples: ['"tenant-writes";q=500;w=5, "caller-writes";q=50;w=5'] },
  },
  'WWW-Authenticate': { description: 'RFC 6750.', schema: { type: 'string' } },
} as const satisfies Record<string, Schema>;

/** `maxWaitSeconds`: longer waits are cut to it. */
export function parameters({ maxWaitSeconds }: { readonly maxWaitSeconds: number }) {
  const header = (name: string, description: string, content: Schema): Schema => ({ name, in: 'header', description, schema: content });
  return {
    correlationId: header('Correlation-Id', 'Made where it is missing.', CORRELATION_ID),
    traceparent: header('traceparent', 'W3C trace context. The write travels as a new span of the same trace.', { type: 'string' }),
    tracestate: header('tracestate', 'W3C trace context.', { type: 'string', maxLength: 512 }),
    idempotencyKey: header(
      'Idempotency-Key',
      '1 to 255 printable ASCII characters, with or without double quotes around them. Same tenant, method, resource and key: the same submission, applied once. Make a new one for each new write.',
      { type: 'string', minLength: 1, maxLength: 257 },
    ),
    prefer: header(
      'Prefer',
      `\`wait=SECONDS\` (RFC 7240): answer with the outcome if it comes in time; at most ${maxWaitSeconds} seconds. Other preferences are ignored.`,
      { type: 'string', examples: ['wait=5'] },
    ),
    ifMatch: header(
      'If-Match',
      'Only over this version of the row, as its ETag has it, or over any row with `*`. Compared when it applies.',
      {
        type: 'string',
        pattern: '^\\s*(?:\\*|"[^"]{1,64}")\\s*$',
      },
    ),
    ifNoneMatch: header('If-None-Match', '304 where the row still has one of these versions.', { type: 'string' }),
    readConsistency: header(
      'Read-Consistency',
      'How new the rows must be. `strong`, which it is without the header: every write that has its outcome is in them. `max-staleness=SECONDS`: writes of the last so many seconds may be missing. `after=SUBMISSION`: waits for the outcome of the submission with this id, then reads strong; 503 where it does not come in time. Beside it `stale-if-error=SECONDS`: a row from the cache, this old at most, while the database cannot be read.',
      { type: 'string', examples: ['max-staleness=10s', 'max-staleness=10s, stale-if-error=60s'] },
    ),
    fields: {
      name: 'fields',
      in: 'query',
      description: 'The fields to show, separated by commas; without it all.',
      schema: { type: 'string' },
    },
    wait: {
      name: 'wait',
      in: 'query',
      description: `How many seconds to wait for the outcome; at most ${maxWaitSeconds}.`,
      schema: { type: 'integer', minimum: 0, maximum: 999_999_999 },
    },
  } as const satisfies Record<string, Schema>;
}

/** The schemas of every document but the resources' own. */
export function commonSchemas(problems: Problems): Readonly<Record<string, Schema>> {
  return {
    Receipt: {
      type: 'object',
      required: ['id', 'status', 'statusUrl', 'correlationId', 'acceptedAt'],
      properties: {
        id: RECEIPT_ID,
        status: { const: 'accepted' },
        statusUrl: { type: 'string', format: 'uri-reference' },
        correlationId: CORRELATION_ID,
        acceptedAt: INSTANT,
      },
    },
    Status: {
      type: 'object',
      description: 'What became of a submission. While it is `accepted`, all but `id` and `status` may be missing.',
      required: ['id', 'status'],
      properties: {
        id: RECEIPT_ID,
        status: { enum: ['accepted', ...OUTCOMES] },
        reason: { enum: [...REASONS], description: 'Why it was rejected or dead-lettered.' },
        detail: { type: 'string' },
        commitTimestamp: { ...INSTANT, description: 'When it was applied.' },
        resource: { type: 'string', description: 'Of the first mutation.' },
        key: { type: 'array', description: 'Of the first mutation.' },
        correlationId: CORRELATION_ID,
        acceptedAt: INSTANT,
      },
    },
    Problem: {
      type: 'object',
      description: 'RFC 9457.',
      required: ['type', 'title', 'status', 'detail', 'correlationId'],
      properties: {
        type: {
          enum: Object.keys(problems).map(problemType),
          description: `The address of its explanation.\n\n${problemList(problems)}`,
        },
        title: { type: 'string' },
        status: { type: 'integer' },
        detail: { type: 'string' },
        correlationId: CORRELATION_ID,
        'violated-policies': { type: 'array', items: { type: 'string' }, description: 'Of `rate_limited`: the limits that are used up.' },
        errors: { type: 'array', description: 'Of `validation`: one for each field.', items: schema('FieldProblem') },
      },
    },
    FieldProblem: {
      type: 'object',
      required: ['pointer', 'rule', 'message'],
      properties: {
        pointer: { type: 'string', format: 'json-pointer', description: 'Into the body (RFC 6901).' },
        rule: { type: 'string' },
        message: { type: 'string' },
      },
    },
    Readiness: {
      type: 'object',
      required: ['status', 'checks'],
      properties: {
        status: { enum: ['ready', 'degraded', 'unavailable'] },
        checks: {
          type: 'object',
          required: ['queue', 'store'],
          properties: { queue: { type: 'string' }, store: { type: 'string' } },
        },
      },
    },
  };
}

/** A relative reference: https://www.rfc-editor.org/rfc/rfc9457#section-3.1.1 */
function problemType(name: string): string {
  return `/problems/${name}`;
}

function problemList(problems: Readonly<Record<string, ProblemDescription>>): string {
  return Object.entries(problems)
    .map(([name, { status, explanation }]) => `- \`${problemType(name)}\` (${status}): ${explanation}`)
    .join('\n');
}

/** The answers with problems, each made once, however many operations have it. */
export class ProblemAnswers {
  readonly #problems: Problems;
  readonly components: Record<string, Schema> = {};

  constructor(problems: Problems) {
    this.#problems = problems;
  }

  /** By status, as an operation lists them. */
  of(names: readonly ProblemName[]): Readonly<Record<string, Schema>> {
    const byStatus = Object.groupBy(names, (name) => this.#problems[name].status);
    return Object.fromEntries(
      Object.entries(byStatus).map(([status, group = []]) => {
        const component = group.join('.');
        this.components[component] ??= this.#answer(Number(status), group);
        return [status, reference('responses', component)];
      }),
    );
  }

  #answer(status: number, names: readonly ProblemName[]): Schema {
    const own = { type: 'object', properties: { type: { enum: names.map(problemType) }, status: { const: status } } };
    return {
      description: names.map((name) => `${this.#problems[name].title} (\`${problemType(name)}\`).`).join(' '),
      headers: headersOf(...problemHeaders(status)),
      content: { 'application/problem+json': { schema: { allOf: [schema('Problem'), own] } } },
    };
  }
}
