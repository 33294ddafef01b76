/** What can go wrong with a request. `problems.ts` alone turns these into HTTP. */
import { SpanwayError } from '../../schemas/errors.ts';

export type RequestFault =
  | 'malformed_json'
  | 'unsupported_media_type'
  | 'invalid_parameter'
  | 'unauthenticated'
  | 'forbidden'
  | 'unknown_resource'
  | 'unknown_route'
  | 'row_not_found'
  | 'submission_not_found'
  | 'idempotency_key_reused'
  | 'too_large'
  | 'one_aggregate'
  | 'conditions_unsupported';

/** A request that cannot be served as it is. The message is for the caller. */
export class RequestError extends SpanwayError {
  override readonly name = 'RequestError';
  declare readonly code: RequestFault;
  constructor(fault: RequestFault, message: string, options: { context?: Record<string, unknown>; cause?: unknown } = {}) {
    super(fault, message, options);
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
