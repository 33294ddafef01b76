/** Reads a range of a Spanner table, with the children of its rows, by one query. */
import { protos } from '@google-cloud/spanner';
import type { Snapshot } from '@google-cloud/spanner';
import { type Cell, type ColumnType, columnNamed, type TableDefinition } from '../../schemas/resource/table.ts';
import type { AsOf, Range, RangeRow } from './port.ts';
import { rangeSql } from './range.ts';
import { fromRaw, toValue } from './spanner-cells.ts';
import { drain, streamOptions } from './spanner-session.ts';

const BASE_TABLE = '_BASE_TABLE';

export async function readSpannerRange(snapshot: Snapshot, range: Range, timeoutMs: number): Promise<AsOf<RangeRow>> {
  const { table, columns, children } = range;
  const cellsOf = (of: TableDefinition, names: readonly string[], raw: (i: number) => unknown): Cell[] =>
    names.map((name, i) => fromRaw(columnNamed(of, name).type, raw(i)));
  const rows: RangeRow[] = [];
  const request = { ...rangeQuery(range), gaxOptions: streamOptions(timeoutMs) };
  const readTimestamp = await drain(snapshot, snapshot.runStream(request), (row) => {
    rows.push({
      cells: cellsOf(table, columns, (i) => row[i]?.value),
      children: children.map((child, at) => {
        const found = row[columns.length + at]?.value as readonly (readonly unknown[])[] | null;
        return (found ?? []).map((values) => cellsOf(child.table, child.columns, (i) => values[i]));
      }),
    });
  });
  return { rows, readTimestamp };
}

interface Query {
  readonly sql: string;
  readonly params: { readonly fields: Record<string, protos.google.protobuf.IValue> };
  readonly paramTypes: Record<string, protos.google.spanner.v1.Type>;
}

/** Every value is a parameter, so that queries of one form share their plan: https://cloud.google.com/spanner/docs/sql-best-practices#query-parameters */
function rangeQuery(range: Range): Query {
  const { table, index, columns } = range;
  const fields: Query['params']['fields'] = {};
  const paramTypes: Query['paramTypes'] = {};
  const parameter = (type: ColumnType, cell: Cell): string => {
    const name = `p${Object.keys(fields).length}`;
    fields[name] = toValue(cell);
    paramTypes[name] = protos.google.spanner.v1.Type.create({ code: type.scalar });
    return `@${name}`;
  };
  const count = (limit: number): string => parameter({ scalar: 'INT64', array: false }, String(limit));
  const { where, order } = rangeSql(range, {
    column: (name) => `t.${quote(name)}`,
    value: (name, cell) => parameter(columnNamed(table, name).type, cell),
  });
  const children = range.children.map(
    (child) =>
      `ARRAY(SELECT AS STRUCT ${child.columns.map((name) => `c.${quote(name)}`).join(', ')} FROM ${quote(child.table.name)} AS c` +
      ` WHERE ${table.primaryKey.map((name) => `c.${quote(name)} = t.${quote(name)}`).join(' AND ')}` +
      ` ORDER BY ${child.table.primaryKey.map((name) => `c.${quote(name)}`).join(', ')} LIMIT ${count(child.limit)})`,
  );
  const shown = [...columns.map((name) => `t.${quote(name)}`), ...children].join(', ');
  // An adopted table may have an index of another name that does the same.
  const by = table.adopted ? '' : `@{FORCE_INDEX=${index ? quote(index.name) : BASE_TABLE}}`;
  const sql = `SELECT ${shown} FROM ${quote(table.name)}${by} AS t WHERE ${where}${order ? ` ORDER BY ${order}` : ''} LIMIT ${count(range.limit)}`;
  return { sql, params: { fields }, paramTypes };
}

function quote(name: string): string {
  return `\`${name}\``;
}
