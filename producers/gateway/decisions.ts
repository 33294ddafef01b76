/** Each decision of the gateway as a log line: who, on whose behalf, what, why. The logger adds the correlation id. */
import type { FastifyBaseLogger, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';

/** What was decided about. Never a value of a row. */
export interface Decision {
  readonly action: string;
  readonly resource: string;
  /** By its key: `orders/o1`. Of several, the first. */
  readonly row?: string;
  readonly reason?: string;
  /** Of a read: how many rows were found. */
  readonly rows?: number;
  /** The limits that were used up. */
  readonly policies?: readonly string[];
}

/** Whether such lines are written at all: what is in them need not be made where not. */
export function logsAllowed(log: FastifyBaseLogger): boolean {
  return (log as Partial<Pick<Logger, 'isLevelEnabled'>>).isLevelEnabled?.('info') ?? true;
}

/** A request that was let through: a read that is answered, or a write that the queue has, with its submission. */
export function logAllowed(
  request: Pick<FastifyRequest, 'log' | 'caller'>,
  decision: Decision & { readonly submissionId?: string; readonly shard?: number },
  text: string,
): void {
  request.log.info({ decision: 'allow', ...whoOf(request), ...decision }, text);
}

/** A request that policy, the token check or a rate limit refused. */
export function logDenied(request: FastifyRequest, decision: Partial<Decision>): void {
  request.log.warn({ decision: 'deny', ...whoOf(request), ...decision, method: request.method, route: request.routeOptions.url }, 'denied');
}

/** `subject` is on whose behalf, `actor` the agent that acts for it, if one does. */
function whoOf({ caller }: Pick<FastifyRequest, 'caller'>): object {
  // A request whose token was refused has none.
  const { issuer, subject, tenant, client, actor } = (caller as FastifyRequest['caller'] | undefined) ?? {};
  return { issuer, subject, tenant, client, actor };
}
