/**
 * Token buckets as one number each, the instant at which the bucket will be full again (the generic cell rate
 * algorithm, https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm). A bucket whose instant has passed is full,
 * and so is one that nobody knows: what is idle needs no memory. All times here are whole microseconds, which a
 * double holds exactly.
 */
import { LRUCache } from 'lru-cache';
import type { Bucket, BucketLevel, Taken } from './port.ts';

const SECOND = 1_000_000;

/** The time in which one token flows in. */
export function intervalOf({ perSecond }: Bucket): number {
  return Math.ceil(SECOND / perSecond);
}

/** `fullIn`: until the bucket is full again. */
export function levelOf(bucket: Bucket, fullIn: number): BucketLevel {
  const interval = intervalOf(bucket);
  const there = interval * bucket.burst - fullIn;
  const left = Math.max(0, Math.floor(there / interval));
  return { left, nextMs: left >= bucket.burst ? 0 : ((left + 1) * interval - there) / 1000 };
}

/** Buckets of this thread. Of more than are kept, the least recently used is forgotten, and so is full again. */
export class LocalBuckets {
  readonly #fullAt: LRUCache<string, number>;
  readonly #nowMs: () => number;

  constructor(maxBuckets: number, nowMs: () => number) {
    this.#fullAt = new LRUCache({ max: maxBuckets });
    this.#nowMs = nowMs;
  }

  take(buckets: readonly Bucket[]): Taken {
    const now = Math.floor(this.#nowMs() * 1000);
    const fullIn = buckets.map(({ key }) => Math.max(0, (this.#fullAt.get(key) ?? now) - now));
    const after = buckets.map((bucket, i) => (fullIn[i] ?? 0) + intervalOf(bucket));
    const taken = buckets.every((bucket, i) => (after[i] ?? 0) <= intervalOf(bucket) * bucket.burst);
    if (taken) buckets.forEach(({ key }, i) => this.#fullAt.set(key, now + (after[i] ?? 0)));
    return { taken, levels: buckets.map((bucket, i) => levelOf(bucket, (taken ? after : fullIn)[i] ?? 0)) };
  }
}

/**
 * The same in Redis, by its clock. KEYS: the buckets. ARGV: of each, the interval of a token and that of a full
 * bucket. The answer: 1 where the tokens were taken, then of each bucket the time until it is full.
 * A key lives until its bucket is full. https://redis.io/docs/latest/develop/programmability/eval-intro/
 */
export const TAKE_SCRIPT = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answer = { 1 }
for i, key in ipairs(KEYS) do
  local full_in = math.max(0, (tonumber(redis.call('GET', key) or now)) - now)
  if full_in + ARGV[2 * i - 1] > tonumber(ARGV[2 * i]) then answer[1] = 0 end
  answer[i + 1] = full_in
end
if answer[1] == 1 then
  for i, key in ipairs(KEYS) do
    local full_in = answer[i + 1] + ARGV[2 * i - 1]
    redis.call('SET', key, string.format('%.0f', now + full_in), 'PX', math.ceil(full_in / 1000))
    answer[i + 1] = full_in
  end
end
return answer
`;
