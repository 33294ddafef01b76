import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { applyBatch } from '../../consumers/applier/apply.ts';
import { Breaker } from '../../consumers/applier/breaker.ts';
import { planWork } from '../../consumers/applier/plan.ts';
import type { SchemaAdmin, Store } from '../../ports/store/port.ts';
import { type Mutation } from '../../schemas/envelope/envelope.ts';
import { envelopeText } from '../../schemas/envelope/pack.ts';
import { ResourceSet } from '../../schemas/resource/registry.ts';
import { ACCOUNTS_IN_SPANNER, ACCOUNTS_IN_SQLITE, accounts, MAX_EMAIL } from '../fixtures/accounts.ts';
import { envelopeOf } from '../fixtures/envelopes.ts';
import { preparedStore, spannerUrl } from '../fixtures/stores.ts';
import { describeWithServer } from '../servers.ts';
import { makeTemporaryFolder } from '../temp.ts';

const set = new ResourceSet([accounts]);

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
        upsert('long', { email: 'x'.repeat(MAX_EMAIL + 1) }),
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
      const rows = await store.read(accounts.table, keys, ['balance']);
      expect(rows.map((row) => row?.[0])).toEqual(['0', undefined, undefined, undefined, undefined, undefined, '7']);
    } finally {
      await close();
    }
  });
}

describe('an adopted table on SQLite', () => {
  adoption(ACCOUNTS_IN_SQLITE, async () => {
    const folder = await makeTemporaryFolder();
    const store = await preparedStore(`sqlite:${folder.path}/spanway.db`, new ResourceSet([]));
    return { store, close: () => store.close().then(folder.remove) };
  });
});

describeWithServer('spanner', 'an adopted table on Spanner', ({ spanner }) => {
  adoption(ACCOUNTS_IN_SPANNER, async () => {
    const store = await preparedStore(spannerUrl(spanner.host), new ResourceSet([]));
    return { store, close: () => store.close() };
  });
});
