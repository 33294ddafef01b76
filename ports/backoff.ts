/** Trying again until it passes: exponential, jittered, and it ends when the role stops. */
import { setTimeout as sleep } from 'node:timers/promises';
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

/**
 * Before the try behind so many failures, from 1, in milliseconds. Up to half of it is left to chance, of the longest pause too:
 * https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
 */
export function pauseMs({ minMs, maxMs }: BackoffSettings, failures: number): number {
  return Math.min(minMs * 2 ** (failures - 1), maxMs) * (0.5 + Math.random() / 2);
}

/** @throws the last failure when it is not worth another try or the attempts are used up; the signal's reason when it aborts. */
export function untilPasses<T>(work: () => Promise<T>, { signal, backoff, max, when, onFailure }: Attempts): Promise<T> {
  let failures = 0;
  const attempt = async (): Promise<T> => {
    // p-retry's own pauses are all the same once they are at their longest.
    if (failures > 0) await sleep(pauseMs(backoff, failures), undefined, { signal });
    return work();
  };
  return pRetry(attempt, {
    retries: max === undefined ? Number.POSITIVE_INFINITY : max - 1,
    minTimeout: 0,
    signal,
    shouldRetry: ({ error }) => when?.(error) ?? true,
    onFailedAttempt: ({ error, attemptNumber }) => {
      failures = attemptNumber;
      onFailure(error, attemptNumber);
    },
  });
}
