/** What the parts of the store's conformance suite share: its tables, rows of them, and the harness. */
import type { Cell, ColumnDefinition, ColumnType, ScalarType, TableDefinition } from '../../schemas/resource/table.ts';
import { StoreError } from '../../ports/errors.ts';
import type { SchemaAdmin, Store, StoreMutation } from '../../ports/store/port.ts';

const type = (scalar: ScalarType, maxLength?: number): ColumnType => ({
  scalar,
  array: false,
  ...(maxLength === undefined ? {} : { maxLength }),
});
const required = (name: string, t: ColumnType): ColumnDefinition => ({ name, type: t, notNull: true });
const optional = (name: string, t: ColumnType): ColumnDefinition => ({ name, type: t, notNull: false });
const tenant = required('tenant', type('STRING', 16));

export const ORDERS: TableDefinition = {
  name: 'orders',
  columns: [
    tenant,
    required('order_id', type('STRING', 36)),
    required('customer', type('STRING', 10)),
    optional('amount', type('INT64')),
    optional('photo', type('BYTES', 4)),
    optional('tags', { scalar: 'STRING', array: true, maxLength: 3 }),
    { name: 'updated_at', type: type('TIMESTAMP'), notNull: false, commitTimestamp: true },
  ],
  primaryKey: ['tenant', 'order_id'],
  indexes: [{ name: 'orders_by_customer', columns: ['tenant', 'customer'], unique: false }],
  adopted: false,
};

/** Interleaved; a parent with one of these cannot be deleted. */
export const LINES: TableDefinition = {
  name: 'order_lines',
  columns: [tenant, required('order_id', type('STRING', 36)), required('line', type('INT64')), optional('sku', type('STRING', 20))],
  primaryKey: ['tenant', 'order_id', 'line'],
  parent: { table: 'orders', onDelete: 'no action' },
  indexes: [],
  adopted: false,
};

/** Interleaved; deleted with their parent. */
export const NOTES: TableDefinition = { ...LINES, name: 'order_notes', parent: { table: 'orders', onDelete: 'cascade' } };

export const COUPONS: TableDefinition = {
  name: 'coupons',
  columns: [tenant, required('coupon_id', type('STRING', 36)), optional('code', type('STRING', 20)), optional('stamp', type('BYTES', 8))],
  primaryKey: ['tenant', 'coupon_id'],
  indexes: [{ name: 'coupons_by_code', columns: ['tenant', 'code', 'stamp'], unique: true }],
  adopted: false,
};

export const SCALARS: readonly ScalarType[] = ['STRING', 'INT64', 'FLOAT64', 'NUMERIC', 'BOOL', 'TIMESTAMP', 'DATE', 'BYTES', 'JSON'];

/** A column of each type, `c_string`, and of each array, `a_string`. */
export const KINDS: TableDefinition = {
  name: 'kinds',
  columns: [
    required('id', type('STRING', 36)),
    ...SCALARS.map((scalar) => optional(`c_${scalar.toLowerCase()}`, type(scalar))),
    ...SCALARS.map((scalar) => optional(`a_${scalar.toLowerCase()}`, { scalar, array: true })),
    { name: 'first_letter', type: type('STRING', 1), notNull: false, generatedAs: 'SUBSTR(id, 1, 1)' },
  ],
  primaryKey: ['id'],
  indexes: [{ name: 'kinds_by_letter', columns: ['first_letter', 'c_int64'], unique: false }],
  adopted: false,
};

/** A key of every type that a key may have. */
export const KEYS: TableDefinition = {
  name: 'many_keys',
  columns: [
    required('k_string', type('STRING', 36)),
    required('k_int64', type('INT64')),
    required('k_numeric', type('NUMERIC')),
    required('k_timestamp', type('TIMESTAMP')),
    required('k_date', type('DATE')),
    optional('note', type('STRING')),
  ],
  primaryKey: ['k_string', 'k_int64', 'k_numeric', 'k_timestamp', 'k_date'],
  indexes: [],
  adopted: false,
};

export const AGED: TableDefinition = {
  name: 'aged',
  columns: [required('id', type('STRING', 36)), { name: 'made_at', type: type('TIMESTAMP'), notNull: true, commitTimestamp: true }],
  primaryKey: ['id'],
  indexes: [],
  rowDeletionPolicy: { column: 'made_at', days: 30 },
  adopted: false,
};

export const ALL_TABLES: readonly TableDefinition[] = [ORDERS, LINES, NOTES, COUPONS, KINDS, KEYS, AGED];

/** Made by other hands: see `StoreHarness.adoptedDdl`. */
export const CUSTOMERS: TableDefinition = {
  name: 'customers',
  columns: [tenant, required('customer_id', type('STRING', 36))],
  primaryKey: ['tenant', 'customer_id'],
  indexes: [],
  adopted: true,
};

export const ACCOUNTS: TableDefinition = {
  name: 'accounts',
  columns: [
    tenant,
    required('account_id', type('STRING', 36)),
    optional('customer_id', type('STRING', 36)),
    optional('balance', type('INT64')),
  ],
  primaryKey: ['tenant', 'account_id'],
  indexes: [],
  adopted: true,
};

export function write(op: 'insert' | 'update' | 'upsert', table: TableDefinition, row: Readonly<Record<string, Cell>>): StoreMutation {
  return { op, table, columns: Object.keys(row), values: Object.values(row) };
}

export function remove(table: TableDefinition, ...key: readonly Cell[]): StoreMutation {
  return { op: 'delete', table, key };
}

export const OPTIONS = { tag: 'conformance' };
export const TENANT = 'acme';

/** The cells of a row of ORDERS. */
export function order(id: string, more: Readonly<Record<string, Cell>> = {}): Record<string, Cell> {
  return { tenant: TENANT, order_id: id, customer: 'ann', ...more };
}

/** The cells of a row of LINES or NOTES. */
export function line(id: string, number: string, more: Readonly<Record<string, Cell>> = {}): Record<string, Cell> {
  return { tenant: TENANT, order_id: id, line: number, ...more };
}

/** What a call failed with; the call must fail. */
export async function failureOf(call: Promise<unknown>): Promise<{ failure: string; reason: string | undefined }> {
  const error: unknown = await call.then(
    () => new Error('it did not fail'),
    (cause: unknown) => cause,
  );
  if (!(error instanceof StoreError)) throw error;
  return { failure: error.failure, reason: error.reason };
}

export interface StoreHarness {
  /** A provisioned store without tables, and what removes it. */
  readonly make: () => Promise<{ readonly store: Store & SchemaAdmin; readonly cleanup: () => Promise<void> }>;
  /** Another connection to the store of the last `make`, as another process would have. */
  readonly again: () => Promise<Store & SchemaAdmin>;
  /**
   * Statements for tables of other hands: CUSTOMERS, and ACCOUNTS with a CHECK (balance >= 0) and a foreign key of
   * (tenant, customer_id) to CUSTOMERS, and with columns wider than those declared.
   */
  readonly adoptedDdl: readonly string[];
}
