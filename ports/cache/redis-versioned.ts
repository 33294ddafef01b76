/** Values with versions in Redis: one string each, its version first. Scripts compare and set, which no command does alone. */
import type { Redis } from 'ioredis';
import type { OutdatedValue, VersionedValues } from './port.ts';

/** Digits of the largest safe integer: versions of one length compare as texts. */
const DIGITS = 16;
/** After the version. */
const VALUE = '=';
const OUTDATED = '-';

/** KEYS[1]; ARGV: version, what is kept, TTL in milliseconds. https://redis.io/docs/latest/develop/programmability/eval-intro/ */
export const PUT_SCRIPT = `
if redis.call('GETRANGE', KEYS[1], 0, ${DIGITS - 1}) <= ARGV[1] then redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'PX', ARGV[3]) end`;

/** KEYS; ARGV: TTL in milliseconds, then the version of each key. */
export const OUTDATE_SCRIPT = `
for i, key in ipairs(KEYS) do
  if redis.call('GETRANGE', key, 0, ${DIGITS - 1}) < ARGV[i + 1] then redis.call('SET', key, ARGV[i + 1] .. '${OUTDATED}', 'PX', ARGV[1]) end
end`;

/** Keys of one script: others wait while it runs. */
const MAX_KEYS = 500;

/** A client that knows the scripts. ioredis sends their text once, then their hash. */
export type VersionedRedis = Redis & {
  spanwayPut(key: string, version: string, kept: string, ttlMs: number): Promise<unknown>;
  spanwayOutdate(keyCount: number, ...keysAndArguments: (string | number)[]): Promise<unknown>;
};

export class RedisVersionedValues implements VersionedValues {
  readonly #redis: VersionedRedis;
  readonly #prefix: string;
  readonly #answered: <T>(call: Promise<T>) => Promise<T>;

  /** `answered` makes the port's errors of the client's. */
  constructor(redis: VersionedRedis, prefix: string, answered: <T>(call: Promise<T>) => Promise<T>) {
    this.#redis = redis;
    this.#prefix = prefix;
    this.#answered = answered;
  }

  async get(key: string): Promise<string | undefined> {
    const text = await this.#answered(this.#redis.get(this.#prefix + key));
    return text?.[DIGITS] === VALUE ? text.slice(DIGITS + 1) : undefined;
  }

  async put(key: string, value: string, version: number, ttlMs: number): Promise<void> {
    const ttl = Math.floor(ttlMs);
    if (ttl >= 1) await this.#answered(this.#redis.spanwayPut(this.#prefix + key, digits(version), VALUE + value, ttl));
  }

  async outdate(outdated: readonly OutdatedValue[], ttlMs: number): Promise<void> {
    const ttl = Math.floor(ttlMs);
    if (ttl < 1) return;
    for (let from = 0; from < outdated.length; from += MAX_KEYS) {
      const some = outdated.slice(from, from + MAX_KEYS);
      const keys = some.map(({ key }) => this.#prefix + key);
      const versions = some.map(({ version }) => digits(version));
      await this.#answered(this.#redis.spanwayOutdate(keys.length, ...keys, ttl, ...versions));
    }
  }
}

function digits(version: number): string {
  return String(version).padStart(DIGITS, '0');
}
