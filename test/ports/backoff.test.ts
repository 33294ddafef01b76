import { expect, it } from 'vitest';
import { pauseMs, untilPasses } from '../../ports/backoff.ts';

const backoff = { minMs: 5, maxMs: 20 };

it('pauses twice as long after each failure, by chance, up to the longest, which chance shortens too', () => {
  for (const [failures, whole] of [
    [1, 5],
    [2, 10],
    [3, 20],
    [50, 20],
  ] as const) {
    const pauses = Array.from({ length: 200 }, () => pauseMs(backoff, failures));
    expect(Math.min(...pauses)).toBeGreaterThanOrEqual(whole / 2);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(whole);
    expect(new Set(pauses).size).toBeGreaterThan(100);
  }
});

it('tries until it passes, up to so many times, and as long as it is worth it', async () => {
  const failures: string[] = [];
  const run = (passesAt: number, more: { max?: number; when?: (error: Error) => boolean } = {}) => {
    let tries = 0;
    return untilPasses(
      () => {
        tries += 1;
        return tries < passesAt ? Promise.reject(new Error(`failure ${tries}`)) : Promise.resolve(tries);
      },
      { signal: new AbortController().signal, backoff, onFailure: (error, n) => failures.push(`${n} ${error.message}`), ...more },
    );
  };
  expect(await run(3)).toBe(3);
  expect(failures).toEqual(['1 failure 1', '2 failure 2']);
  await expect(run(5, { max: 3 })).rejects.toThrow('failure 3');
  await expect(run(5, { when: (error) => error.message !== 'failure 2' })).rejects.toThrow('failure 2');
});

it('does not try a bug again, and does what fetch throws of a network', async () => {
  const failures: string[] = [];
  const run = (thrown: unknown) =>
    untilPasses(() => (failures.length === 3 ? Promise.resolve('passed') : Promise.reject(thrown as Error)), {
      backoff,
      onFailure: (error) => failures.push(error.message),
    });
  await expect(run(new TypeError('no function'))).rejects.toThrow('no function');
  await expect(run('a text')).rejects.toThrow('no error: a text');
  expect(await run(new TypeError('fetch failed', { cause: new Error('ECONNREFUSED') }))).toBe('passed');
  expect(failures).toEqual(['no function', 'what was thrown is no error: a text', 'fetch failed']);
});

it('ends with the reason when it is told to, also in a pause', async () => {
  const stopping = new AbortController();
  const call = untilPasses(() => Promise.reject(new Error('no')), {
    signal: stopping.signal,
    backoff: { minMs: 60_000, maxMs: 60_000 },
    onFailure: () => setTimeout(() => stopping.abort(new Error('stopping')), 5),
  });
  await expect(call).rejects.toThrow('stopping');
});
