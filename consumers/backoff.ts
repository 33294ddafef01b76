/** Trying again until it passes: exponential, jittered, and it ends when the role stops. */
import pRetry from 'p-retry';

export interface BackoffSettings {
  readonly minMs: number;
  readonly maxMs: number;
}

interface Attempts {
  readonly signal: AbortSignal;
  readonly backoff: BackoffSettings;
  /** Default: without end. */
  readonly max?: number;
  /** Whether this failure is worth another try. Default: every one. */
  readonly when?: (error: Error) => boolean;
  readonly onFailure: (error: Error, attempt: number) => void;
}

/** @throws the last failure when it is not worth another try or the attempts are used up; the signal's reason when it aborts. */
export function untilPasses<T>(work: () => Promise<T>, attempts: Attempts): Promise<T> {
  return pRetry(work, {
    retries: attempts.max === undefined ? Number.POSITIVE_INFINITY : attempts.max - 1,
    minTimeout: attempts.backoff.minMs,
    maxTimeout: attempts.backoff.maxMs,
    randomize: true,
    signal: attempts.signal,
    shouldRetry: ({ error }) => attempts.when?.(error) ?? true,
    onFailedAttempt: ({ error, attemptNumber }) => {
      attempts.onFailure(error, attemptNumber);
    },
  });
}
