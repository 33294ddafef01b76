/** Whether two databases hold the same rows. */
import type { Store } from '../../ports/store/port.ts';
import type { Cell, TableDefinition } from '../../schemas/resource/table.ts';
import { scanPages } from './scan.ts';

export interface TableDifference {
  readonly table: string;
  /** In the first database. */
  readonly rows: number;
  readonly missing: number;
  readonly different: number;
  /** Only in the second one. */
  readonly extra: number;
  /** Keys of some of them. */
  readonly examples: readonly (readonly Cell[])[];
}

const PAGE_ROWS = 500;
const MAX_EXAMPLES = 10;

/** Row by row, every column that is no generated one. `tenant`: of this one alone. */
export async function compareTable(source: Store, target: Store, table: TableDefinition, tenant?: string): Promise<TableDifference> {
  const columns = table.columns.filter(({ generatedAs }) => generatedAs === undefined).map(({ name }) => name);
  const range = { prefix: tenant === undefined ? [] : [tenant], limit: PAGE_ROWS };
  const examples: (readonly Cell[])[] = [];
  let [rows, missing, different, extra] = [0, 0, 0, 0];
  const note = (key: readonly Cell[]): void => {
    if (examples.length < MAX_EXAMPLES) examples.push(key);
  };
  for await (const page of scanPages(source, table, range, columns)) {
    const keys = page.map((row) => row.slice(0, table.primaryKey.length));
    const found = await target.read(table, keys, columns);
    page.forEach((row, i) => {
      const other = found[i];
      rows += 1;
      if (!other) missing += 1;
      else if (JSON.stringify(row.slice(table.primaryKey.length)) !== JSON.stringify(other)) different += 1;
      else return;
      note(keys[i] ?? []);
    });
  }
  for await (const page of scanPages(target, table, range)) {
    const found = await source.read(table, page, []);
    page.forEach((key, i) => {
      if (found[i]) return;
      extra += 1;
      note(key);
    });
  }
  return { table: table.name, rows, missing, different, extra, examples };
}
