/** The Spanner adapter without a server: its URL, its error table on Spanner's own messages, and a server that is gone. */
import { describe, expect, it } from 'vitest';
import { openStore } from '../../ports/store/index.ts';
import { fromRaw } from '../../ports/store/spanner-cells.ts';
import { makeClient, readSpannerUrl } from '../../ports/store/spanner-config.ts';
import { isInvalidMutationKey, isSessionNotFound, spannerStoreError } from '../../ports/store/spanner-errors.ts';
import { failureOf } from '../conformance/store-tables.ts';

describe('the spanner URL', () => {
  it('names project, instance and database, and may name an emulator and deadlines', () => {
    expect(readSpannerUrl(new URL('spanner://my-project/main/app-db'))).toEqual({
      project: 'my-project',
      instance: 'main',
      database: 'app-db',
      timeoutMs: 30_000,
      transactionTimeoutMs: 60_000,
    });
    const url = new URL('spanner://p/i/db?emulator=127.0.0.1:9010&timeoutMs=500&transactionTimeoutMs=1000');
    expect(readSpannerUrl(url)).toMatchObject({ emulator: '127.0.0.1:9010', timeoutMs: 500, transactionTimeoutMs: 1000 });
  });

  it.each([
    ['spanner://p/i', 'project, instance and database are needed'],
    ['spanner://p/i/db/more', 'project, instance and database are needed'],
    ['spanner:p', 'project, instance and database are needed'],
    ['spanner://p/i/Db', '"Db" is no database id'],
    ['spanner://p/i/db?emulator=http://localhost:9010', 'not HOST:PORT'],
    ['spanner://p/i/db?timeoutMs=soon', 'timeoutMs is soon, not from 100 to 600000'],
  ])('is refused when it is %s', (url, reason) => {
    expect(() => readSpannerUrl(new URL(url))).toThrow(reason);
  });

  it('leaves the environment as it was', async () => {
    const before = { ...process.env };
    const store = await openStore('spanner://p/i/db?emulator=127.0.0.1:1&timeoutMs=100');
    await failureOf(store.ping());
    await store.close();
    expect({ ...process.env }).toEqual(before);
  });

  it('must name the emulator that the environment names', () => {
    process.env['SPANNER_EMULATOR_HOST'] = 'localhost:9010';
    try {
      expect(() => makeClient(readSpannerUrl(new URL('spanner://p/i/db')))).toThrow('add ?emulator=localhost:9010');
    } finally {
      delete process.env['SPANNER_EMULATOR_HOST'];
    }
  });
});

