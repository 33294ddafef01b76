/** Every error as a problem document (RFC 9457). The one place where HTTP statuses of errors are chosen. */
import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { StoreError } from '../../ports/errors.ts';
import { type FieldProblem, ValidationError } from '../../schemas/errors.ts';
import type { ProblemDescription, ProblemName } from '../../schemas/openapi/shared.ts';
import { logDenied } from './decisions.ts';
import { RateLimitedError, RequestError, UnavailableError } from './errors.ts';

/** `explanation` is shown at the URL that `type` names. */
export const PROBLEM_TYPES: Readonly<Record<ProblemName, ProblemDescription>> = {
  malformed_json: { status: 400, title: 'The body is not JSON', explanation: 'The body must be one JSON text in UTF-8 (RFC 8259).' },
  unsupported_media_type: {
    status: 415,
    title: 'Unsupported media type',
    explanation: 'Send application/json; PATCH takes application/merge-patch+json too.',
  },
  invalid_parameter: {
    status: 400,
    title: 'A header or parameter is not valid',
    explanation: 'The detail names it and the form it must have.',
  },
  unserved_filter: {
    status: 400,
    title: 'No key or index serves this filter',
    explanation:
      "Rows are found by the first parts of the key, or of an index, and a range of the part after those. The detail lists the resource's own.",
  },
  unauthenticated: {
    status: 401,
    title: 'No valid token',
    explanation:
      'Send "Authorization: Bearer TOKEN" with a token that is signed by a configured issuer, for this audience, and not expired.',
  },
  forbidden: {
    status: 403,
    title: 'Not allowed',
    explanation:
      'The token is valid, but no rule of the resource allows this to its bearer. "reason" is "action": not this action; "agent": not to the agent that acts for the bearer; or "row": not for these fields or values. Without it: no principal is configured for the AWS identity that signed the request.',
  },
  unknown_resource: { status: 404, title: 'No such resource', explanation: 'No resource of this name is declared.' },
  unknown_route: { status: 404, title: 'No such route', explanation: 'Nothing answers this method and path.' },
  row_not_found: { status: 404, title: 'No such row', explanation: "There is no row with this key among the caller's tenant's." },
  submission_not_found: { status: 404, title: 'No such submission', explanation: 'The id was never given out to this tenant.' },
  idempotency_key_reused: {
    status: 422,
    title: 'Idempotency-Key reused',
    explanation: 'The key was used before with another payload. Use a new key for a new write, and the same payload for a retry.',
  },
  too_large: {
    status: 413,
    title: 'Too large',
    explanation: 'The detail gives the limit that the gateway, the queue or the database sets.',
  },
  one_aggregate: {
    status: 422,
    title: 'More than one aggregate',
    explanation: 'All mutations of a submission must belong to one root row and its children.',
  },
  conditions_unsupported: {
    status: 400,
    title: 'Condition not supported',
    explanation: 'Only a resource with a commit-timestamp field has versions to compare, and only a write of one row can be conditional.',
  },
  validation: {
    status: 422,
    title: 'The value does not fit the schema',
    explanation: '"errors" lists each field by JSON Pointer, the rule it breaks and why.',
  },
  rate_limited: {
    status: 429,
    title: 'Too many requests',
    explanation:
      'A limit on the requests of the tenant, the caller or the agent is used up: "violated-policies" names it, and the headers RateLimit and RateLimit-Policy say what it is. Try again after Retry-After.',
  },
  unavailable: {
    status: 503,
    title: 'Unavailable',
    explanation:
      'Something behind the gateway cannot be reached, or there is more to do than it can. The detail says where a write was surely not accepted. Try again after Retry-After; with the same Idempotency-Key a write is never doubled.',
  },
  internal: { status: 500, title: 'Internal error', explanation: 'A fault of the gateway. The log has it under the correlation id.' },
};

interface Problem {
  readonly name: ProblemName;
  readonly detail: string;
  readonly errors?: readonly FieldProblem[];
  /** Of a refusal by policy: see `ForbiddenReason`. */
  readonly reason?: string;
  readonly retryAfterSeconds?: number;
  /** The limits that are used up, by their names in the headers. */
  readonly policies?: readonly string[];
}

