/** The request headers of the contract, each read once, each with its own refusal. */
import { randomUUID } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { FastifyRequest } from 'fastify';
import { RequestError } from './errors.ts';

/** 32 digits; a UUID's are several times quicker to have than random bytes. */
function randomHex(): string {
  return randomUUID().replaceAll('-', '');
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Of a POST that writes nothing, as a batch of reads is. */
    reads?: boolean;
  }
}

/** By its method, and for a POST by its route too. */
export function isWrite(request: FastifyRequest): boolean {
  const { method } = request;
  if (method === 'GET' || method === 'HEAD' || method === 'OPTIONS') return false;
  return method !== 'POST' || request.routeOptions.config.reads !== true;
}

/** Every Authorization header. `headers` has the first alone, and says nothing of others. https://nodejs.org/api/http.html#messageheaders */
export function authorizationsOf({ rawHeaders }: IncomingMessage): readonly string[] {
  return rawHeaders.filter((_, i) => i % 2 === 1 && rawHeaders[i - 1]?.toLowerCase() === 'authorization');
}

export function newCorrelationId(): string {
  return randomUUID();
}

/** The caller's Correlation-Id, or a new one. */
export function correlationIdOf(headers: IncomingHttpHeaders): string {
  const given = headers['correlation-id'];
  return typeof given === 'string' && isCorrelationId(given) ? given : newCorrelationId();
}

export function checkCorrelationId(headers: IncomingHttpHeaders): void {
  const given = headers['correlation-id'];
  if (given !== undefined && !(typeof given === 'string' && isCorrelationId(given))) {
    throw new RequestError('invalid_parameter', 'Correlation-Id must be 1 to 128 of the characters A-Z a-z 0-9 . _ : / + = @ -');
  }
}

/** A compressed body is refused: its size would be known only after it is unpacked. */
export function checkContentCoding(headers: IncomingHttpHeaders): void {
  const given = headers['content-encoding'];
  if (given !== undefined && !/^(?:identity)?$/i.test(given)) {
    throw new RequestError('unsupported_media_type', 'the body must come as it is, without a Content-Encoding');
  }
}

export function isCorrelationId(text: string): boolean {
  return /^[A-Za-z0-9._:/+=@-]{1,128}$/.test(text);
}

/** The trace of the request and a new span in it, or a new trace. https://www.w3.org/TR/trace-context/#traceparent-header */
export function traceOf(headers: IncomingHttpHeaders): { traceparent: string; tracestate?: string } {
  const given = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/.exec(String(headers['traceparent'] ?? ''));
  const valid = given && !/^0+$/.test(given[1] ?? '') && !/^0+$/.test(given[2] ?? '');
  const random = randomHex();
  const span = random.slice(16);
  // Ids of different kinds: that one ends as the other says nothing.
  if (!valid) return { traceparent: `00-${random}-${span}-01` };
  const state = headers['tracestate'];
  return {
    traceparent: `00-${given[1] ?? ''}-${span}-${given[3] ?? ''}`,
    ...(typeof state === 'string' && state.length <= 512 ? { tracestate: state } : {}),
  };
}

/** https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/ : a quoted string; unquoted is taken too. */
export function idempotencyKeyOf(headers: IncomingHttpHeaders): string | undefined {
  const given = headers['idempotency-key'];
  if (given === undefined) return undefined;
  const match =
    typeof given === 'string' ? /^"([\x20-\x21\x23-\x5b\x5d-\x7e]{1,255})"$|^([\x21\x23-\x5b\x5d-\x7e]{1,255})$/.exec(given) : undefined;
  if (!match)
    throw new RequestError(
      'invalid_parameter',
      'Idempotency-Key must be 1 to 255 printable ASCII characters, with or without double quotes around them',
    );
  return match[1] ?? match[2];
}

/** `Prefer: wait=SECONDS` (RFC 7240, section 4.3), at most `maxSeconds`; undefined where it is not asked for. */
export function preferredWaitSeconds(headers: IncomingHttpHeaders, maxSeconds: number): number | undefined {
  const given = headers['prefer'];
  if (given === undefined) return undefined;
  const preference = String(given)
    .split(',')
    .map((p) => /^\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:;.*)?$/i.exec(p)?.[1])
    .find((p) => p !== undefined);
  // RFC 7240, section 2: a preference that is not understood is ignored.
  return preference === undefined ? undefined : Math.min(Number(preference), maxSeconds);
}

/** The version that `If-Match` names, or `*`. One strong entity tag: a list has no meaning for a queued write. */
export function ifMatchOf(headers: IncomingHttpHeaders): string | undefined {
  const given = headers['if-match'];
  if (given === undefined) return undefined;
  const match = /^\s*(?:\*|"([^"]{1,64})")\s*$/.exec(given);
  if (!match) throw new RequestError('invalid_parameter', 'If-Match must be * or one strong entity tag in double quotes');
  return match[1] ?? '*';
}

export function etagOf(version: string): string {
  return `"${version}"`;
}

/** Whether `If-None-Match` names this version (RFC 9110, section 13.1.2, weak comparison). */
export function noneMatch(headers: IncomingHttpHeaders, version: string): boolean {
  const given = headers['if-none-match'];
  if (given === undefined) return true;
  const tags = given.split(',').map((tag) => tag.trim().replace(/^W\//, ''));
  return !tags.includes('*') && !tags.includes(etagOf(version));
}