describe('what Spanner’s messages mean', () => {
  // Those of Google Cloud; the conformance suite provokes the emulator's.
  it.each([
    [1, 'Operation cancelled', 'transient', undefined],
    [3, 'Invalid commit request: maximum size for a single column value is: 10485760 bytes.', 'refused', 'too_long'],
    [3, 'Number of bytes for key of table t is 9000 which exceeds the maximum of 8192.', 'refused', 'too_long'],
    [3, 'The transaction contains too many mutations.', 'refused', 'constraint'],
    [3, 'Invalid argument passed.', 'unknown', undefined],
    [4, 'Deadline exceeded while processing the request', 'transient', undefined],
    [5, 'Table not found: AAAA', 'unknown', undefined],
    [5, 'Column not found in table Authors: age', 'unknown', undefined],
    [5, 'Parent row for row [100,4] in table Books is missing. Row cannot be written.', 'refused', 'parent_not_found'],
    [5, 'Row [1] in table Singers is missing. Row cannot be updated.', 'not_found', 'not_found'],
    [5, 'Session not found: projects/p/instances/i/databases/d/sessions/s', 'transient', undefined],
    [5, 'Database not found: projects/p/instances/i/databases/d', 'transient', undefined],
    [6, 'Row [1] in table Singers already exists', 'already_exists', 'already_exists'],
    [
      6,
      'Unique index violation on index idx at index key [Jane,2]. It conflicts with row [2] in table Authors.',
      'refused',
      'unique_violation',
    ],
    [7, 'Caller is missing IAM permission spanner.databases.write', 'transient', undefined],
    [8, 'Quota exceeded', 'transient', undefined],
    [8, 'Received message larger than max (11 vs. 10)', 'unknown', undefined],
    [9, 'title must not be NULL in table Books', 'refused', 'not_null'],
    [
      9,
      'New value exceeds the maximum size limit for this column in this database: Books.title, size: 9, limit: 5.',
      'refused',
      'too_long',
    ],
    [9, 'Integrity constraint violation during DELETE/REPLACE. Found child row [1,1] in table Books', 'refused', 'has_children'],
    [9, 'Foreign key constraint `FK` is violated on table `C1`. Cannot find referenced values in Books(id).', 'refused', 'foreign_key'],
    [
      9,
      'Foreign key constraint violation when deleting or updating referenced row(s): referencing row(s) found in table `F`',
      'refused',
      'foreign_key',
    ],
    [9, 'Invalid value for column id in table Books: Expected INT64', 'refused', 'constraint'],
    [9, 'Cannot write into generated column `Books.title`', 'unknown', undefined],
    [10, 'Transaction was aborted.', 'transient', undefined],
    [11, 'Check constraint `Authors`.`check_author_id` is violated for key `(-1)`', 'refused', 'check_failed'],
    [13, 'Received RST_STREAM with code 2', 'transient', undefined],
    [13, 'Internal Error occurred', 'unknown', undefined],
    [14, 'Spanner temporarily Unavailable', 'transient', undefined],
    [2, 'Getting metadata from plugin failed with error: request to http://metadata failed', 'transient', undefined],
    [503, 'Getting metadata from plugin failed with error: Service Unavailable', 'transient', undefined],
    [9, 'KMS key required by the Spanner resource is not accessible.', 'transient', undefined],
    [99, 'a code of the future', 'unknown', undefined],
    [undefined, 'The client has already been closed.', 'transient', undefined],
  ])('%i %s: %s %s', (code, message, failure, reason) => {
    const error = spannerStoreError(Object.assign(new Error(`${String(code)} NAME: ${message}`), { code }), 'here');
    expect({ failure: error.failure, reason: error.reason }).toEqual({ failure, reason });
    expect(error.message).toContain(message);
  });

  describe.each([
    'Database not found',
    'Session not found',
    'Instance not found: projects/p',
    'Transaction not found',
    'Table not found',
    'the parent row',
    'unique violation',
    'Getting metadata from plugin failed',
    'Check constraint',
    'invalid mutation key',
    'KMS key',
  ])('of a row that a caller has called %s', (key) => {
    it.each([
      [5, `Table orders: Row {String("t1"), String("${key}")} not found.`, 'not_found', 'not_found'],
      [5, `Row [t1,${key}] in table orders is missing. Row cannot be updated.`, 'not_found', 'not_found'],
      [5, `Parent row for row [t1,${key},1] in table order_lines is missing. Row cannot be written.`, 'refused', 'parent_not_found'],
      [6, `Table orders: Row {String("t1"), String("${key}")} already exists.`, 'already_exists', 'already_exists'],
      [6, `Row [t1,${key}] in table orders already exists`, 'already_exists', 'already_exists'],
      [
        6,
        `Unique index violation on index i at index key [${key}]. It conflicts with row [t1,${key}] in table orders.`,
        'refused',
        'unique_violation',
      ],
      [
        9,
        `Integrity constraint violation during DELETE/REPLACE. Found child row [t1,${key},1] in table order_lines`,
        'refused',
        'has_children',
      ],
    ])('%i %s: %s %s', (code, message, failure, reason) => {
      const caught = Object.assign(new Error(`${String(code)} NAME: ${message}`), { code });
      expect(spannerStoreError(caught, 'here')).toMatchObject({ failure, reason });
      expect([isSessionNotFound(caught), isInvalidMutationKey(caught)]).toEqual([false, false]);
    });
  });

  it('takes any other error for unknown and keeps it as the cause', () => {
    const cause = new TypeError('a fault of ours');
    expect(spannerStoreError(cause, 'here')).toMatchObject({ failure: 'unknown', cause });
  });
});

it('brings what others wrote to canonical cells, and leaves numbers that a double would round', () => {
  expect(fromRaw({ scalar: 'NUMERIC', array: false }, '-0.50')).toBe('-0.5');
  expect(fromRaw({ scalar: 'NUMERIC', array: false }, '-0.00')).toBe('0');
  expect(fromRaw({ scalar: 'TIMESTAMP', array: false }, '2026-11-24T12:00:00.120000Z')).toBe('2026-11-24T12:00:00.12Z');
  expect(fromRaw({ scalar: 'JSON', array: false }, '{"b":1.0,"a":1e2}')).toBe('{"a":100,"b":1}');
  expect(fromRaw({ scalar: 'JSON', array: true }, ['{"b":9007199254740993}', null])).toEqual(['{"b":9007199254740993}', null]);
});

it('calls a server that is not there a transient failure, within the deadline', async () => {
  const store = await openStore('spanner://p/inst/db1?emulator=127.0.0.1:1&timeoutMs=200');
  const transient = { failure: 'transient', reason: undefined };
  expect(await failureOf(store.ping())).toEqual(transient);
  expect(await failureOf(store.commit([], { tag: 'x' }))).toEqual(transient);
  expect(await failureOf(store.readWrite({ tag: 'x' }, () => Promise.resolve()))).toEqual(transient);
  await store.close();
});
