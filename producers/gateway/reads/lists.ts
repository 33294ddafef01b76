/** Pages of rows, rows with their children, and several rows by their keys: each one request to the store. */
import type { AsOf, Freshness, Store } from '../../../ports/store/port.ts';
import type { Grant } from '../../../schemas/resource/access.ts';
import { rowName } from '../../../schemas/resource/cells.ts';
import type { RegisteredResource } from '../../../schemas/resource/registry.ts';
import type { Cell } from '../../../schemas/resource/table.ts';
import { RequestError } from '../errors.ts';
import { authorizeList, readable } from '../policy.ts';
import type { ReceiptKeys } from '../receipt-keys.ts';
import type { Consistency } from './consistency.ts';
import { makeCursor, readCursor } from './cursor.ts';
import { withDeadline } from '../deadline.ts';
import type { ListPlan } from './query.ts';
import { jsonRow, type JsonRow, shownRow } from './rows.ts';

/** What a caller may do with a resource. */
export interface Access {
  readonly tenant: string;
  readonly resource: RegisteredResource;
  readonly grant: Grant;
}

export interface Page {
  readonly items: readonly JsonRow[];
  readonly nextCursor?: string;
  readonly readTimestamp: string;
}

export interface ListSettings {
  readonly readTimeoutMs: number;
  /** Of a page, of the children of a row, and of the keys of a batch. */
  readonly maxPageRows: number;
}

export class Lists {
  readonly #store: Store;
  readonly #cursorKeys: ReceiptKeys;
  readonly #settings: ListSettings;

  constructor(store: Store, cursorKeys: ReceiptKeys, settings: ListSettings) {
    this.#store = store;
    this.#cursorKeys = cursorKeys;
    this.#settings = settings;
  }

  /** A page is as long as it says in rows that were looked at: those that the caller may not read are left out of it. */
  async page(access: Access, plan: ListPlan, wanted: ReadonlySet<string> | undefined, consistency: Consistency): Promise<Page> {
    const { tenant, resource, grant } = access;
    const { index, order, prefix, lower, upper, descending, limit } = plan;
    const told = order.filter((field) => !resource.key.includes(field)).map((field) => field.name);
    authorizeList(grant, resource, told);
    const scope = { tenant, resource: resource.name, plan };
    const after = plan.cursor === undefined ? undefined : await readCursor(this.#cursorKeys, scope, plan.cursor);
    const fields = resource.fields.filter((f) => !wanted || wanted.has(f.name) || order.includes(f) || resource.key.includes(f));
    const { rows, readTimestamp } = await this.#within(
      (options) =>
        this.#store.readRange(
          {
            table: resource.table,
            ...(index ? { index } : {}),
            columns: fields.map((field) => field.column),
            prefix: [tenant, ...prefix],
            ...(lower ? { lower } : {}),
            ...(upper ? { upper } : {}),
            descending,
            ...(after ? { after } : {}),
            limit: limit + 1,
            children: [],
          },
          options,
        ),
      consistency,
    );
    const looked = rows.slice(0, limit).map(({ cells }) => cells);
    const at = (cells: readonly Cell[], field: (typeof fields)[number]): Cell => cells[fields.indexOf(field)] ?? null;
    const items = looked.flatMap((cells) => {
      const found = readable(
        grant,
        resource,
        resource.key.map((field) => at(cells, field)),
      );
      if (!found || (found.fields && !told.every((name) => found.fields?.has(name)))) return [];
      return [shownRow(jsonRow(fields, cells), { resource, readable: found.fields, wanted })];
    });
    const last = rows.length > limit ? looked.at(-1) : undefined;
    return {
      items,
      ...(last
        ? {
            nextCursor: makeCursor(
              this.#cursorKeys.current(),
              scope,
              order.slice(prefix.length).map((field) => at(last, field)),
            ),
          }
        : {}),
      readTimestamp,
    };
  }

  /** The whole row with all children of these resources; undefined where there is none. */
  async withChildren(
    { tenant, resource }: Access,
    key: readonly Cell[],
    children: readonly Access[],
    consistency: Consistency,
  ): Promise<{
    readonly row: JsonRow | undefined;
    readonly children: Readonly<Record<string, readonly JsonRow[]>>;
    readonly readTimestamp: string;
  }> {
    const { maxPageRows } = this.#settings;
    const { rows, readTimestamp } = await this.#within(
      (options) =>
        this.#store.readRange(
          {
            table: resource.table,
            columns: resource.fields.map((field) => field.column),
            prefix: [tenant, ...key],
            descending: false,
            limit: 1,
            children: children.map(({ resource: child }) => ({
              table: child.table,
              columns: child.fields.map((field) => field.column),
              limit: maxPageRows + 1,
            })),
          },
          options,
        ),
      consistency,
    );
    const [found] = rows;
    const shown = children.map(({ resource: child, grant }, i) => {
      const all = found?.children[i] ?? [];
      if (all.length > maxPageRows) {
        const list = `/v1/${rowName(child.name, key)}`;
        throw new RequestError('too_large', `the row has more than ${maxPageRows} ${child.name}; list them at ${list}`);
      }
      return [child.name, all.flatMap((cells) => visible(child, grant, cells))] as const;
    });
    return { row: found && jsonRow(resource.fields, found.cells), children: Object.fromEntries(shown), readTimestamp };
  }

  /** The rows of these keys, of one moment, in their order. */
  byKeys(
    { tenant, resource }: Access,
    keys: readonly (readonly Cell[])[],
    consistency: Consistency,
  ): Promise<AsOf<readonly Cell[] | undefined>> {
    const columns = resource.fields.map((field) => field.column);
    return this.#within(
      (options) =>
        this.#store.readAt(
          resource.table,
          keys.map((key) => [tenant, ...key]),
          columns,
          options,
        ),
      consistency,
    );
  }

  #within<T>(read: (options: { freshness: Freshness; timeoutMs: number }) => Promise<T>, { maxStalenessMs }: Consistency): Promise<T> {
    const { readTimeoutMs } = this.#settings;
    const freshness = maxStalenessMs === 0 ? ('strong' as const) : { maxStalenessMs };
    return withDeadline(read({ freshness, timeoutMs: readTimeoutMs }), readTimeoutMs);
  }
}

/** The child row, unless no rule reaches it. */
function visible(resource: RegisteredResource, grant: Grant, cells: readonly Cell[]): readonly JsonRow[] {
  const key = resource.key.map((field) => cells[resource.fields.indexOf(field)] ?? null);
  const found = readable(grant, resource, key);
  return found ? [shownRow(jsonRow(resource.fields, cells), { resource, readable: found.fields, wanted: undefined })] : [];
}
