import { describe, expect, expectTypeOf, it } from 'vitest';
import { defineResource, field, ResourceDefinitionError, type RowOf, Type, ValidationError } from '../../index.ts';
import { SYSTEM_TABLES } from '../../schemas/envelope/tables.ts';
import orderLines from '../../schemas/order-lines.ts';
import orders from '../../schemas/orders.ts';
import { spannerDdl } from '../../schemas/resource/ddl.ts';
import type { AccessRule } from '../../schemas/resource/access.ts';
import { ResourceSet } from '../../schemas/resource/registry.ts';
import allTypes from '../fixtures/all-types.ts';

const access: AccessRule[] = [{ actions: ['read'], scope: 'x:read' }];
const set = new ResourceSet([orderLines, orders, allTypes]);
const registered = (name: string) => set.get(name) ?? expect.unreachable(name);

function problemsOf(work: () => unknown): string[] {
  try {
    work();
  } catch (error) {
    if (error instanceof ValidationError) return error.problems.map((p) => `${p.pointer} ${p.rule}`).sort();
    throw error;
  }
  return [];
}

describe('defineResource', () => {
  it('gives the static type of a row', () => {
    expectTypeOf<RowOf<typeof orders>['status']>().toEqualTypeOf<'open' | 'paid' | 'shipped' | 'cancelled'>();
    expectTypeOf<RowOf<typeof orderLines>['quantity']>().toEqualTypeOf<number>();
    expectTypeOf<RowOf<typeof allTypes>['big']>().toEqualTypeOf<string | undefined>();
  });

  it('puts the tenant first in the table key, and names columns in snake case', () => {
    expect(orders.table.primaryKey).toEqual(['tenant', 'order_id']);
    expect(orderLines.table.columns.map((c) => c.name)).toEqual(['tenant', 'order_id', 'line_number', 'sku', 'quantity', 'unit_price']);
  });

  const base = { name: 'things', key: ['id'] as const, access };
  const id = Type.String({ maxLength: 10 });
  const wrong: readonly (readonly [what: string, make: () => unknown, text: RegExp])[] = [
    ['a name with capitals', () => defineResource({ ...base, name: 'Things', key: ['id'], schema: Type.Object({ id }) }), /lower-case/],
    ['a name that is a route', () => defineResource({ ...base, name: 'submissions', key: ['id'], schema: Type.Object({ id }) }), /route/],
    [
      'an optional key',
      () => defineResource({ ...base, key: ['id'], schema: Type.Object({ id: Type.Optional(id) }) }),
      /key field id must not be optional/,
    ],
    ['a key of floats', () => defineResource({ ...base, key: ['id'], schema: Type.Object({ id: Type.Number() }) }), /must be one of/],
    [
      'a field named as the tenant',
      () => defineResource({ ...base, key: ['id'], schema: Type.Object({ id, tenant: id }) }),
      /tenant is there twice/,
    ],
    [
      'an integer without bounds',
      () => defineResource({ ...base, key: ['id'], schema: Type.Object({ id, n: Type.Integer() }) }),
      /field n: an integer needs/,
    ],
    [
      'two commit timestamps',
      () => defineResource({ ...base, key: ['id'], schema: Type.Object({ id, a: field.commitTimestamp(), b: field.commitTimestamp() }) }),
      /one commit timestamp/,
    ],
    ['no access rules', () => defineResource({ ...base, access: [], key: ['id'], schema: Type.Object({ id }) }), /no access rules/],
    [
      "a table of the pipeline's own",
      () => defineResource({ ...base, table: 'spanway_x', key: ['id'], schema: Type.Object({ id }) }),
      /pipeline's own/,
    ],
  ];
  it.each(wrong)('refuses %s and says why', (_what, make, text) => {
    expect(make).toThrow(ResourceDefinitionError);
    expect(make).toThrow(text);
  });
});

describe('a set of resources', () => {
  it('puts parents before children, whatever the order of the files', () => {
    expect(set.all().map((r) => r.name)).toEqual(['orders', 'order-lines', 'all-types']);
    expect(registered('order-lines').root).toEqual({ name: 'orders', keyLength: 1, waits: false });
  });

  it('refuses a missing parent, a parent that does not fit, and two of one name or table', () => {
    expect(() => new ResourceSet([orderLines])).toThrow(/parent orders is not among/);
    expect(() => new ResourceSet([orders, orders])).toThrow(/two resources are named orders/);
    const same = defineResource({
      name: 'others',
      table: 'orders',
      key: ['id'],
      access,
      schema: Type.Object({ id: Type.String({ maxLength: 9 }) }),
    });
    expect(() => new ResourceSet([orders, same])).toThrow(/share the table/);
    const misfit = defineResource({
      name: 'kids',
      key: ['orderId', 'n'],
      parent: { resource: 'orders' },
      access,
      schema: Type.Object({ orderId: Type.String({ maxLength: 5 }), n: Type.String({ maxLength: 5 }) }),
    });
    expect(() => new ResourceSet([orders, misfit])).toThrow(/key of its parent orders/);
  });

  it('makes Spanner DDL with interleaving, indexes and the ledger', () => {
    const ddl = spannerDdl([...SYSTEM_TABLES, ...set.tables()]).join('\n');
    expect(ddl).toContain('INTERLEAVE IN PARENT `orders` ON DELETE CASCADE');
    expect(ddl).toContain('CREATE INDEX `orders_by_customer` ON `orders` (`tenant`, `customer`)');
    expect(ddl).toContain('`updated_at` TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true)');
    expect(ddl).toContain('CREATE TABLE `spanway_ledger`');
    expect(ddl).toContain('PRIMARY KEY (`time_shard`, `committed_at`, `first_submission_id`)');
    expect(ddl).toContain('ROW DELETION POLICY (OLDER_THAN(`committed_at`, INTERVAL 90 DAY))');
    expect(ddl).toContain('`numbers` ARRAY<INT64>');
  });
});

