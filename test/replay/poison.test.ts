/**
 * Poison of five kinds among sound writes, through the whole pipeline: all of it and nothing else fails, each with its
 * reason, and once the causes are mended one redrive applies it, in order. `SPANWAY_TEST_RECORDS=20000` makes it large.
 */
import { describe, expect, it } from 'vitest';
import { Rng } from '../../ports/rng.ts';
import type { StoreMutation } from '../../ports/store/port.ts';
import { readEntries } from '../../producers/replay/attempts.ts';
import { listDeadLetters } from '../../producers/replay/dead-letters.ts';
import { readHistory } from '../../producers/replay/history.ts';
import { redrive } from '../../producers/replay/redrive.ts';
import type { Envelope, Mutation } from '../../schemas/envelope/envelope.ts';
import orderLines from '../../schemas/order-lines.ts';
import orders from '../../schemas/orders.ts';
import { ResourceSet } from '../../schemas/resource/registry.ts';
import type { Cell } from '../../schemas/resource/table.ts';
import { ACCOUNTS_IN_SPANNER, ACCOUNTS_IN_SQLITE, accounts } from '../fixtures/accounts.ts';
import allTypes from '../fixtures/all-types.ts';
import { envelopeOf, orderUpsert } from '../fixtures/envelopes.ts';
import { type Pipeline, startPipeline } from '../fixtures/pipeline.ts';
import { resources, spannerUrl } from '../fixtures/stores.ts';
import { describeWithServer } from '../servers.ts';

const RECORDS = Number(process.env['SPANWAY_TEST_RECORDS'] ?? 2000);
const KINDS = ['unknown_resource', 'foreign_key', 'unique_violation', 'parent_not_found', 'not_found'] as const;
type Kind = (typeof KINDS)[number];
/** Of one aggregate, one after the other. */
const WRITES = 5;
const AGGREGATES = Math.max(1, Math.round(RECORDS / 20 / KINDS.length / WRITES));

const complete = new ResourceSet([orders, orderLines, accounts, allTypes]);
const lacking = new ResourceSet([orders, orderLines, accounts]);

const account = (id: string, n: number, value: Record<string, Cell> = {}): Mutation => ({
  op: 'upsert',
  resource: 'accounts',
  key: [id],
  value: { branch: null, email: `${id}@x`, balance: String(n), ...value },
});
const line = (orderId: string, n: number): Mutation => ({
  op: 'upsert',
  resource: 'order-lines',
  key: [orderId, '1'],
  value: { sku: 's', quantity: String(n), unitPrice: null },
});

/** The n-th write, from 1, of an aggregate that fails for this reason. */
const POISON: Readonly<Record<Kind, (name: string, n: number) => Mutation>> = {
  unknown_resource: (name, n) => ({ op: 'upsert', resource: 'all-types', key: [name], value: { text: String(n) } }),
  foreign_key: (name, n) => account(name, n, { branch: name }),
  unique_violation: (name, n) => account(name, n, { email: `${name}-taken@x` }),
  parent_not_found: line,
  not_found: (name, n) => ({ op: 'update', resource: 'orders', key: [name], value: { note: String(n) } }),
};

const nameOf = (kind: Kind, i: number): string => `${kind.replaceAll('_', '-')}-${i}`;
const NAMES = KINDS.flatMap((kind) => Array.from({ length: AGGREGATES }, (_, i) => ({ kind, name: nameOf(kind, i) })));

function poison(ddl: readonly string[], storeUrl?: () => string): void {
  it('is all that fails, each with its reason, and one redrive applies it in order', async () => {
    const pipeline = await startPipeline(resources, storeUrl?.());
    try {
      await pipeline.store.apply(ddl);
      pipeline.resources.current = lacking;
      await pipeline.submit(
        NAMES.flatMap(({ kind, name }) =>
          kind === 'unique_violation' ? [envelopeOf([account(`${name}-holder`, 0, { email: `${name}-taken@x` })])] : [],
        ),
      );
      const guilty = NAMES.map(({ kind, name }) => ({
        kind,
        envelopes: Array.from({ length: WRITES }, (_, n) => envelopeOf([POISON[kind](name, n + 1)])),
      }));
      const sent = mixed(guilty.map(({ envelopes }) => envelopes));
      await pipeline.submit(sent);

      const reasons = new Map(guilty.flatMap(({ kind, envelopes }) => envelopes.map(({ id }) => [id, kind] as const)));
      const entries = await readEntries(
        pipeline.store,
        sent.map(({ id }) => id),
      );
      expect(entries.map((entry) => entry?.reason ?? entry?.outcome)).toEqual(sent.map(({ id }) => reasons.get(id) ?? 'applied'));
      const listed: string[] = [];
      const parts = { store: pipeline.store, queue: pipeline.queue, resources: complete };
      for await (const letter of listDeadLetters(parts, { rejected: true })) listed.push(letter.id);
      expect(listed.sort()).toEqual([...reasons.keys()].sort());

      await mend(pipeline);
      const became: Record<string, number> = {};
      const options = { overNewer: false, by: 'operator', dryRun: false, outcomeMs: 60_000, now: () => new Date() };
      const sending = { sender: pipeline.sender, verifier: () => pipeline.keys.current };
      for await (const { result, reason } of redrive({ ...parts, ...sending }, { rejected: true }, options)) {
        const key = [result, reason].join(' ').trim();
        became[key] = (became[key] ?? 0) + 1;
      }
      expect(became).toEqual({ applied: reasons.size });
      await expectInOrder(pipeline, guilty);
    } finally {
      await pipeline.stop();
    }
  }, 600_000);
}

