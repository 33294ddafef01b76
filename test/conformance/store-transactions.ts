/** Read-write transactions: part of the store's conformance suite. */
import { randomUUID } from 'node:crypto';
import { expect, it } from 'vitest';
import type { CommitResult, Store, StoreMutation } from '../../ports/store/port.ts';
import type { Cell } from '../../schemas/resource/table.ts';
import { failureOf, line, LINES, OPTIONS, order, ORDERS, remove, type StoreHarness, TENANT, write } from './store-tables.ts';

export function transactionConformance(use: () => Store, harness: StoreHarness): void {
  const commit = (...mutations: StoreMutation[]): Promise<CommitResult> => use().commit(mutations, OPTIONS);
  const readOrder = async (id: string, ...columns: string[]): Promise<readonly Cell[] | undefined> =>
    (await use().read(ORDERS, [[TENANT, id]], columns))[0];

  const increment = (on: Store, id: string): Promise<{ value: string }> =>
    on.readWrite(OPTIONS, async (transaction) => {
      const [row] = await transaction.read(ORDERS, [[TENANT, id]], ['amount']);
      const value = String(BigInt(row?.[0] as string) + 1n);
      transaction.write([write('update', ORDERS, { tenant: TENANT, order_id: id, amount: value })]);
      return value;
    });

  it('give back what the work returned, and write what it wrote, in order', async () => {
    const id = randomUUID();
    const { value } = await use().readWrite(OPTIONS, async (transaction) => {
      const before = await transaction.read(ORDERS, [[TENANT, id]], ['customer']);
      transaction.write([write('insert', ORDERS, order(id)), write('insert', LINES, line(id, '1'))]);
      transaction.write([remove(LINES, TENANT, id, '1'), write('insert', LINES, line(id, '2'))]);
      return { before, during: await transaction.read(ORDERS, [[TENANT, id]], ['customer']) };
    });
    expect(value).toEqual({ before: [undefined], during: [undefined] });
    const lines = await use().read(
      LINES,
      [
        [TENANT, id, '1'],
        [TENANT, id, '2'],
      ],
      ['line'],
    );
    expect(lines).toEqual([undefined, ['2']]);
  });

  it('see a row that came into a range they scanned: none is numbered twice', async () => {
    const id = randomUUID();
    await commit(write('insert', ORDERS, order(id)));
    const add = (on: Store): Promise<unknown> =>
      on.readWrite(OPTIONS, async (transaction) => {
        const rows = await transaction.scan(LINES, { prefix: [TENANT, id], limit: 100 }, ['line']);
        transaction.write([write('insert', LINES, line(id, String(rows.length)))]);
      });
    const other = await harness.again();
    try {
      await Promise.all([add(use()), add(other), add(use()), add(other)]);
    } finally {
      await other.close();
    }
    expect(await use().scan(LINES, { prefix: [TENANT, id], limit: 100 }, ['line'])).toEqual([['0'], ['1'], ['2'], ['3']]);
  });

  it('throw on what the work throws, and write nothing', async () => {
    const id = randomUUID();
    // Codes that a client might take for the database's.
    for (const mine of [
      new Error('mine'),
      Object.assign(new Error('Session not found'), { code: 5 }),
      Object.assign(new Error('aborted'), { code: 10 }),
    ]) {
      let runs = 0;
      const call = use().readWrite(OPTIONS, async (transaction) => {
        runs += 1;
        await transaction.read(ORDERS, [[TENANT, id]], ['customer']);
        transaction.write([write('insert', ORDERS, order(id))]);
        throw mine;
      });
      await expect(call).rejects.toBe(mine);
      expect(runs).toBe(1);
    }
    expect(await readOrder(id, 'customer')).toBeUndefined();
  });

  it('fail as a commit does, and write nothing', async () => {
    const id = randomUUID();
    await commit(write('insert', ORDERS, order(id)));
    const call = use().readWrite(OPTIONS, async (transaction) => {
      await transaction.read(ORDERS, [[TENANT, id]], ['customer']);
      transaction.write([write('update', ORDERS, order(id, { customer: 'bob' })), write('insert', ORDERS, order(id))]);
    });
    expect(await failureOf(call)).toEqual({ failure: 'already_exists', reason: 'already_exists' });
    expect(await readOrder(id, 'customer')).toEqual(['ann']);
    const child = use().readWrite(OPTIONS, (transaction) =>
      Promise.resolve(transaction.write([write('insert', LINES, line(randomUUID(), '1'))])),
    );
    expect(await failureOf(child)).toEqual({ failure: 'refused', reason: 'parent_not_found' });
  });

  it('fail when a read of theirs fails', async () => {
    const absent = { ...ORDERS, name: 'no_such_table' };
    const call = use().readWrite(OPTIONS, (transaction) => transaction.read(absent, [[TENANT, 'x']], ['customer']));
    expect(await failureOf(call)).toEqual({ failure: 'unknown', reason: undefined });
  });

  it('commit with no writes, and with no reads', async () => {
    const id = randomUUID();
    await commit(write('insert', ORDERS, order(id)));
    const { value } = await use().readWrite(OPTIONS, (transaction) => transaction.read(ORDERS, [[TENANT, id]], ['customer']));
    expect(value).toEqual([['ann']]);
    await use().readWrite(OPTIONS, () => Promise.resolve());
  });

  it('lose no update when several run at once', async () => {
    const id = randomUUID();
    await commit(write('insert', ORDERS, order(id, { amount: '0' })));
    const values = await Promise.all(Array.from({ length: 5 }, () => increment(use(), id)));
    expect(values.map((v) => v.value).sort()).toEqual(['1', '2', '3', '4', '5']);
    expect(await readOrder(id, 'amount')).toEqual(['5']);
  });

  it('lose no update to another connection, nor to a plain commit', async () => {
    const id = randomUUID();
    await commit(write('insert', ORDERS, order(id, { amount: '0' })));
    const other = await harness.again();
    try {
      await Promise.all([increment(use(), id), increment(other, id), increment(use(), id), increment(other, id)]);
      expect(await readOrder(id, 'amount')).toEqual(['4']);
    } finally {
      await other.close();
    }
    const [, plain] = await Promise.all([increment(use(), id), commit(write('update', ORDERS, order(id, { customer: 'bob' })))]);
    expect(plain.commitTimestamp).toMatch(/Z$/);
    expect(await readOrder(id, 'customer', 'amount')).toEqual(['bob', '5']);
  });
}
