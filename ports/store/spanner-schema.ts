/** What tables a Spanner database has, from its INFORMATION_SCHEMA, in the neutral shape of `compare.ts`. */
import { addColumn, createIndex, createTable } from '../../schemas/resource/ddl.ts';
import type { Dialect, ExistingColumn, ExistingTable } from './compare.ts';

export const spannerDialect: Dialect = { createTable: (table) => [createTable(table)], addColumn, createIndex };

/** Runs a query and gives its rows by column name. */
export type RunQuery = (sql: string) => Promise<readonly Readonly<Record<string, unknown>>[]>;

/** https://cloud.google.com/spanner/docs/information-schema */
export async function existingTables(run: RunQuery): Promise<ExistingTable[]> {
  const tables = await run(
    `SELECT TABLE_NAME, PARENT_TABLE_NAME, ON_DELETE_ACTION, ROW_DELETION_POLICY_EXPRESSION
     FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = '' AND TABLE_TYPE = 'BASE TABLE'`,
  );
  const columns = await run(
    `SELECT c.TABLE_NAME, c.COLUMN_NAME, c.SPANNER_TYPE, c.IS_NULLABLE, c.COLUMN_DEFAULT IS NOT NULL AS HAS_DEFAULT, c.GENERATION_EXPRESSION,
       EXISTS (SELECT 1 FROM INFORMATION_SCHEMA.COLUMN_OPTIONS AS o WHERE o.TABLE_SCHEMA = '' AND o.TABLE_NAME = c.TABLE_NAME
         AND o.COLUMN_NAME = c.COLUMN_NAME AND o.OPTION_NAME = 'allow_commit_timestamp' AND o.OPTION_VALUE = 'TRUE') AS COMMIT_TIMESTAMP
     FROM INFORMATION_SCHEMA.COLUMNS AS c WHERE c.TABLE_SCHEMA = '' ORDER BY c.TABLE_NAME, c.ORDINAL_POSITION`,
  );
  // A stored column of an index has no position.
  const indexColumns = await run(
    `SELECT i.TABLE_NAME, i.INDEX_NAME, i.IS_UNIQUE, i.IS_NULL_FILTERED, c.COLUMN_NAME, c.COLUMN_ORDERING
     FROM INFORMATION_SCHEMA.INDEXES AS i JOIN INFORMATION_SCHEMA.INDEX_COLUMNS AS c
       ON c.TABLE_SCHEMA = i.TABLE_SCHEMA AND c.TABLE_NAME = i.TABLE_NAME AND c.INDEX_NAME = i.INDEX_NAME
     WHERE i.TABLE_SCHEMA = '' AND c.ORDINAL_POSITION IS NOT NULL ORDER BY i.TABLE_NAME, i.INDEX_NAME, c.ORDINAL_POSITION`,
  );
  return tables.map((row) => {
    const name = row['TABLE_NAME'] as string;
    const parent = row['PARENT_TABLE_NAME'] as string | null;
    const policy = row['ROW_DELETION_POLICY_EXPRESSION'] as string | null;
    const indexes = indexesOf(indexColumns.filter((c) => c['TABLE_NAME'] === name));
    return {
      name,
      columns: columns.filter((c) => c['TABLE_NAME'] === name).map(columnOf),
      primaryKey: indexes.find((i) => i.name === 'PRIMARY_KEY')?.columns ?? [],
      indexes: indexes.filter((i) => i.name !== 'PRIMARY_KEY'),
      ...(parent ? { parent: { table: parent, onDelete: row['ON_DELETE_ACTION'] === 'CASCADE' ? 'cascade' : 'no action' } } : {}),
      ...(policy ? { rowDeletionPolicy: policy } : {}),
    };
  });
}

function columnOf(row: Readonly<Record<string, unknown>>): ExistingColumn {
  const generatedAs = row['GENERATION_EXPRESSION'] as string | null;
  return {
    name: row['COLUMN_NAME'] as string,
    type: row['SPANNER_TYPE'] as string,
    notNull: row['IS_NULLABLE'] === 'NO',
    hasDefault: row['HAS_DEFAULT'] === true,
    commitTimestamp: row['COMMIT_TIMESTAMP'] === true,
    ...(generatedAs ? { generatedAs } : {}),
  };
}

function indexesOf(rows: readonly Readonly<Record<string, unknown>>[]): { name: string; columns: string[]; unique: boolean }[] {
  const byName = new Map<string, { name: string; columns: string[]; unique: boolean }>();
  for (const row of rows) {
    const name = row['INDEX_NAME'] as string;
    const index = byName.get(name) ?? { name, columns: [], unique: row['IS_UNIQUE'] === true };
    byName.set(name, index);
    // Written so that an index that leaves rows out, or turns the order round, differs from the plain one declared.
    const turned = row['COLUMN_ORDERING'] === 'DESC' ? ' DESC' : '';
    index.columns.push(`${row['COLUMN_NAME'] as string}${turned}${row['IS_NULL_FILTERED'] === true ? ' NULL_FILTERED' : ''}`);
  }
  return [...byName.values()];
}