function problemOf(error: Error, request: FastifyRequest): Problem {
  if (error instanceof RequestError) {
    const reason = error.context['reason'];
    return { name: error.code, detail: error.message, ...(typeof reason === 'string' ? { reason } : {}) };
  }
  if (error instanceof ValidationError) return { name: 'validation', detail: error.message, errors: error.problems };
  if (error instanceof RateLimitedError) {
    return { name: 'rate_limited', detail: error.message, retryAfterSeconds: error.retryAfterSeconds, policies: error.policies };
  }
  if (error instanceof UnavailableError) return { name: 'unavailable', detail: error.message, retryAfterSeconds: error.retryAfterSeconds };
  if (error instanceof StoreError && error.failure === 'transient') {
    return { name: 'unavailable', detail: 'the database cannot be reached', retryAfterSeconds: 1 };
  }
  // Fastify's own refusals: https://fastify.dev/docs/latest/Reference/Errors/
  switch ((error as Partial<FastifyError>).code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return {
        name: 'too_large',
        detail: `the body is larger than ${request.routeOptions.bodyLimit} bytes, which the gateway takes at most`,
      };
    // The second is of the method QUERY.
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
    case 'FST_ERR_ROUTE_MISSING_CONTENT_TYPE':
      return { name: 'unsupported_media_type', detail: 'the content type must be application/json' };
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
      return { name: 'malformed_json', detail: error.message };
    case 'FST_ERR_BAD_URL':
      return { name: 'unknown_route', detail: 'the path is not a valid URL' };
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return { name: 'unknown_route', detail: 'no resource, problem type or submission has so long a name' };
    case 'ECONNRESET':
      return { name: 'invalid_parameter', detail: 'the connection ended before the request did' };
    default:
      return refusalOf(error) ?? { name: 'internal', detail: 'the gateway failed; its log has the reason under this correlation id' };
  }
}

/** What a plugin refuses by a status of its own, as the one that serves the files of /docs does: undefined where it says no 4xx. */
function refusalOf({ statusCode = 500, message }: Partial<FastifyError>): Problem | undefined {
  if (statusCode === 403 || statusCode === 404) return { name: 'unknown_route', detail: 'nothing is given at this path' };
  if (statusCode >= 400 && statusCode < 500) return { name: 'invalid_parameter', detail: `the request cannot be served: ${message}` };
  return undefined;
}

/** Its members that every problem has. */
export function problemDocument(name: ProblemName, detail: string, correlationId: string): Readonly<Record<string, string | number>> {
  const { status, title } = PROBLEM_TYPES[name];
  return { type: `/problems/${name}`, title, status, detail, correlationId };
}

/** For what is no HTTP request at all, where there is no request to answer to. https://nodejs.org/api/http.html#event-clienterror */
export function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Socket, maxHeaderBytes: number): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const name = 'invalid_parameter';
  const [status, detail] =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? [
          '431 Request Header Fields Too Large',
          `the request line and the headers are larger than ${maxHeaderBytes} bytes, which the gateway takes at most`,
        ]
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? ['408 Request Timeout', 'the request did not arrive in time']
        : ['400 Bad Request', 'this is not a valid HTTP request'];
  const correlationId = randomUUID();
  const body = JSON.stringify({ ...problemDocument(name, detail, correlationId), status: Number(status.slice(0, 3)) });
  const head = `HTTP/1.1 ${status}\r\nContent-Type: application/problem+json\r\nCorrelation-Id: ${correlationId}\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n`;
  socket.end(head + body);
}

export function sendProblem(request: FastifyRequest, reply: FastifyReply, error: Error): void {
  const { name, detail, errors, reason, retryAfterSeconds, policies } = problemOf(error, request);
  const { status } = PROBLEM_TYPES[name];
  const what = `${request.method} ${request.routeOptions.url ?? ''}`;
  // Without a cause it was refused to keep the load bounded: there can be many, and a stack says nothing.
  if (error instanceof UnavailableError && error.cause === undefined) request.log.warn({ detail }, `${what} refused`);
  else if (status >= 500) request.log.error({ err: error }, `${what} failed`);
  if (policies) logDenied(request, { reason: name, policies });
  if (status === 401 || status === 403) logDenied(request, { reason: detail, ...(error instanceof RequestError ? error.context : {}) });
  if (status === 401) void reply.header('www-authenticate', 'Bearer');
  if (retryAfterSeconds !== undefined) void reply.header('retry-after', String(retryAfterSeconds));
  void reply
    .code(status)
    .header('correlation-id', request.id)
    .type('application/problem+json')
    .send(JSON.stringify({ ...problemDocument(name, detail, request.id), reason, errors, 'violated-policies': policies }));
}

/** The pages that `type` points to. */
export function problemRoutes(app: FastifyInstance): void {
  app.get<{ Params: { name: string } }>('/problems/:name', (request, reply) => {
    const problem = Object.hasOwn(PROBLEM_TYPES, request.params.name) ? PROBLEM_TYPES[request.params.name as ProblemName] : undefined;
    if (!problem) throw new RequestError('unknown_route', `there is no problem type ${request.params.name}`);
    void reply.type('text/plain; charset=utf-8');
    return `${problem.status} ${problem.title}\n\n${problem.explanation}\n`;
  });
}
