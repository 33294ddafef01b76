/** What the embedded store does beyond the port's conformance suite: its clock, other processes, age limits, a full disk. */
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { SqliteStore } from '../../ports/store/sqlite.ts';
import { SqliteFile } from '../../ports/sqlite/database.ts';
import { COMMIT_TIMESTAMP } from '../../schemas/resource/table.ts';
import type { Range } from '../../ports/store/port.ts';
import { rangeStatement } from '../../ports/store/sqlite-range.ts';
import { AGED, COUPONS, failureOf, KINDS, LINES, ORDERS, write } from '../conformance/store-tables.ts';
import { temporaryFolder } from '../temp.ts';

const options = { tag: 'test' };
const NOON_MS = Date.parse('2026-11-24T12:00:00Z');
const DAY_MS = 86_400_000;

/** A store of its own connection, as another process would have: under another spelling of the path. */
function open(path: string, now?: () => number): { store: SqliteStore; file: SqliteFile; close: () => Promise<void> } {
  const file = SqliteFile.use(path);
  const store = new SqliteStore(file, now);
  let closed = false;
  const close = async (): Promise<void> => {
    if (!closed) await store.close();
    closed = true;
  };
  onTestFinished(close);
  return { store, file, close };
}

async function openWithTables(now?: () => number): Promise<ReturnType<typeof open> & { path: string; again: string }> {
  const folder = await temporaryFolder();
  const path = join(folder, 'store.db');
  const opened = open(path, now);
  await opened.store.apply((await opened.store.compare([ORDERS, KINDS, AGED])).missing);
  return { ...opened, path, again: `${folder}/./store.db` };
}

const order = (id: string, more: Record<string, string | null> = {}): Record<string, string | null> => ({
  tenant: 't',
  order_id: id,
  customer: 'ann',
  ...more,
});

it('keeps commit timestamps increasing when the clock stands still, is set back, or the process starts again', async () => {
  let nowMs = NOON_MS;
  const { store, path, close } = await openWithTables(() => nowMs);
  const commit = async (on: SqliteStore): Promise<string> => (await on.commit([], options)).commitTimestamp;
  expect(await commit(store)).toBe('2026-11-24T12:00:00Z');
  expect(await commit(store)).toBe('2026-11-24T12:00:00.000001Z');
  nowMs -= DAY_MS;
  expect(await commit(store)).toBe('2026-11-24T12:00:00.000002Z');
  await close();
  const restarted = open(path, () => nowMs);
  expect(await commit(restarted.store)).toBe('2026-11-24T12:00:00.000003Z');
  nowMs = NOON_MS + 1;
  expect(await commit(restarted.store)).toBe('2026-11-24T12:00:00.001Z');
});

it('runs a transaction again when another process committed after it read', async () => {
  const { store, again } = await openWithTables();
  const other = open(again).store;
  await store.commit([write('insert', ORDERS, order('o1', { amount: '1' }))], options);
  let runs = 0;
  const { value } = await store.readWrite(options, async (transaction) => {
    runs += 1;
    const [row] = await transaction.read(ORDERS, [['t', 'o1']], ['amount']);
    if (runs === 1) await other.commit([write('update', ORDERS, order('o1', { amount: '5' }))], options);
    const amount = String(BigInt(row?.[0] as string) + 1n);
    transaction.write([write('update', ORDERS, order('o1', { amount }))]);
    return amount;
  });
  expect({ runs, value }).toEqual({ runs: 2, value: '6' });
  expect(await other.read(ORDERS, [['t', 'o1']], ['amount'])).toEqual([['6']]);
});

it('gives a transaction up as transient when others commit in each of its runs', async () => {
  const { store, again } = await openWithTables();
  const other = open(again).store;
  const call = store.readWrite(options, async (transaction) => {
    await transaction.read(ORDERS, [['t', 'o1']], ['amount']);
    await other.commit([], options);
  });
  expect(await failureOf(call)).toEqual({ failure: 'transient', reason: undefined });
});

it('does not throw on what a transaction threw after it read two states', async () => {
  const { store, again } = await openWithTables();
  const other = open(again).store;
  let runs = 0;
  const { value } = await store.readWrite(options, async () => {
    runs += 1;
    await Promise.resolve();
    if (runs > 1) return 'read one state';
    await other.commit([], options);
    throw new Error('the two reads do not agree');
  });
  expect(value).toBe('read one state');
});

it('takes a file that another process is writing for a transient failure', async () => {
  const { store, file, again } = await openWithTables();
  const other = open(again).file;
  file.db.exec('PRAGMA busy_timeout = 1');
  other.db.exec('BEGIN IMMEDIATE');
  expect(await failureOf(store.commit([write('insert', ORDERS, order('o1'))], options))).toEqual({
    failure: 'transient',
    reason: undefined,
  });
  other.db.exec('ROLLBACK');
  await store.commit([write('insert', ORDERS, order('o1'))], options);
});

