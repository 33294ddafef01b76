/** Trying again until it passes: exponential, jittered, and it ends when the role stops. */
import { setTimeout as sleep } from 'node:timers/promises';

export interface BackoffSettings {
  readonly minMs: number;
  readonly maxMs: number;
}

interface Attempts {
  readonly signal?: AbortSignal;
  readonly backoff: BackoffSettings;
  /** Default: without end. */
  readonly max?: number;
  /** Whether this failure is worth another try. Default: every one that is no bug of the program, a TypeError. */
  readonly when?: (error: Error) => boolean;
  readonly onFailure?: (error: Error, attempt: number) => void;
}

/**
 * Before the try behind so many failures, from 1, in milliseconds. Up to half of it is left to chance, of the longest pause too:
 * https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
 */
export function pauseMs({ minMs, maxMs }: BackoffSettings, failures: number): number {
  return Math.min(minMs * 2 ** (failures - 1), maxMs) * (0.5 + Math.random() / 2);
}

/** @throws the last failure when it is not worth another try or the attempts are used up; the signal's reason when it aborts. */
export async function untilPasses<T>(work: () => Promise<T>, attempts: Attempts): Promise<T> {
  const { signal, backoff, max = Number.POSITIVE_INFINITY, when = () => true, onFailure } = attempts;
  for (let failures = 1; ; failures += 1) {
    signal?.throwIfAborted();
    try {
      const value = await work();
      signal?.throwIfAborted();
      return value;
    } catch (thrown) {
      signal?.throwIfAborted();
      const error = thrown instanceof Error ? thrown : new TypeError(`what was thrown is no error: ${String(thrown)}`);
      onFailure?.(error, failures);
      signal?.throwIfAborted();
      if (failures >= max || isBug(error) || !when(error)) throw error;
    }
    await sleep(pauseMs(backoff, failures), undefined, signal && { signal }).catch(() => undefined);
  }
}

/** No other try mends it. What `fetch` throws of a network is a TypeError too, with a cause. */
function isBug(error: Error): boolean {
  return error instanceof TypeError && error.cause === undefined;
}
