/** What can go wrong with a request. `problems.ts` alone turns these into HTTP. */
import { SpanwayError } from '../../schemas/errors.ts';
import type { ProblemName } from '../../schemas/openapi/shared.ts';

/** The problem types that are the request's own fault and have no error class of their own. */
export type RequestFault = Exclude<ProblemName, 'validation' | 'rate_limited' | 'unavailable' | 'internal'>;

/** A request that cannot be served as it is. The message is for the caller. */
export class RequestError extends SpanwayError {
  override readonly name = 'RequestError';
  declare readonly code: RequestFault;
  constructor(fault: RequestFault, message: string, options: { context?: Record<string, unknown>; cause?: unknown } = {}) {
    super(fault, message, options);
  }
}

/** More requests than these limits allow. Nothing was done for it, and nothing was taken from any bucket. */
export class RateLimitedError extends SpanwayError {
  override readonly name = 'RateLimitedError';
  readonly policies: readonly string[];
  readonly retryAfterSeconds: number;
  constructor(policies: readonly string[], retryAfterSeconds: number) {
    super('rate_limited', `too many requests for ${policies.join(' and ')}; there is room again in ${retryAfterSeconds} s`);
    this.policies = policies;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** The caller may try again: nothing is known to be accepted. */
export class UnavailableError extends SpanwayError {
  override readonly name = 'UnavailableError';
  readonly retryAfterSeconds: number;
  constructor(message: string, options: { retryAfterSeconds?: number; cause?: unknown } = {}) {
    super('unavailable', message, options);
    this.retryAfterSeconds = options.retryAfterSeconds ?? 1;
  }
}