it('takes a full disk for a transient failure, says what to do, and goes on when there is room', async () => {
  const { store, file } = await openWithTables();
  const big = write('insert', KINDS, { id: 'big', c_string: 'x'.repeat(1_000_000) });
  const pages = file.db.prepare('PRAGMA page_count').get()?.['page_count'] as number;
  file.db.exec(`PRAGMA max_page_count = ${String(pages + 1)}`);
  await expect(store.commit([big], options)).rejects.toMatchObject({
    failure: 'transient',
    message: expect.stringContaining('make room') as string,
  });
  file.db.exec('PRAGMA max_page_count = 1000000');
  await store.commit([big], options);
  expect(await store.read(KINDS, [['big']], ['id'])).toEqual([['big']]);
});

it('removes rows past their table’s age limit, once an hour, and no others', async () => {
  let nowMs = NOON_MS;
  const { store } = await openWithTables(() => nowMs);
  const add = (id: string): Promise<unknown> => store.commit([write('insert', AGED, { id, made_at: COMMIT_TIMESTAMP })], options);
  const left = async (): Promise<readonly unknown[]> => store.read(AGED, [['old'], ['young']], ['id']);
  await add('old');
  nowMs += 29 * DAY_MS;
  await add('young');
  expect(await left()).toEqual([['old'], ['young']]);
  nowMs += 1.5 * DAY_MS;
  await store.commit([], options);
  expect(await left()).toEqual([undefined, ['young']]);
  nowMs += 29 * DAY_MS - 1;
  await store.commit([], options);
  expect(await left()).toEqual([undefined, undefined]);
});

it('works off more old rows than one sweep takes, a sweep a second', async () => {
  let nowMs = NOON_MS;
  const { store } = await openWithTables(() => nowMs);
  const ids = Array.from({ length: 1200 }, (_, i) => String(i));
  await store.commit(
    ids.map((id) => write('insert', AGED, { id, made_at: COMMIT_TIMESTAMP })),
    options,
  );
  nowMs += 31 * DAY_MS;
  const counts: number[] = [];
  for (let sweep = 0; sweep < 4; sweep += 1) {
    await store.commit([], options);
    const rows = await store.read(
      AGED,
      ids.map((id) => [id]),
      ['id'],
    );
    counts.push(rows.filter(Boolean).length);
    nowMs += 1000;
  }
  expect(counts).toEqual([700, 200, 0, 0]);
});

it('says that it is closed as a failure that passes, to a read or write that a stop has overtaken', async () => {
  const { store, close } = await openWithTables();
  await store.commit([write('insert', ORDERS, order('o1'))], options);
  await close();
  expect(await failureOf(store.read(ORDERS, [['t', 'o1']], ['customer']))).toEqual({ failure: 'transient', reason: undefined });
  expect(await failureOf(store.commit([write('insert', ORDERS, order('o2'))], options))).toEqual({
    failure: 'transient',
    reason: undefined,
  });
});

it('finds the rows of a range, and their order, by the key or the index alone', async () => {
  const { store, file } = await openWithTables();
  await store.apply((await store.compare([ORDERS, LINES, COUPONS])).missing);
  const plansOf = (range: Omit<Range, 'columns' | 'descending' | 'limit' | 'children'>): string[] =>
    [true, false].map((descending) => {
      const { sql, values } = rangeStatement({ columns: [], limit: 1, children: [], ...range, descending }, range.table.primaryKey);
      const steps = file.db.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(...values, 10);
      return steps.map(({ detail }) => String(detail)).join('; ');
    });
  const [byCustomer, byCode] = [ORDERS.indexes[0], COUPONS.indexes[0]];
  for (const plan of [
    ...plansOf({ table: ORDERS, prefix: ['t'] }),
    ...plansOf({ table: ORDERS, prefix: ['t'], after: ['o1'], lower: { cell: 'o', inclusive: true } }),
    ...plansOf({ table: LINES, prefix: ['t', 'o1'], after: ['1'] }),
    ...(byCustomer ? plansOf({ table: ORDERS, index: byCustomer, prefix: ['t', 'ann'], after: ['o1'] }) : []),
    ...(byCustomer ? plansOf({ table: ORDERS, index: byCustomer, prefix: ['t'], after: ['ann', 'o1'] }) : []),
    ...(byCode ? plansOf({ table: COUPONS, index: byCode, prefix: ['t'], after: ['x', null, 'c1'] }) : []),
  ]) {
    expect(plan).toMatch(/^SEARCH \w+ USING (?:COVERING )?INDEX \w+ \(tenant=\?/);
    expect(plan).not.toMatch(/SCAN|TEMP B-TREE/);
  }
});
