/** What every implementation of `SchemaAdmin` must do. */
import { describe, expect, it, onTestFinished } from 'vitest';
import type { SchemaAdmin, Store } from '../../ports/store/port.ts';
import type { TableDefinition } from '../../schemas/resource/table.ts';
import { ACCOUNTS, AGED, ALL_TABLES, CUSTOMERS, KINDS, LINES, NOTES, ORDERS, type StoreHarness } from './store-tables.ts';

export function schemaConformance(name: string, harness: StoreHarness): void {
  describe(`the schema of the ${name} store`, () => {
    const withTables = async (tables: readonly TableDefinition[]): Promise<Store & SchemaAdmin> => {
      const { store, cleanup } = await harness.make();
      onTestFinished(cleanup);
      await store.apply((await store.compare(tables)).missing);
      return store;
    };
    const column = (table: TableDefinition, columnName: string, change: Partial<TableDefinition['columns'][number]>): TableDefinition => ({
      ...table,
      columns: table.columns.map((c) => (c.name === columnName ? { ...c, ...change } : c)),
    });

    it('misses nothing once what was missing is applied, children given before their parents too', async () => {
      const tables = [...ALL_TABLES].reverse();
      const store = await withTables(tables);
      expect(await store.compare(tables)).toEqual({ missing: [], differences: [] });
      await store.apply([]);
      await store.provision();
      expect(await store.compare([LINES])).toEqual({ missing: [], differences: [] });
    });

    it('makes what is missing of a table that exists: an index, a nullable column, a child', async () => {
      const store = await withTables([ORDERS, NOTES]);
      await store.apply(['DROP INDEX orders_by_customer']);
      const wanted: TableDefinition = {
        ...ORDERS,
        columns: [...ORDERS.columns, { name: 'note', type: { scalar: 'STRING', array: false, maxLength: 5 }, notNull: false }],
        indexes: [...ORDERS.indexes, { name: 'orders_by_amount', columns: ['tenant', 'amount'], unique: false }],
      };
      const { missing, differences } = await store.compare([wanted, LINES, NOTES]);
      expect(differences).toEqual([]);
      expect(missing.join('\n')).toMatch(
        /ADD COLUMN .note.[^]*INDEX .orders_by_customer.[^]*INDEX .orders_by_amount.[^]*TABLE .order_lines./,
      );
      await store.apply(missing);
      expect(await store.compare([wanted, LINES, NOTES])).toEqual({ missing: [], differences: [] });
    });

    it('says how columns differ, and makes nothing for that', async () => {
      const store = await withTables([ORDERS, KINDS, AGED]);
      const cases: [TableDefinition, string][] = [
        [
          column(ORDERS, 'customer', { type: { scalar: 'STRING', array: false, maxLength: 20 } }),
          'column customer is STRING(10); declared is STRING(20)',
        ],
        [column(ORDERS, 'amount', { type: { scalar: 'NUMERIC', array: false } }), 'column amount is INT64; declared is NUMERIC'],
        [column(ORDERS, 'amount', { notNull: true }), 'column amount is nullable; declared is NOT NULL'],
        [column(ORDERS, 'customer', { notNull: false }), 'column customer is NOT NULL; declared is nullable'],
        [
          column(KINDS, 'first_letter', { generatedAs: 'SUBSTR(id, 2, 1)' }),
          'column first_letter is generated as SUBSTR(id, 1, 1); declared is generated as SUBSTR(id, 2, 1)',
        ],
        [
          { ...AGED, rowDeletionPolicy: { column: 'made_at', days: 31 } },
          'its row deletion policy is OLDER_THAN(made_at, INTERVAL 30 DAY); declared is OLDER_THAN(made_at, INTERVAL 31 DAY)',
        ],
      ];
      for (const [table, sentence] of cases) {
        expect(await store.compare([table])).toEqual({ missing: [], differences: [`table ${table.name}: ${sentence}`] });
      }
    });

    it('says how keys, indexes and interleaving differ', async () => {
      const store = await withTables([ORDERS, LINES]);
      const index = { name: 'orders_by_customer', columns: ['customer'], unique: true };
      const { missing, differences } = await store.compare([
        { ...ORDERS, indexes: [index], primaryKey: ['order_id'] },
        { ...LINES, parent: { table: 'orders', onDelete: 'cascade' } },
      ]);
      expect(missing).toEqual([]);
      expect(differences).toEqual([
        'table orders: its primary key is (tenant, order_id); declared is (order_id)',
        'table orders: index orders_by_customer is (tenant, customer); declared is unique (customer)',
        'table order_lines: it is interleaved in orders on delete no action; declared is interleaved in orders on delete cascade',
      ]);
    });

    it('says what cannot be added to a table, and what would stop every insert', async () => {
      const store = await withTables([ORDERS]);
      const must: TableDefinition = {
        ...ORDERS,
        columns: [...ORDERS.columns, { name: 'must', type: { scalar: 'BOOL', array: false }, notNull: true }],
      };
      const { missing, differences } = await store.compare([must]);
      expect(missing).toEqual([]);
      expect(differences).toEqual([expect.stringContaining('column must BOOL is missing')]);
      const fewer = { ...ORDERS, columns: ORDERS.columns.filter((c) => c.name !== 'customer'), indexes: [] };
      expect((await store.compare([fewer])).differences).toEqual([expect.stringContaining('column customer is not declared')]);
    });

    it('makes nothing for an adopted table that is missing, and says so', async () => {
      const store = await withTables([]);
      const { missing, differences } = await store.compare([{ ...ORDERS, adopted: true }]);
      expect(missing).toEqual([]);
      expect(differences).toEqual([expect.stringContaining('table orders is missing')]);
    });

    it('finds nothing wrong with an adopted table that fits, wider columns included', async () => {
      const store = await withTables([]);
      await store.apply(harness.adoptedDdl);
      expect(await store.compare([CUSTOMERS, ACCOUNTS])).toEqual({ missing: [], differences: [] });
    });

    it('says how an adopted table does not fit, and makes nothing for it', async () => {
      const store = await withTables([]);
      await store.apply(harness.adoptedDdl);
      const wanted: TableDefinition = {
        ...column(ACCOUNTS, 'balance', { type: { scalar: 'FLOAT64', array: false } }),
        indexes: [{ name: 'accounts_by_balance', columns: ['balance'], unique: false }],
      };
      const more = {
        ...wanted,
        columns: [...wanted.columns, { name: 'note', type: { scalar: 'STRING', array: false }, notNull: false } as const],
      };
      const { missing, differences } = await store.compare([more]);
      expect(missing).toEqual([]);
      expect(differences).toEqual([
        expect.stringMatching(/^table accounts: column balance is INT\w+; declared is FLOAT64$/),
        'table accounts: column note STRING(MAX) is missing',
        'table accounts: index accounts_by_balance on (balance) is missing',
      ]);
    });
  });
}
