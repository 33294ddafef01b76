import { SpanwayError } from '../schemas/errors.ts';
import type { Reason } from '../schemas/envelope/ledger.ts';

/** A URL or option that an adapter cannot use. The text gives what was received and what is expected. */
export class AdapterConfigError extends SpanwayError {
  override readonly name = 'AdapterConfigError';
  constructor(message: string, options: { context?: Record<string, unknown>; cause?: unknown } = {}) {
    super('adapter_config', message, options);
  }
}

/**
 * A call to a broker, cache or secret store failed. Whether it took effect there is unknown unless the port says
 * otherwise; trying again is always allowed.
 */
export class PortUnavailableError extends SpanwayError {
  override readonly name = 'PortUnavailableError';
  constructor(port: string, message: string, options: { context?: Record<string, unknown>; cause?: unknown } = {}) {
    super('port_unavailable', `${port}: ${message}`, options);
  }
}

/** A call no queue or topic could carry out, whatever its state: too many messages, or one over a limit. The caller has a bug. */
export class PortMisuseError extends SpanwayError {
  override readonly name = 'PortMisuseError';
  constructor(message: string, context: Record<string, unknown> = {}) {
    super('port_misuse', message, { context });
  }
}

/**
 * What a failed store call means for the one who made it:
 * - `transient`: try the same call again, in order, until it passes. Of a commit, it may have happened.
 * - `already_exists`, `not_found`: an insert met a row, an update met none; nothing was written.
 * - `refused`: the database will never take this; `reason` says why; nothing was written.
 * - `unknown`: none of these is known to hold.
 */
export type StoreFailure = 'transient' | 'already_exists' | 'not_found' | 'refused' | 'unknown';

export class StoreError extends SpanwayError {
  override readonly name = 'StoreError';
  readonly failure: StoreFailure;
  /** The reason a submission gets that causes this. */
  readonly reason: Reason | undefined;
  constructor(
    failure: StoreFailure,
    message: string,
    options: { reason?: Reason; context?: Record<string, unknown>; cause?: unknown } = {},
  ) {
    super(`store_${failure}`, message, options);
    this.failure = failure;
    this.reason = options.reason;
  }
}
