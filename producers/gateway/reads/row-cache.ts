/** Rows in the cache. While the cache is away there are none, and it is left alone for a moment. */
import { hash } from 'node:crypto';
import type { FastifyBaseLogger } from 'fastify';
import type { Cache } from '../../../ports/cache/port.ts';
import type { Resource } from '../../../schemas/resource/define.ts';
import { rowCacheKey, versionOf } from '../../../schemas/resource/row-cache.ts';
import type { Cell } from '../../../schemas/resource/table.ts';

/** A row as it was at a moment, or that there was none. */
export interface KnownRow {
  /** A JSON object of every field; undefined where there is no row. */
  readonly text: string | undefined;
  /** Of a row whose resource has versions. */
  readonly version: string | undefined;
  readonly readTimestamp: string;
  /** Every write that was answered by then, on the clock of the gateway that read it, is in it. Milliseconds since 1970. */
  readonly currentAtMs: number;
}

/** What a row was taken from, in the cache's own words. */
export interface CacheEntry {
  readonly key: string;
  readonly text: string;
}

/** `entry`: of a cache that can be asked at once whether it still has it. */
export interface KeptRow extends KnownRow {
  readonly entry: CacheEntry | undefined;
}

/** So long it is not asked after a failure: a server that hangs takes its time to fail. */
const REST_MS = 1000;

export class RowCache {
  readonly #cache: Cache;
  readonly #log: FastifyBaseLogger;
  readonly #forms = new WeakMap<Resource, string>();
  #restsUntilMs = 0;

  constructor(cache: Cache, log: FastifyBaseLogger) {
    this.#cache = cache;
    this.#log = log;
  }

  /** `key`: tenant first. */
  async get(resource: Resource, key: readonly Cell[]): Promise<KeptRow | undefined> {
    const name = rowCacheKey(resource.table, key);
    const text = await this.#unlessAway(() => this.#cache.versioned.get(name));
    const row = text === undefined ? undefined : parseEntry(this.#form(resource), text);
    return row && { ...row, entry: text !== undefined && this.#cache.versioned.getNow ? { key: name, text } : undefined };
  }

  /** Whether the cache has this very entry now. */
  isKept({ key, text }: CacheEntry): boolean {
    return this.#cache.versioned.getNow?.(key) === text;
  }

  /** A row that is outdated by now, or older than what is there, is not kept. Never rejects: what went wrong is logged. */
  async put(resource: Resource, key: readonly Cell[], row: KnownRow, seconds: number): Promise<void> {
    await this.#unlessAway(() => {
      const text = [this.#form(resource), row.readTimestamp, String(row.currentAtMs), row.version ?? '', row.text ?? ''].join('\n');
      return this.#cache.versioned.put(rowCacheKey(resource.table, key), text, versionOf(row.readTimestamp), seconds * 1000);
    });
  }

  async #unlessAway<T>(call: () => Promise<T>): Promise<T | undefined> {
    if (performance.now() < this.#restsUntilMs) return undefined;
    try {
      return await call();
    } catch (err) {
      this.#restsUntilMs = performance.now() + REST_MS;
      this.#log.warn({ err }, 'the cache is away; rows are read from the database');
      return undefined;
    }
  }

  /** Gateways with other resource files take no rows of this form. */
  #form(resource: Resource): string {
    const known = this.#forms.get(resource);
    if (known !== undefined) return known;
    const fields = resource.fields.map(({ name, type, asNumber, version }) => [name, type, asNumber, version]);
    const form = hash('sha256', JSON.stringify(fields), 'base64url').slice(0, 12);
    this.#forms.set(resource, form);
    return form;
  }
}

/** Lines: form, read timestamp, when it was current, version, and the row, which has no line break in it. */
function parseEntry(form: string, text: string): KnownRow | undefined {
  if (!text.startsWith(`${form}\n`)) return undefined;
  const [, readTimestamp = '', currentAt = '', version = '', row = ''] = text.split('\n', 5);
  return {
    text: row === '' ? undefined : row,
    version: version === '' ? undefined : version,
    readTimestamp,
    currentAtMs: Number(currentAt),
  };
}
