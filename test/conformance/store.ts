/** What every implementation of the store port must do: `ports/store/port.ts`, and the errors of `ports/errors.ts`. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { KeyRange, SchemaAdmin, Store, StoreMutation } from '../../ports/store/port.ts';
import { canonicalTimestamp } from '../../schemas/resource/cells.ts';
import { type Cell, COMMIT_TIMESTAMP, type TableDefinition } from '../../schemas/resource/table.ts';
import { readConformance } from './store-reads.ts';
import { schemaConformance } from './store-schema.ts';
import {
  ACCOUNTS,
  ALL_TABLES,
  COUPONS,
  CUSTOMERS,
  failureOf,
  KEYS,
  KINDS,
  line,
  LINES,
  NOTES,
  OPTIONS,
  order,
  ORDERS,
  remove,
  type StoreHarness,
  TENANT,
  write,
} from './store-tables.ts';
import { transactionConformance } from './store-transactions.ts';
import { valueConformance } from './store-values.ts';

export function storeConformance(name: string, harness: StoreHarness): void {
  describe(`the ${name} store`, () => {
    let store: Store & SchemaAdmin;
    let cleanup: () => Promise<void>;
    beforeAll(async () => {
      ({ store, cleanup } = await harness.make());
      const { missing, differences } = await store.compare(ALL_TABLES);
      expect(differences).toEqual([]);
      await store.apply([...missing, ...harness.adoptedDdl]);
    });
    afterAll(() => cleanup());

    const commit = (...mutations: StoreMutation[]): Promise<{ commitTimestamp: string }> => store.commit(mutations, OPTIONS);
    const readOne = async (table: TableDefinition, key: readonly Cell[], ...columns: string[]): Promise<readonly Cell[] | undefined> =>
      (await store.read(table, [key], columns))[0];
    const readOrder = (id: string, ...columns: string[]): Promise<readonly Cell[] | undefined> => readOne(ORDERS, [TENANT, id], ...columns);

    describe('reading', () => {
      it('answers a ping', async () => {
        await store.ping();
      });

      it('gives rows in the order of the keys, and undefined where there is none', async () => {
        const [a, b, c] = [randomUUID(), randomUUID(), randomUUID()];
        await commit(write('insert', ORDERS, order(a, { amount: '1' })), write('insert', ORDERS, order(b, { amount: '2' })));
        const keys = [b, c, a, b].map((id) => [TENANT, id]);
        expect(await store.read(ORDERS, keys, ['amount', 'order_id'])).toEqual([['2', b], undefined, ['1', a], ['2', b]]);
      });

      it('takes no keys, and no columns', async () => {
        const id = randomUUID();
        await commit(write('insert', ORDERS, order(id)));
        expect(await store.read(ORDERS, [], ['amount'])).toEqual([]);
        expect(
          await store.read(
            ORDERS,
            [
              [TENANT, id],
              [TENANT, 'none'],
            ],
            [],
          ),
        ).toEqual([[], undefined]);
      });

      it('keeps tenants apart by the first part of the key', async () => {
        const id = randomUUID();
        await commit(write('insert', ORDERS, order(id)), write('insert', ORDERS, order(id, { tenant: 'other', customer: 'bob' })));
        expect(
          await store.read(
            ORDERS,
            [
              ['other', id],
              [TENANT, id],
            ],
            ['customer'],
          ),
        ).toEqual([['bob'], ['ann']]);
      });

      it('scans a range in the order of the key, page by page', async () => {
        const tenant = `scan${randomUUID().slice(0, 8)}`;
        const ids = ['a', 'b', 'c', 'd', 'e'];
        for (const id of [...ids].reverse()) {
          await commit(
            write('insert', ORDERS, order(id, { tenant, amount: String(id.charCodeAt(0)) })),
            ...['10', '9', '-1'].map((number) => write('insert', LINES, line(id, number, { tenant, sku: `${id}${number}` }))),
          );
        }
        const orders = (range: Omit<KeyRange, 'prefix'>) => store.scan(ORDERS, { prefix: [tenant], ...range }, ['order_id']);
        expect(await store.scan(ORDERS, { prefix: [tenant], limit: 2 }, ['amount', 'order_id'])).toEqual([
          ['97', 'a'],
          ['98', 'b'],
        ]);
        expect(await orders({ after: [tenant, 'b'], limit: 2 })).toEqual([['c'], ['d']]);
        expect(await orders({ from: [tenant, 'b'], before: [tenant, 'd'], limit: 9 })).toEqual([['b'], ['c']]);
        expect(await orders({ after: [tenant, 'e'], limit: 9 })).toEqual([]);
        expect(await orders({ from: [tenant, 'bb'], limit: 1 })).toEqual([['c']]);
        expect(await store.scan(LINES, { prefix: [tenant, 'c'], limit: 9 }, ['line'])).toEqual([['-1'], ['9'], ['10']]);
        const behind = { prefix: [tenant], after: [tenant, 'c', '9'], before: [tenant, 'd', '10'], limit: 9 };
        expect(await store.scan(LINES, behind, ['sku'])).toEqual([['c10'], ['d-1'], ['d9']]);
        expect(await store.scan(LINES, { prefix: [tenant], limit: 2 }, [])).toEqual([[], []]);
        const [first] = await store.scan(ORDERS, { prefix: [], limit: 1 }, ['tenant']);
        expect(first).toHaveLength(1);
        expect((await store.scan(ORDERS, { prefix: [], after: [tenant, 'd'], limit: 1 }, ['order_id']))[0]).toEqual(['e']);
      });

      it('scans times in their order, however many digits they have', async () => {
        const id = `scan-${randomUUID().slice(0, 8)}`;
        const times = ['2026-11-24T12:00:00Z', '2026-11-24T12:00:00.25Z', '2026-11-24T12:00:00.3Z', '2026-11-24T12:00:01Z'];
        await commit(
          ...times.map((time) =>
            write('insert', KEYS, { k_string: id, k_int64: '1', k_numeric: '1', k_timestamp: time, k_date: '2026-11-24', note: time }),
          ),
        );
        const prefix = [id, '1', '1'];
        const range = { prefix, from: [...prefix, times[1] as string], before: [...prefix, times[3] as string], limit: 9 };
        expect(await store.scan(KEYS, range, ['note'])).toEqual([[times[1]], [times[2]]]);
      });

      it('sees on another connection what was answered before', async () => {
        const other = await harness.again();
        try {
          const id = randomUUID();
          await commit(write('insert', ORDERS, order(id)));
          expect(await other.read(ORDERS, [[TENANT, id]], ['customer'])).toEqual([['ann']]);
        } finally {
          await other.close();
        }
      });
    });

    describe('reading ranges and moments', () => readConformance(() => store));

    describe('mutations', () => {
      it('refuses to insert a row that exists, and leaves it as it is', async () => {
        const id = randomUUID();
        await commit(write('insert', ORDERS, order(id, { amount: '1' })));
        const again = commit(write('insert', ORDERS, order(id, { amount: '2' })));
        expect(await failureOf(again)).toEqual({ failure: 'already_exists', reason: 'already_exists' });
        expect(await readOrder(id, 'amount')).toEqual(['1']);
      });

      it('refuses to update a row that does not exist', async () => {
        const update = commit(write('update', ORDERS, order(randomUUID())));
        expect(await failureOf(update)).toEqual({ failure: 'not_found', reason: 'not_found' });
      });

      it('refuses to update a row that does not exist when only its key is named', async () => {
        const update = commit(write('update', ORDERS, { tenant: TENANT, order_id: randomUUID() }));
        expect(await failureOf(update)).toEqual({ failure: 'not_found', reason: 'not_found' });
      });

      it('updates the named columns only', async () => {
        const id = randomUUID();
        await commit(write('insert', ORDERS, order(id, { amount: '1' })));
        await commit(write('update', ORDERS, { tenant: TENANT, order_id: id, customer: 'bob' }));
        expect(await readOrder(id, 'customer', 'amount')).toEqual(['bob', '1']);
        await commit(write('update', ORDERS, { tenant: TENANT, order_id: id, amount: null }));
        expect(await readOrder(id, 'customer', 'amount')).toEqual(['bob', null]);
      });

      it('inserts by an upsert, and updates the named columns only by the next', async () => {
        const id = randomUUID();
        await commit(write('upsert', ORDERS, order(id, { amount: '1' })));
        expect(await readOrder(id, 'customer', 'amount')).toEqual(['ann', '1']);
        await commit(write('upsert', ORDERS, order(id, { customer: 'bob' })));
        expect(await readOrder(id, 'customer', 'amount')).toEqual(['bob', '1']);
      });

      it('takes an upsert of nothing but a key', async () => {
        const key = { tenant: TENANT, coupon_id: randomUUID() };
        await commit(write('upsert', COUPONS, { ...key, code: randomUUID().slice(0, 20) }));
        await commit(write('upsert', COUPONS, key));
        expect(await readOne(COUPONS, Object.values(key), 'coupon_id')).toEqual([key.coupon_id]);
      });

      it('keeps the children of a parent that is upserted or updated', async () => {
        const id = randomUUID();
        await commit(write('insert', ORDERS, order(id)), write('insert', LINES, line(id, '1')), write('insert', NOTES, line(id, '1')));
        await commit(write('upsert', ORDERS, order(id, { customer: 'bob', amount: null, photo: null, tags: null })));
        await commit(write('update', ORDERS, order(id, { customer: 'eve' })));
        expect(await readOne(LINES, [TENANT, id, '1'], 'line')).toEqual(['1']);
        expect(await readOne(NOTES, [TENANT, id, '1'], 'line')).toEqual(['1']);
      });

      it('deletes a row, and a row that is not there', async () => {
        const id = randomUUID();
        await commit(write('insert', ORDERS, order(id)));
        await commit(remove(ORDERS, TENANT, id));
        expect(await readOrder(id, 'customer')).toBeUndefined();
        await commit(remove(ORDERS, TENANT, id));
      });

      it('applies the mutations of one commit in their order', async () => {
        const id = randomUUID();
        await commit(
          write('insert', ORDERS, order(id, { amount: '1' })),
          write('update', ORDERS, order(id, { amount: '2' })),
          remove(ORDERS, TENANT, id),
          write('insert', ORDERS, order(id)),
        );
        expect(await readOrder(id, 'customer', 'amount')).toEqual(['ann', null]);
        await commit(write('upsert', ORDERS, order(id, { amount: '3' })), remove(ORDERS, TENANT, id));
        expect(await readOrder(id, 'amount')).toBeUndefined();
      });

      it('writes nothing of a commit of which one mutation fails', async () => {
        const [a, b] = [randomUUID(), randomUUID()];
        await commit(write('insert', ORDERS, order(a)));
        const batch = commit(
          write('insert', ORDERS, order(b)),
          write('update', ORDERS, order(a, { customer: 'bob' })),
          write('insert', ORDERS, order(a)),
        );
        expect(await failureOf(batch)).toEqual({ failure: 'already_exists', reason: 'already_exists' });
        expect(await readOrder(b, 'customer')).toBeUndefined();
        expect(await readOrder(a, 'customer')).toEqual(['ann']);
      });

      it('commits a batch of hundreds of rows of several tables', async () => {
        const ids = Array.from({ length: 200 }, () => randomUUID());
        await commit(
          ...ids.flatMap((id) => [write('insert', ORDERS, order(id)), write('upsert', LINES, line(id, '7', { sku: id.slice(0, 20) }))]),
        );
        const rows = await store.read(
          LINES,
          ids.map((id) => [TENANT, id, '7']),
          ['sku'],
        );
        expect(rows).toEqual(ids.map((id) => [id.slice(0, 20)]));
      });

      it('commits no mutations', async () => {
        expect((await commit()).commitTimestamp).toMatch(/Z$/);
      });
    });

    describe('parents and children', () => {
      it('refuses a child without its parent', async () => {
        const refused = { failure: 'refused', reason: 'parent_not_found' };
        expect(await failureOf(commit(write('insert', LINES, line(randomUUID(), '1'))))).toEqual(refused);
        expect(await failureOf(commit(write('upsert', NOTES, line(randomUUID(), '1'))))).toEqual(refused);
      });

      it('refuses a child that comes before its parent in the same commit', async () => {
        const id = randomUUID();
        const call = commit(write('insert', LINES, line(id, '1')), write('insert', ORDERS, order(id)));
        expect(await failureOf(call)).toEqual({ failure: 'refused', reason: 'parent_not_found' });
      });

      it('refuses to delete a parent that has children, until they are deleted before it', async () => {
        const id = randomUUID();
        await commit(write('insert', ORDERS, order(id)), write('insert', LINES, line(id, '1')));
        expect(await failureOf(commit(remove(ORDERS, TENANT, id)))).toEqual({ failure: 'refused', reason: 'has_children' });
        const wrongOrder = commit(remove(ORDERS, TENANT, id), remove(LINES, TENANT, id, '1'));
        expect(await failureOf(wrongOrder)).toEqual({ failure: 'refused', reason: 'has_children' });
        await commit(remove(LINES, TENANT, id, '1'), remove(ORDERS, TENANT, id));
        expect(await readOrder(id, 'customer')).toBeUndefined();
      });

      it('deletes the children that go with their parent', async () => {
        const id = randomUUID();
        await commit(write('insert', ORDERS, order(id)), write('insert', NOTES, line(id, '1')), write('insert', NOTES, line(id, '2')));
        await commit(remove(ORDERS, TENANT, id));
        expect(await readOne(NOTES, [TENANT, id, '1'], 'line')).toBeUndefined();
        await commit(write('insert', ORDERS, order(id)));
        expect(await readOne(NOTES, [TENANT, id, '2'], 'line')).toBeUndefined();
      });
    });

    describe('what a row may not hold', () => {
      const refused = (reason: string): { failure: string; reason: string } => ({ failure: 'refused', reason });

      it('refuses a NULL, given or left out, where a value is required', async () => {
        const id = randomUUID();
        expect(await failureOf(commit(write('insert', ORDERS, order(id, { customer: null }))))).toEqual(refused('not_null'));
        expect(await failureOf(commit(write('insert', ORDERS, { tenant: TENANT, order_id: id })))).toEqual(refused('not_null'));
        await commit(write('insert', ORDERS, order(id)));
        expect(await failureOf(commit(write('update', ORDERS, order(id, { customer: null }))))).toEqual(refused('not_null'));
        // As if it were an insert, though the row is there.
        expect(await failureOf(commit(write('upsert', ORDERS, { tenant: TENANT, order_id: id })))).toEqual(refused('not_null'));
      });

      it('refuses a text that is too long, counted in characters', async () => {
        await commit(write('insert', ORDERS, order(randomUUID(), { customer: '😀'.repeat(10) })));
        expect(await failureOf(commit(write('insert', ORDERS, order(randomUUID(), { customer: 'x'.repeat(11) }))))).toEqual(
          refused('too_long'),
        );
        expect(await failureOf(commit(write('insert', ORDERS, order('x'.repeat(37)))))).toEqual(refused('too_long'));
      });

      it('refuses bytes that are too many', async () => {
        const bytes = (count: number): string => Buffer.alloc(count, 255).toString('base64');
        await commit(write('insert', ORDERS, order(randomUUID(), { photo: bytes(4) })));
        expect(await failureOf(commit(write('insert', ORDERS, order(randomUUID(), { photo: bytes(5) }))))).toEqual(refused('too_long'));
      });

      it('refuses an array whose element is too long', async () => {
        await commit(write('insert', ORDERS, order(randomUUID(), { tags: ['😀😀😀', null] })));
        expect(await failureOf(commit(write('insert', ORDERS, order(randomUUID(), { tags: ['a', 'abcd'] }))))).toEqual(refused('too_long'));
      });

      it('refuses a second row with the same entry in a unique index, NULLs included', async () => {
        const code = randomUUID().slice(0, 20);
        const coupon = (more: Record<string, Cell>): StoreMutation =>
          write('insert', COUPONS, { tenant: TENANT, coupon_id: randomUUID(), ...more });
        const id = randomUUID();
        await commit(coupon({ code }), write('insert', COUPONS, { tenant: TENANT, coupon_id: id, code: `${code}2`.slice(-20) }));
        expect(await failureOf(commit(coupon({ code })))).toEqual(refused('unique_violation'));
        const update = commit(write('update', COUPONS, { tenant: TENANT, coupon_id: id, code }));
        expect(await failureOf(update)).toEqual(refused('unique_violation'));
        await commit(coupon({ code, stamp: '' }), coupon({ code, stamp: 'AAE=' }));
        await commit(write('insert', COUPONS, { tenant: 'nulls', coupon_id: '1' }));
        expect(await failureOf(commit(write('insert', COUPONS, { tenant: 'nulls', coupon_id: '2' })))).toEqual(refused('unique_violation'));
      });

      it('refuses what a CHECK or a foreign key of an adopted table refuses', async () => {
        await commit(write('insert', CUSTOMERS, { tenant: TENANT, customer_id: 'c1' }));
        const account = (more: Record<string, Cell>): StoreMutation =>
          write('upsert', ACCOUNTS, { tenant: TENANT, account_id: 'a1', ...more });
        await commit(account({ customer_id: 'c1', balance: '0' }));
        expect(await failureOf(commit(account({ balance: '-1' })))).toEqual(refused('check_failed'));
        expect(await failureOf(commit(account({ customer_id: 'c2' })))).toEqual(refused('foreign_key'));
        expect(await failureOf(commit(remove(CUSTOMERS, TENANT, 'c1')))).toEqual(refused('foreign_key'));
      });

      it('refuses a cell that is none of its column’s type', async () => {
        expect(await failureOf(commit(write('insert', ORDERS, order(randomUUID(), { amount: 'ten' }))))).toEqual(refused('constraint'));
        expect(await failureOf(commit(write('insert', KINDS, { id: randomUUID(), c_bool: 'yes' })))).toEqual(refused('constraint'));
        expect(await failureOf(commit(write('insert', KINDS, { id: randomUUID(), c_timestamp: 'soon' })))).toEqual(refused('constraint'));
      });

      it('does not know what to say of a table or a column that is not there', async () => {
        const absent = { ...ORDERS, name: 'no_such_table' };
        expect(await failureOf(commit(write('insert', absent, order(randomUUID()))))).toEqual({ failure: 'unknown', reason: undefined });
        expect(await failureOf(store.read(absent, [[TENANT, 'x']], ['customer']))).toEqual({ failure: 'unknown', reason: undefined });
        const wider = {
          ...ORDERS,
          columns: [...ORDERS.columns, { name: 'nope', type: { scalar: 'STRING', array: false }, notNull: false } as const],
        };
        const insert = commit(write('insert', wider, order(randomUUID(), { nope: 'x' })));
        expect(await failureOf(insert)).toEqual({ failure: 'unknown', reason: undefined });
      });
    });

    describe('values', () => valueConformance(() => store));

    describe('commit timestamps', () => {
      it('become later with each commit, in microseconds at most', async () => {
        const times: string[] = [];
        for (let i = 0; i < 20; i += 1)
          times.push((await commit(write('upsert', ORDERS, order('clock', { amount: String(i) })))).commitTimestamp);
        const padded = times.map((time) => `${time.slice(0, 19)}.${time.slice(20, -1).padEnd(9, '0')}`);
        expect(padded).toEqual([...new Set(padded)].sort());
        for (const time of times) {
          expect(canonicalTimestamp(time)).toBe(time);
          expect(time).toMatch(/:\d\d(\.\d{1,6})?Z$/);
        }
      });

      it('stand in the column that asks for them, and are what the commit answers', async () => {
        const id = randomUUID();
        const { commitTimestamp } = await commit(write('insert', ORDERS, order(id, { updated_at: COMMIT_TIMESTAMP })));
        expect(await readOrder(id, 'updated_at')).toEqual([commitTimestamp]);
        const next = await commit(write('update', ORDERS, order(id, { updated_at: COMMIT_TIMESTAMP })));
        expect(await readOrder(id, 'updated_at')).toEqual([next.commitTimestamp]);
      });

      it('stand in the rows of a read-write transaction too', async () => {
        const id = randomUUID();
        const { commitTimestamp } = await store.readWrite(OPTIONS, async (transaction) => {
          transaction.write([write('insert', ORDERS, order(id, { updated_at: COMMIT_TIMESTAMP }))]);
          await Promise.resolve();
        });
        expect(await readOrder(id, 'updated_at')).toEqual([commitTimestamp]);
      });
    });

    describe('read-write transactions', () => transactionConformance(() => store, harness));
  });

  schemaConformance(name, harness);
}