describe('validation', () => {
  const order = { customer: 'c1', status: 'open' };

  it('gives every writable field a cell, null where it was left out', () => {
    expect(registered('orders').validators.row({ ...order, total: 12.5 }, ['o1'])).toEqual({
      key: ['o1'],
      value: { customer: 'c1', status: 'open', total: '12.5', note: null, metadata: null },
    });
  });

  it('names every field that is wrong, and the rule it breaks', () => {
    const body = { status: 'lost', total: 'much', note: 5, updatedAt: '2026-01-01T00:00:00Z', extra: 1, orderId: 'o2' };
    expect(problemsOf(() => registered('orders').validators.row(body, ['o1']))).toEqual([
      '/customer required',
      '/extra additionalProperties',
      '/note type',
      '/orderId key',
      '/status enum',
      '/total type',
      '/updatedAt readOnly',
    ]);
  });

  it.each([null, [], 'text', 5, true])('refuses %j as a body', (body) => {
    expect(problemsOf(() => registered('orders').validators.row(body, ['o1']))).toEqual([' type']);
  });

  it('treats the names of prototypes as unknown fields', () => {
    const body: unknown = JSON.parse('{"customer":"c1","status":"open","__proto__":{"x":1},"constructor":1,"toString":2}');
    expect(problemsOf(() => registered('orders').validators.row(body, ['o1']))).toEqual([
      '/__proto__ additionalProperties',
      '/constructor additionalProperties',
      '/toString additionalProperties',
    ]);
  });

  it('checks bounds, in numbers and in strings', () => {
    const line = { sku: 's', quantity: 0 };
    expect(problemsOf(() => registered('order-lines').validators.row(line, ['o1', '1']))).toEqual(['/quantity minimum']);
    expect(problemsOf(() => registered('order-lines').validators.row({ sku: 's', quantity: '9223372036854775807' }, ['o1', '1']))).toEqual([
      '/quantity maximum',
    ]);
    expect(problemsOf(() => registered('order-lines').validators.key(['o1', '10001']))).toEqual(['/lineNumber maximum']);
    expect(problemsOf(() => registered('order-lines').validators.key(['o1', 'x']))).toEqual(['/lineNumber type']);
    expect(problemsOf(() => registered('order-lines').validators.key(['o1']))).toEqual([' key']);
    expect(problemsOf(() => registered('orders').validators.key(['']))).toContain('/orderId minLength');
  });

  it('takes a patch of named fields, clears by null, and knows which JSON merges', () => {
    const { patch } = registered('orders').validators;
    expect(patch({ note: null, metadata: { a: null } }, ['o1'])).toEqual({
      value: { note: null, metadata: '{"a":null}' },
      merge: ['metadata'],
    });
    expect(patch({ metadata: [1] }, ['o1'])).toEqual({ value: { metadata: '[1]' }, merge: [] });
    expect(problemsOf(() => patch({ customer: null }, ['o1']))).toEqual(['/customer type']);
    expect(problemsOf(() => patch({}, ['o1']))).toEqual([' minProperties']);
    expect(problemsOf(() => patch({ status: 'lost' }, ['o1']))).toEqual(['/status enum']);
  });

  it('makes a key only where the resource says so and the body has none', () => {
    const { row } = registered('all-types').validators;
    expect(row({}, () => 'made').key).toEqual(['made']);
    expect(row({ id: 'mine' }, () => 'made').key).toEqual(['mine']);
    expect(problemsOf(() => registered('orders').validators.row(order, () => 'made'))).toEqual(['/orderId required']);
  });

  it('refuses a key that Spanner could not store', () => {
    const wide = new ResourceSet([defineResource({ name: 'wide', key: ['a'], access, schema: Type.Object({ a: Type.String() }) })]);
    expect(problemsOf(() => wide.get('wide')?.validators.key(['x'.repeat(8000)]))).toEqual(['/a keyBytes']);
  });
});
