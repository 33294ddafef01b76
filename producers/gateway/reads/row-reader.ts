/**
 * One row by its key, whole, as JSON: from the cache where the resource and the caller allow it and it is new enough,
 * else from the store.
 */
import { StoreError } from '../../../ports/errors.ts';
import type { Store } from '../../../ports/store/port.ts';
import type { RegisteredResource } from '../../../schemas/resource/registry.ts';
import type { Cell } from '../../../schemas/resource/table.ts';
import type { Background } from '../background.ts';
import { UnavailableError } from '../errors.ts';
import { Coalescer, type CoalescerSettings, type ReadRow } from './coalescer.ts';
import type { Consistency } from './consistency.ts';
import { withDeadline } from '../deadline.ts';
import type { CacheEntry, KnownRow, RowCache } from './row-cache.ts';
import { jsonRow } from './rows.ts';

/** `stale`: older than its caller asked for, and allowed while the database cannot be read. Absent: from the store. */
export interface RowAnswer extends KnownRow {
  readonly fromCache?: 'fresh' | 'stale';
  readonly entry?: CacheEntry | undefined;
}

interface Fill {
  readonly sinceMs: number;
  readonly row: Promise<KnownRow>;
}

export class RowReader {
  readonly #coalescer: Coalescer;
  readonly #cache: RowCache;
  readonly #background: Background;
  readonly #settings: CoalescerSettings;
  readonly #fills = new Map<string, Fill>();

  /** `background` hears of what is put into the cache. */
  constructor(store: Store, cache: RowCache, background: Background, settings: CoalescerSettings) {
    this.#coalescer = new Coalescer(store, settings);
    this.#cache = cache;
    this.#background = background;
    this.#settings = settings;
  }

  /** `key`: without the tenant. Rejects with a StoreError or an UnavailableError. */
  async read(resource: RegisteredResource, tenant: string, key: readonly Cell[], consistency: Consistency): Promise<RowAnswer> {
    const whole = [tenant, ...key];
    const { maxStalenessMs, staleIfErrorMs } = consistency;
    if (!resource.cache) return this.#inTime(this.#fromStore(resource, whole, maxStalenessMs));
    const kept = maxStalenessMs > 0 ? await this.#cache.get(resource, whole) : undefined;
    if (kept && Date.now() - kept.currentAtMs <= maxStalenessMs) return { ...kept, fromCache: 'fresh' };
    try {
      // A strong read fills nothing: it would pay for those that allow staleness.
      return await this.#inTime(maxStalenessMs > 0 ? this.#fill(resource, whole, maxStalenessMs) : this.#fromStore(resource, whole, 0));
    } catch (error) {
      const isOutage = error instanceof UnavailableError || (error instanceof StoreError && error.failure === 'transient');
      if (staleIfErrorMs === 0 || !isOutage) throw error;
      const stale = kept ?? (await this.#cache.get(resource, whole));
      if (!stale || Date.now() - stale.currentAtMs > staleIfErrorMs) throw error;
      return { ...stale, fromCache: 'stale' };
    }
  }

  /**
   * However many miss a row at once, one of them reads it, strong, so that what it puts into the cache serves for as long
   * as it can. Who comes while it does may share it if it began no longer ago than the caller allows.
   */
  #fill(resource: RegisteredResource, key: readonly Cell[], maxStalenessMs: number): Promise<KnownRow> {
    const name = JSON.stringify([resource.name, key]);
    const underWay = this.#fills.get(name);
    if (underWay && Date.now() - underWay.sinceMs <= maxStalenessMs) return underWay.row;
    const row = this.#fromStore(resource, key, 0);
    const fill = { sinceMs: Date.now(), row };
    this.#fills.set(name, fill);
    const end = (): void => {
      if (this.#fills.get(name) === fill) this.#fills.delete(name);
    };
    const kept = row.then((known) => {
      end();
      return this.#cache.put(resource, key, known, resource.cache?.seconds ?? 0);
    }, end);
    this.#background.add(kept);
    return row;
  }

  async #fromStore(resource: RegisteredResource, key: readonly Cell[], maxStalenessMs: number): Promise<KnownRow> {
    return knownRow(resource, await this.#coalescer.read(resource.table, key, maxStalenessMs));
  }

  #inTime<T>(read: Promise<T>): Promise<T> {
    return withDeadline(read, this.#settings.readTimeoutMs);
  }
}

function knownRow(resource: RegisteredResource, { row, readTimestamp, leftMs }: ReadRow): KnownRow {
  const moment = { readTimestamp, currentAtMs: leftMs };
  if (!row) return { text: undefined, version: undefined, ...moment };
  // The first column is the tenant's.
  const cells = row.slice(1);
  const version = resource.version && String(cells[resource.fields.indexOf(resource.version)]);
  return { text: JSON.stringify(jsonRow(resource.fields, cells)), version, ...moment };
}
