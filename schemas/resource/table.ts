/**
 * What a table is to Spanway, free of any SQL dialect. `ddl.ts` writes it as Spanner DDL; the embedded store
 * writes it as SQLite tables.
 */

export type ScalarType = 'STRING' | 'INT64' | 'FLOAT64' | 'NUMERIC' | 'BOOL' | 'TIMESTAMP' | 'DATE' | 'BYTES' | 'JSON';

export interface ColumnType {
  readonly scalar: ScalarType;
  /** `ARRAY<scalar>`. */
  readonly array: boolean;
  /** STRING: characters. BYTES: bytes. Absent: MAX. */
  readonly maxLength?: number;
}

/**
 * A value as it travels and is stored, in the JSON encoding Spanner documents for its types: INT64, NUMERIC,
 * TIMESTAMP, DATE, BYTES (base64) and JSON (its text) are strings, FLOAT64 a finite number, BOOL a boolean.
 * @see https://cloud.google.com/spanner/docs/reference/rest/v1/ResultSetMetadata#TypeCode
 */
export type Cell = string | number | boolean | null | readonly Cell[];

/**
 * Written into a commit-timestamp column, it becomes the time of the commit.
 * @see https://cloud.google.com/spanner/docs/commit-timestamp#rest
 */
export const COMMIT_TIMESTAMP = 'spanner.commit_timestamp()';

export interface ColumnDefinition {
  readonly name: string;
  readonly type: ColumnType;
  readonly notNull: boolean;
  /** May be written with COMMIT_TIMESTAMP. */
  readonly commitTimestamp?: boolean;
  /** A stored generated column: an expression that both SQL dialects read alike. */
  readonly generatedAs?: string;
}

export interface IndexDefinition {
  readonly name: string;
  readonly columns: readonly string[];
  readonly unique: boolean;
}

export interface TableDefinition {
  readonly name: string;
  readonly columns: readonly ColumnDefinition[];
  readonly primaryKey: readonly string[];
  readonly parent?: { readonly table: string; readonly onDelete: 'cascade' | 'no action' };
  readonly indexes: readonly IndexDefinition[];
  /** Rows older than this, by a timestamp column, are removed by the database. */
  readonly rowDeletionPolicy?: { readonly column: string; readonly days: number };
  /** The table was there first: no DDL is made for it, only checks. */
  readonly adopted: boolean;
}

/** The cells of a whole primary key, tenant first. */
export type Key = readonly Cell[];

/** A change of one row that gives it cells. */
export interface RowWrite {
  readonly op: 'insert' | 'update' | 'upsert';
  readonly table: TableDefinition;
  readonly columns: readonly string[];
  /** In the order of `columns`, which hold the whole key. */
  readonly values: readonly Cell[];
}

/** A change of one row, as a store takes it. */
export type StoreMutation = RowWrite | { readonly op: 'delete'; readonly table: TableDefinition; readonly key: Key };

export function columnNamed(table: TableDefinition, name: string): ColumnDefinition {
  const column = table.columns.find((c) => c.name === name);
  if (!column) throw new TypeError(`table ${table.name} has no column ${name}`);
  return column;
}

/** The columns that rows are in the order of: the primary key's, or the index's and then what of the key is not among them. */
export function orderOf(table: TableDefinition, index?: IndexDefinition): readonly string[] {
  if (!index) return table.primaryKey;
  return [...index.columns, ...table.primaryKey.filter((name) => !index.columns.includes(name))];
}

/** `STRING(200)`, `ARRAY<INT64>`: the type as Spanner's DDL writes it. */
export function typeName(type: ColumnType): string {
  const sized = type.scalar === 'STRING' || type.scalar === 'BYTES';
  const scalar = sized ? `${type.scalar}(${type.maxLength ?? 'MAX'})` : type.scalar;
  return type.array ? `ARRAY<${scalar}>` : scalar;
}
