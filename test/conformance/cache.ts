/** What every adapter of the cache port must do. */
import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Bucket, Cache } from '../../ports/cache/port.ts';
import { PortUnavailableError } from '../../ports/errors.ts';

export interface CacheFixture {
  readonly cache: Cache;
  /** Another process's cache, as far as the adapter reaches: values, signals and buckets are those of both. */
  readonly other: Cache;
  /** On the same server, as another installation has it. */
  readonly elsewhere: Cache;
  remove(): Promise<void>;
}

const LONG_MS = 20_000;
/** For waits that must end with nothing. Too short, they would pass for the wrong reason; a signal takes about 1 ms. */
const SHORT_MS = 150;

export function cacheConformance(name: string, open: () => Promise<CacheFixture>): void {
  describe(`cache: ${name}`, () => {
    let cache: Cache;
    let other: Cache;
    let elsewhere: Cache;
    let remove: () => Promise<void>;
    let key: string;
    beforeEach(async () => {
      ({ cache, other, elsewhere, remove } = await open());
      key = `test:${randomUUID()}`;
    });
    afterEach(() => remove());

    describe('values with versions', () => {
      it('gives what was put, to the other one too, and nothing under another key', async () => {
        for (const value of ['', '{"a":1}', '=-=', 'ü 数 \u0000 \ud83d\ude00', 'x'.repeat(200_000)]) {
          await cache.versioned.put(key, value, 1_000_000_000_000_000, LONG_MS);
          expect(await other.versioned.get(key)).toBe(value);
        }
        expect(await cache.versioned.get(`${key}x`)).toBeUndefined();
      });

      it('puts nothing over a newer value, whatever comes first', async () => {
        await cache.versioned.put(key, 'ten', 10, LONG_MS);
        await other.versioned.put(key, 'nine', 9, LONG_MS);
        expect(await cache.versioned.get(key)).toBe('ten');
        await other.versioned.put(key, 'ten again', 10, LONG_MS);
        expect(await cache.versioned.get(key)).toBe('ten again');
        await other.versioned.put(key, 'highest', Number.MAX_SAFE_INTEGER, LONG_MS);
        await cache.versioned.put(key, 'eleven', 11, LONG_MS);
        expect(await cache.versioned.get(key)).toBe('highest');
      });

      it('neither gives nor puts what was outdated, and puts what is as new', async () => {
        const keys = Array.from({ length: 1200 }, (_, i) => `${key}:${i}`);
        await cache.versioned.put(key, 'old', 9, LONG_MS);
        await cache.versioned.put(keys[700] ?? '', 'newer', 50, LONG_MS);
        await other.versioned.outdate([{ key, version: 10 }, ...keys.map((k, i) => ({ key: k, version: i % 100 }))], LONG_MS);
        expect(await cache.versioned.get(key)).toBeUndefined();
        await cache.versioned.put(key, 'late', 9, LONG_MS);
        expect(await cache.versioned.get(key)).toBeUndefined();
        await cache.versioned.put(key, 'new', 10, LONG_MS);
        expect(await cache.versioned.get(key)).toBe('new');
        expect(await cache.versioned.get(keys[700] ?? '')).toBe('newer');
        await cache.versioned.put(keys[1199] ?? '', 'late', 98, LONG_MS);
        expect(await cache.versioned.get(keys[1199] ?? '')).toBeUndefined();
      });

      it('gives the same at once where they are in this thread, and else has no such call', async () => {
        const { versioned } = cache;
        const now = (name: string): string | undefined => versioned.getNow?.(name);
        await versioned.put(key, 'value', 10, LONG_MS);
        expect(now(key)).toBe(versioned.getNow ? await versioned.get(key) : undefined);
        await versioned.outdate([{ key, version: 11 }], LONG_MS);
        expect(now(key)).toBeUndefined();
        await versioned.put(`${key}s`, 'short', 10, 60);
        await expect.poll(() => now(`${key}s`)).toBeUndefined();
      });

      it('leaves a value that is as new as what outdates it', async () => {
        await cache.versioned.put(key, 'value', 10, LONG_MS);
        await cache.versioned.outdate([{ key, version: 10 }], LONG_MS);
        await cache.versioned.outdate([], LONG_MS);
        expect(await other.versioned.get(key)).toBe('value');
      });

      it('forgets values, and that they were outdated, after the TTL', async () => {
        await cache.versioned.put(key, 'value', 10, 60);
        await cache.versioned.outdate([{ key: `${key}o`, version: 10 }], 60);
        await expect.poll(() => cache.versioned.get(key)).toBeUndefined();
        await expect
          .poll(async () => {
            await cache.versioned.put(`${key}o`, 'older', 9, LONG_MS);
            return cache.versioned.get(`${key}o`);
          })
          .toBe('older');
      });
    });

    describe('values', () => {
      it('adds a value only where there is none, whoever added it', async () => {
        await cache.add(key, 'first', LONG_MS);
        await Promise.all([cache.add(key, 'second', LONG_MS), other.add(key, 'third', LONG_MS)]);
        expect([await cache.get(key), await other.get(key)]).toEqual(['first', 'first']);
      });

      it('finds nothing under a key that was never added', async () => {
        expect(await cache.get(key)).toBeUndefined();
      });

      it.each(['{"a":1}', '', 'ü 数 \u0000 \ud83d\ude00', 'x'.repeat(200_000)])(
        'gives back what was added, to the other one too',
        async (value) => {
          await cache.add(key, value, LONG_MS);
          expect(await cache.get(key)).toBe(value);
          expect(await other.get(key)).toBe(value);
        },
      );

      it('never gives a value older than its TTL', async () => {
        const ttlMs = 60;
        await cache.add(key, 'value', ttlMs);
        const expiredFrom = performance.now() + ttlMs;
        let asked: number;
        let value: string | undefined;
        do {
          asked = performance.now();
          value = await cache.get(key);
          // A millisecond for the grain of the server's clock.
          if (value !== undefined) expect(asked).toBeLessThanOrEqual(expiredFrom + 1);
        } while (value !== undefined);
      });

      it('counts the TTL from the add that put it there, and adds again after it', async () => {
        await cache.add(key, 'first', 500.5);
        await other.add(key, 'second', 1000);
        await expect.poll(() => cache.get(key), { timeout: LONG_MS, interval: 20 }).toBeUndefined();
        await cache.add(key, 'third', LONG_MS);
        expect(await other.get(key)).toBe('third');
      });

      it.each([0, 0.5, -5])('keeps nothing for a TTL of %d ms', async (ttlMs) => {
        await cache.add(key, 'value', ttlMs);
        expect(await cache.get(key)).toBeUndefined();
        await cache.add(key, 'another', LONG_MS);
        await cache.add(key, 'value', ttlMs);
        expect(await cache.get(key)).toBe('another');
      });
    });

    describe('signals', () => {
      it('wakes who waits, in the other process too', async () => {
        const [here, there] = [await cache.listen(key), await other.listen(key)];
        const waits = [here.wait(LONG_MS), there.wait(LONG_MS)];
        await cache.signal([key]);
        expect(await Promise.all(waits)).toEqual([true, true]);
        here.close();
        there.close();
      });

      it('is seen when it came between listen and wait', async () => {
        const listener = await cache.listen(key);
        await other.signal([key]);
        expect(await listener.wait(LONG_MS)).toBe(true);
        expect(await listener.wait(LONG_MS)).toBe(true);
        listener.close();
      });

      it('is kept for nobody', async () => {
        await cache.signal([key]);
        const listener = await cache.listen(key);
        expect(await listener.wait(SHORT_MS)).toBe(false);
        listener.close();
      });

      it('wakes the waiters of every channel it names, and of no other', async () => {
        const names = [`${key}:a`, `${key}:b`, `${key}:c`];
        const listeners = await Promise.all(names.map((channel) => cache.listen(channel)));
        await other.signal(names.slice(0, 2));
        expect(await Promise.all(listeners.map((listener, i) => listener.wait(i < 2 ? LONG_MS : SHORT_MS)))).toEqual([true, true, false]);
        for (const listener of listeners) listener.close();
      });

      it('wakes every wait of a listener and every listener of a channel', async () => {
        const [one, two] = await Promise.all([cache.listen(key), cache.listen(key)]);
        const waits = [one.wait(LONG_MS), one.wait(LONG_MS), two.wait(LONG_MS)];
        await other.signal([key]);
        expect(await Promise.all(waits)).toEqual([true, true, true]);
        one.close();
        two.close();
      });

      it('still reaches a listener after another one of its channel was closed', async () => {
        const [closed, open] = [await cache.listen(key), await cache.listen(key)];
        closed.close();
        closed.close();
        await other.signal([key]);
        expect(await open.wait(LONG_MS)).toBe(true);
        open.close();
      });

      it('reaches a listener that came right after the last one of its channel was closed', async () => {
        (await cache.listen(key)).close();
        const listener = await cache.listen(key);
        await other.signal([key]);
        expect(await listener.wait(LONG_MS)).toBe(true);
        listener.close();
      });

      it('goes to no channels without complaint, and to channels nobody listens to', async () => {
        await cache.signal([]);
        await cache.signal([key, key]);
      });
    });

    describe('waits', () => {
      it('end with false after the time-out', async () => {
        const listener = await cache.listen(key);
        expect(await listener.wait(20)).toBe(false);
        expect(await listener.wait(0)).toBe(false);
        listener.close();
      });

      it('end with false on an abort, before and during the wait', async () => {
        const listener = await cache.listen(key);
        const abort = new AbortController();
        const wait = listener.wait(LONG_MS, abort.signal);
        abort.abort();
        expect(await wait).toBe(false);
        expect(await listener.wait(LONG_MS, abort.signal)).toBe(false);
        listener.close();
      });

      it('end with false when the listener or the cache is closed', async () => {
        const [one, two] = [await cache.listen(key), await cache.listen(key)];
        const waits = [one.wait(LONG_MS), two.wait(LONG_MS)];
        one.close();
        await cache.close();
        expect(await Promise.all(waits)).toEqual([false, false]);
      });
    });

    describe('token buckets', () => {
      /** Slow: nothing flows into one while a test runs. */
      const slow = (name: string, burst: number): Bucket => ({ key: `{${key}}:${name}`, perSecond: 0.001, burst });

      it('give their burst, then nothing, and say how much is left and when there is more', async () => {
        const bucket = slow('a', 3);
        for (const left of [2, 1, 0]) expect(await cache.take([bucket])).toMatchObject({ taken: true, levels: [{ left }] });
        const refused = await other.take([bucket]);
        expect(refused).toMatchObject({ taken: false, levels: [{ left: 0 }] });
        expect(refused.levels[0]?.nextMs).toBeGreaterThan(1_000_000 - LONG_MS);
        expect(refused.levels[0]?.nextMs).toBeLessThanOrEqual(1_000_000);
        expect(refused.fallback).toBeUndefined();
      });

      it('give from all or from none', async () => {
        const [full, empty] = [slow('full', 2), slow('empty', 1)];
        await cache.take([empty]);
        const refused = await cache.take([full, empty]);
        expect(refused.taken).toBe(false);
        expect(refused.levels.map(({ left }) => left)).toEqual([2, 0]);
        expect(await cache.take([full])).toMatchObject({ taken: true, levels: [{ left: 1 }] });
      });

      it('give to many at once, from both sides, no more than the burst', async () => {
        const [shared, one, two] = [slow('shared', 10), slow('one', 100), slow('two', 100)];
        const takes = await Promise.all(
          Array.from({ length: 60 }, (_, i) => (i % 2 === 0 ? cache : other).take([shared, i % 2 === 0 ? one : two])),
        );
        expect(takes.filter(({ taken }) => taken)).toHaveLength(10);
        // Of the two of their own, as much was taken as of the one that they share.
        const { levels } = await cache.take([one, two]);
        expect(levels.reduce((sum, { left }) => sum + left, 0)).toBe(200 - 10 - 2);
      });

      it('fill at their rate: in any time no more than the burst and what flowed in', async () => {
        const bucket = { key: `{${key}}:fast`, perSecond: 200, burst: 5 };
        const from = performance.now();
        let given = 0;
        while (given < 50) {
          const { taken, levels } = await cache.take([bucket]);
          if (taken) given += 1;
          // A millisecond, for the two clocks.
          const most = bucket.burst + ((performance.now() - from + 1) / 1000) * bucket.perSecond;
          expect(given).toBeLessThanOrEqual(most);
          expect(levels[0]?.nextMs).toBeLessThanOrEqual(1000 / bucket.perSecond);
        }
      });

      it('are full again when they were not used', async () => {
        const bucket = { key: `{${key}}:idle`, perSecond: 1000, burst: 2 };
        await cache.take([bucket]);
        await expect.poll(async () => (await cache.take([{ ...bucket, burst: 3 }])).levels[0]?.left).toBe(2);
      });

      it('of none give at once', async () => {
        expect(await cache.take([])).toEqual({ taken: true, levels: [] });
      });
    });

    describe('another namespace on the same server', () => {
      it('sees none of the values, and its own stay apart', async () => {
        const row = `${key}:row`;
        await cache.add(key, 'here', LONG_MS);
        await cache.versioned.put(row, 'here', 10, LONG_MS);
        expect([await elsewhere.get(key), await elsewhere.versioned.get(row)]).toEqual([undefined, undefined]);
        await elsewhere.add(key, 'there', LONG_MS);
        await elsewhere.versioned.put(row, 'there', 5, LONG_MS);
        await elsewhere.versioned.outdate([{ key: row, version: 20 }], LONG_MS);
        expect([await other.get(key), await other.versioned.get(row)]).toEqual(['here', 'here']);
        expect([await elsewhere.get(key), await elsewhere.versioned.get(row)]).toEqual(['there', undefined]);
      });

      it('hears none of the signals', async () => {
        const [here, there] = [await other.listen(key), await elsewhere.listen(key)];
        await cache.signal([key]);
        expect(await Promise.all([here.wait(LONG_MS), there.wait(SHORT_MS)])).toEqual([true, false]);
        here.close();
        there.close();
      });

      it('has buckets of its own', async () => {
        const bucket = { key, perSecond: 0.001, burst: 1 };
        expect((await cache.take([bucket])).taken).toBe(true);
        expect(await elsewhere.take([bucket])).toMatchObject({ taken: true, levels: [{ left: 0 }] });
        expect((await other.take([bucket])).taken).toBe(false);
      });
    });

    it('answers a ping', async () => {
      await expect(cache.ping()).resolves.toBeUndefined();
    });

    it('throws PortUnavailableError from every call after it was closed, and closes twice', async () => {
      await cache.close();
      await cache.close();
      await expect(cache.get(key)).rejects.toThrow(PortUnavailableError);
      await expect(cache.add(key, 'value', LONG_MS)).rejects.toThrow(PortUnavailableError);
      await expect(cache.signal([key])).rejects.toThrow(PortUnavailableError);
      await expect(cache.listen(key)).rejects.toThrow(PortUnavailableError);
      await expect(cache.take([{ key, perSecond: 1, burst: 1 }])).rejects.toThrow(PortUnavailableError);
      await expect(cache.ping()).rejects.toThrow(PortUnavailableError);
    });
  });
}
