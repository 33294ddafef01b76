/** A range of a table from its first row to its last, page by page. */
import type { KeyRange, Store } from '../../ports/store/port.ts';
import type { Cell, TableDefinition } from '../../schemas/resource/table.ts';

/** Rows as the cells of their whole key, then of `columns`; `range.limit` of them are a page, and none is empty. */
export async function* scanPages(
  store: Store,
  table: TableDefinition,
  range: KeyRange,
  columns: readonly string[] = [],
): AsyncGenerator<readonly (readonly Cell[])[], undefined> {
  const { primaryKey } = table;
  let after: readonly Cell[] | undefined;
  for (;;) {
    const rows = await store.scan(table, { ...range, ...(after ? { after } : {}) }, [...primaryKey, ...columns]);
    if (rows.length > 0) yield rows;
    if (rows.length < range.limit) return undefined;
    after = rows.at(-1)?.slice(0, primaryKey.length);
  }
}
