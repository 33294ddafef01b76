/** One row by its key, whole, as JSON. */
import type { Store } from '../../../ports/store/port.ts';
import type { RegisteredResource } from '../../../schemas/resource/registry.ts';
import type { Cell } from '../../../schemas/resource/table.ts';
import { Coalescer, type CoalescerSettings, type ReadRow } from './coalescer.ts';
import type { Consistency } from './consistency.ts';
import { withDeadline } from './deadline.ts';
import { jsonRow } from './rows.ts';

/** A row as it was at a moment, or that there was none. */
export interface RowAnswer {
  /** A JSON object of every field; undefined where there is no row. */
  readonly text: string | undefined;
  /** Of a row whose resource has versions. */
  readonly version: string | undefined;
  readonly readTimestamp: string;
}

export class RowReader {
  readonly #coalescer: Coalescer;
  readonly #settings: CoalescerSettings;

  constructor(store: Store, settings: CoalescerSettings) {
    this.#coalescer = new Coalescer(store, settings);
    this.#settings = settings;
  }

  /** `key`: without the tenant. Rejects with a StoreError or an UnavailableError. */
  async read(resource: RegisteredResource, tenant: string, key: readonly Cell[], consistency: Consistency): Promise<RowAnswer> {
    const read = this.#coalescer.read(resource.table, [tenant, ...key], consistency.maxStalenessMs);
    return rowAnswer(resource, await withDeadline(read, this.#settings.readTimeoutMs));
  }
}

function rowAnswer(resource: RegisteredResource, { row, readTimestamp }: ReadRow): RowAnswer {
  if (!row) return { text: undefined, version: undefined, readTimestamp };
  // The first column is the tenant's.
  const cells = row.slice(1);
  const version = resource.version && String(cells[resource.fields.indexOf(resource.version)]);
  return { text: JSON.stringify(jsonRow(resource.fields, cells)), version, readTimestamp };
}
