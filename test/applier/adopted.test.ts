import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { applyBatch } from '../../consumers/applier/apply.ts';
import { Breaker } from '../../consumers/applier/breaker.ts';
import { planWork } from '../../consumers/applier/plan.ts';
import { defineResource, field, Type } from '../../index.ts';
import type { SchemaAdmin, Store } from '../../ports/store/port.ts';
import { type Mutation } from '../../schemas/envelope/envelope.ts';
import { envelopeText } from '../../schemas/envelope/pack.ts';
import { ResourceSet } from '../../schemas/resource/registry.ts';
import { envelopeOf } from '../fixtures/envelopes.ts';
import { preparedStore, spannerUrl } from '../fixtures/stores.ts';
import { describeWithServer } from '../servers.ts';
import { makeTemporaryFolder } from '../temp.ts';

/**
 * A table that was there first, with rules that the resource does not know: only the database can tell, and each rule
 * it keeps is a rejection of its own.
 */
const adopted = defineResource({
  name: 'accounts',
  key: ['id'],
  adopt: true,
  schema: Type.Object({
    id: Type.String({ maxLength: 36 }),
    branch: Type.Optional(Type.String({ maxLength: 36 })),
    email: Type.Optional(Type.String()),
    balance: Type.Optional(field.int64({ minimum: -1_000_000, maximum: 1_000_000 })),
  }),
  access: [{ actions: ['upsert'], scope: 'x' }],
});
const set = new ResourceSet([adopted]);

const SPANNER = [
  'CREATE TABLE branches (tenant STRING(128) NOT NULL, id STRING(36) NOT NULL) PRIMARY KEY (tenant, id)',
  `CREATE TABLE accounts (
     tenant STRING(128) NOT NULL, id STRING(36) NOT NULL, branch STRING(36), email STRING(20) NOT NULL, balance INT64,
     CONSTRAINT has_branch FOREIGN KEY (tenant, branch) REFERENCES branches (tenant, id),
     CONSTRAINT not_overdrawn CHECK (balance >= 0)
   ) PRIMARY KEY (tenant, id)`,
  'CREATE UNIQUE INDEX accounts_by_email ON accounts (tenant, email)',
];
const SQLITE = [
  'CREATE TABLE branches (tenant TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (tenant, id)) STRICT',
  `CREATE TABLE accounts (
     tenant TEXT NOT NULL, id TEXT NOT NULL, branch TEXT, email TEXT NOT NULL CONSTRAINT "too_long email" CHECK (length(email) <= 20), balance INTEGER,
     PRIMARY KEY (tenant, id),
     CONSTRAINT has_branch FOREIGN KEY (tenant, branch) REFERENCES branches (tenant, id),
     CONSTRAINT not_overdrawn CHECK (balance >= 0)
   ) STRICT`,
  'CREATE UNIQUE INDEX accounts_by_email ON accounts (tenant, email)',
];

function adoption(ddl: readonly string[], open: () => Promise<{ store: Store & SchemaAdmin; close: () => Promise<void> }>): void {
  it('rejects each write that a rule of the database refuses, with its reason, and applies the others', async () => {
    const { store, close } = await open();
    try {
      await store.apply(ddl);
      const upsert = (id: string, value: Record<string, string | null>): Mutation => ({
        op: 'upsert',
        resource: 'accounts',
        key: [id],
        value: { branch: null, email: `${id}@x`, balance: '0', ...value },
      });
      const mutations = [
        upsert('fine', {}),
        upsert('overdrawn', { balance: '-1' }),
        upsert('nowhere', { branch: 'none' }),
        upsert('nameless', { email: null }),
        upsert('long', { email: 'x'.repeat(21) }),
        upsert('twin', { email: 'fine@x' }),
        upsert('good', { balance: '7' }),
      ];
      const works = mutations.map((mutation) => {
        const envelope = envelopeOf([mutation]);
        return planWork(envelope, envelopeText(envelope), set);
      });
      const context = {
        store,
        log: pino({ level: 'silent' }),
        settings: { backoff: { minMs: 1, maxMs: 5 }, maxAttempts: 3 },
        signal: new AbortController().signal,
        breaker: new Breaker({ opened: () => expect.unreachable(), closed: () => expect.unreachable() }),
      };
      const settled = await applyBatch(context, works);
      expect(settled.map(({ verdict }) => verdict.reason ?? verdict.outcome)).toEqual([
        'applied',
        'check_failed',
        'foreign_key',
        'not_null',
        'too_long',
        'unique_violation',
        'applied',
      ]);
      const keys = mutations.map((m) => ['t1', ...m.key]);
      const rows = await store.read(adopted.table, keys, ['balance']);
      expect(rows.map((row) => row?.[0])).toEqual(['0', undefined, undefined, undefined, undefined, undefined, '7']);
    } finally {
      await close();
    }
  });
}

describe('an adopted table on SQLite', () => {
  adoption(SQLITE, async () => {
    const folder = await makeTemporaryFolder();
    const store = await preparedStore(`sqlite:${folder.path}/spanway.db`, new ResourceSet([]));
    return { store, close: () => store.close().then(folder.remove) };
  });
});

describeWithServer('spanner', 'an adopted table on Spanner', ({ spanner }) => {
  adoption(SPANNER, async () => {
    const store = await preparedStore(spannerUrl(spanner.host), new ResourceSet([]));
    return { store, close: () => store.close() };
  });
});