/** Each list's order is kept; sound writes of other rows stand everywhere between. */
function mixed(lists: readonly (readonly Envelope[])[]): Envelope[] {
  const rng = new Rng(1, 'mix');
  const open = lists.map((list) => [...list]);
  const sent: Envelope[] = [];
  for (let sound = RECORDS - lists.length * WRITES; open.length > 0 || sound > 0;) {
    const left = open.reduce((sum, list) => sum + list.length, 0);
    if (rng.chance(left / (left + sound))) {
      const list = rng.pick(open);
      sent.push(list.shift() as Envelope);
      if (list.length === 0) open.splice(open.indexOf(list), 1);
    } else {
      sound -= 1;
      sent.push(envelopeOf([rng.chance(0.5) ? orderUpsert(`o${rng.int(1, 500)}`, String(sound)) : account(`a${rng.int(1, 500)}`, sound)]));
    }
  }
  return sent;
}

/** As an operator would: files are completed, and rows put right in the database itself. */
async function mend(pipeline: Pipeline): Promise<void> {
  pipeline.resources.current = complete;
  const table = (name: string) => (complete.get(name) ?? expect.unreachable(name)).table;
  const branches = { ...table('accounts'), name: 'branches', columns: table('accounts').columns.slice(0, 2), indexes: [] };
  const order = orderUpsert('').value ?? {};
  const fixes = NAMES.flatMap(({ kind, name }): StoreMutation[] => {
    switch (kind) {
      case 'unknown_resource':
        return [];
      case 'foreign_key':
        return [{ op: 'insert', table: branches, columns: ['tenant', 'id'], values: ['t1', name] }];
      case 'unique_violation':
        return [{ op: 'delete', table: table('accounts'), key: ['t1', `${name}-holder`] }];
      case 'parent_not_found':
      case 'not_found': {
        const columns = ['tenant', 'order_id', ...Object.keys(order), 'updated_at'];
        return [{ op: 'insert', table: table('orders'), columns, values: ['t1', name, ...Object.values(order), '2026-11-01T00:00:00Z'] }];
      }
    }
  });
  for (let at = 0; at < fixes.length; at += 500) await pipeline.store.commit(fixes.slice(at, at + 500), { tag: 'test-mend' });
}

async function expectInOrder(
  { store }: Pipeline,
  guilty: readonly { readonly kind: Kind; readonly envelopes: readonly Envelope[] }[],
): Promise<void> {
  const applied = new Map<string, string[]>();
  for await (const records of readHistory(store, {}))
    for (const { envelope, verdict } of records)
      if (verdict.outcome === 'applied' && envelope.data.redrive)
        applied.set(envelope.data.aggregate, [...(applied.get(envelope.data.aggregate) ?? []), envelope.id]);
  const seen: Record<Kind, [resource: string, column: string, key: readonly Cell[]]> = {
    unknown_resource: ['all-types', 'text', []],
    foreign_key: ['accounts', 'balance', []],
    unique_violation: ['accounts', 'balance', []],
    parent_not_found: ['order-lines', 'quantity', ['1']],
    not_found: ['orders', 'note', []],
  };
  for (const { kind, envelopes } of guilty) {
    expect(applied.get(envelopes[0]?.data.aggregate ?? '')).toEqual(envelopes.map(({ id }) => id));
    const [resource, column, rest] = seen[kind];
    const { table } = complete.get(resource) ?? expect.unreachable(resource);
    const name = envelopes[0]?.data.mutations[0]?.key[0] as string;
    const [row] = await store.read(table, [['t1', name, ...rest]], [column]);
    expect(row?.[0]).toBe(String(WRITES));
  }
}

describe('poison among sound writes, on SQLite', () => {
  poison(ACCOUNTS_IN_SQLITE);
});

describeWithServer('spanner', 'poison among sound writes, on the Spanner emulator', ({ spanner }) => {
  poison(ACCOUNTS_IN_SPANNER, () => spannerUrl(spanner.host));
});
