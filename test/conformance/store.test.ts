/** The store port's suite on each implementation. */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openStore, storeAdapters } from '../../ports/store/index.ts';
import { describeWithServer } from '../servers.ts';
import { makeTemporaryFolder } from '../temp.ts';
import { storeConformance } from './store.ts';
import type { StoreHarness } from './store-tables.ts';

function harness(makeUrl: () => Promise<{ url: string; remove: () => Promise<void> }>, adoptedDdl: readonly string[]): StoreHarness {
  let last = '';
  return {
    adoptedDdl,
    async make() {
      const { url, remove } = await makeUrl();
      last = url;
      const store = await openStore(url);
      await store.provision();
      const cleanup = async (): Promise<void> => {
        await store.close();
        await remove();
      };
      return { store, cleanup };
    },
    again: () => openStore(last),
  };
}

const sqlite = harness(async () => {
  const folder = await makeTemporaryFolder();
  return { url: `sqlite:${join(folder.path, 'store.db')}`, remove: folder.remove };
}, [
  'CREATE TABLE customers (tenant TEXT NOT NULL, customer_id TEXT NOT NULL, PRIMARY KEY (tenant, customer_id)) STRICT',
  `CREATE TABLE accounts (tenant TEXT NOT NULL, account_id TEXT NOT NULL, customer_id TEXT, balance INTEGER, opened TEXT, CHECK (balance >= 0),
     PRIMARY KEY (tenant, account_id), FOREIGN KEY (tenant, customer_id) REFERENCES customers (tenant, customer_id)) STRICT`,
]);

const spanner = (host: string): StoreHarness => {
  const instance = `store-${randomUUID().slice(0, 8)}`;
  return harness(() => {
    const database = `db-${randomUUID().slice(0, 8)}`;
    // The emulator ends with the tests, and its databases with it.
    return Promise.resolve({ url: `spanner://spanway-test/${instance}/${database}?emulator=${host}`, remove: () => Promise.resolve() });
  }, [
    'CREATE TABLE customers (tenant STRING(64) NOT NULL, customer_id STRING(36) NOT NULL) PRIMARY KEY (tenant, customer_id)',
    `CREATE TABLE accounts (tenant STRING(64) NOT NULL, account_id STRING(MAX) NOT NULL, customer_id STRING(36), balance INT64, opened DATE,
       CONSTRAINT solvent CHECK (balance >= 0),
       CONSTRAINT of_customer FOREIGN KEY (tenant, customer_id) REFERENCES customers (tenant, customer_id)) PRIMARY KEY (tenant, account_id)`,
  ]);
};

storeConformance('sqlite', sqlite);
describeWithServer('spanner', 'on the Spanner emulator', ({ spanner: server }) => storeConformance('spanner', spanner(server.host)));

describe('the store port', () => {
  it('has a suite here for each of its adapters', () => {
    expect(Object.keys(storeAdapters).sort()).toEqual(['spanner', 'sqlite']);
  });
});
