/** Receipts given out, kept in the cache: for a retry with the same key, and for the status of what is not applied yet. */
import type { Cache } from '../../ports/cache/port.ts';
import { decodeCell } from '../../schemas/resource/cells.ts';
import type { Resource } from '../../schemas/resource/define.ts';
import type { Cell } from '../../schemas/resource/table.ts';
import type { Background } from './background.ts';

export interface Receipt {
  readonly payloadHash: string;
  readonly correlationId: string;
  readonly acceptedAt: string;
  readonly resource: string;
  readonly key: readonly unknown[];
}

export class Receipts {
  readonly #cache: Cache;
  readonly #ttlMs: number;
  readonly #background: Background;

  constructor(cache: Cache, ttlMs: number, background: Background) {
    this.#cache = cache;
    this.#ttlMs = ttlMs;
    this.#background = background;
  }

  /** Throws what the cache throws while it is away. */
  async find(submissionId: string): Promise<Receipt | undefined> {
    const text = await this.#cache.get(cacheKey(submissionId));
    return text === undefined ? undefined : (JSON.parse(text) as Receipt);
  }

  /** The first of a submission stays. Not waited for: losing it costs detail in a status and one more look by the applier, never a write. */
  remember(submissionId: string, receipt: Receipt): void {
    const added = this.#cache.add(cacheKey(submissionId), JSON.stringify(receipt), this.#ttlMs).catch(() => undefined);
    this.#background.add(added);
  }
}

/** A key as callers write it; as cells where the resource is gone. */
export function shownKey(resource: Resource | undefined, key: readonly Cell[]): readonly unknown[] {
  return key.map((cell, i) => {
    const field = resource?.key[i];
    return field ? decodeCell(field.type, cell, field.asNumber) : cell;
  });
}

function cacheKey(submissionId: string): string {
  return `receipt:${submissionId}`;
}
