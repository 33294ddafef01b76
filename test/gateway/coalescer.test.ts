/** Reads that are gathered: how many requests become of them, and whose failure is whose. */
import { describe, expect, it, onTestFinished } from 'vitest';
import { StoreError } from '../../ports/errors.ts';
import type { AsOf, Key, KeyedRow, ReadOptions } from '../../ports/store/port.ts';
import { Coalescer, type ReadRow } from '../../producers/gateway/reads/coalescer.ts';
import orders from '../../schemas/orders.ts';
import { ResourceSet } from '../../schemas/resource/registry.ts';
import type { TableDefinition } from '../../schemas/resource/table.ts';
import { FaultyStore, preparedStore } from '../fixtures/stores.ts';
import { makeTemporaryFolder } from '../temp.ts';

const { table } = new ResourceSet([orders]).get('orders') ?? expect.unreachable();

/** A store whose reads wait to be let go. */
class HeldStore extends FaultyStore {
  readonly reads: { readonly keys: readonly Key[]; readonly options: ReadOptions; go: () => void }[] = [];
  fault: ((keys: readonly Key[]) => Error | undefined) | undefined;

  override readAt = async (
    of: TableDefinition,
    keys: readonly Key[],
    columns: readonly string[],
    options: ReadOptions,
  ): Promise<AsOf<KeyedRow>> => {
    await new Promise<void>((resolve) => {
      this.reads.push({ keys, options, go: resolve });
    });
    const error = this.fault?.(keys);
    if (error) throw error;
    return this.inner.readAt(of, keys, columns, options);
  };
}

async function held(maxReads = 1, maxReadKeys = 100): Promise<{ store: HeldStore; coalescer: Coalescer }> {
  const folder = await makeTemporaryFolder();
  const real = await preparedStore(`sqlite:${folder.path}/s.db`, new ResourceSet([orders]));
  onTestFinished(async () => {
    await real.close();
    await folder.remove();
  });
  const columns = ['tenant', 'order_id', 'customer', 'status', 'updated_at'];
  const rows = ['a', 'b', 'c', 'd'].map(
    (id) => ({ op: 'insert', table, columns, values: ['t', id, id, 'open', '2026-01-01T00:00:00Z'] }) as const,
  );
  await real.commit(rows, { tag: 'test' });
  const store = new HeldStore(real);
  return { store, coalescer: new Coalescer(store, { maxReads, maxReadKeys, readTimeoutMs: 1000 }) };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
const customer = ({ row }: { row: KeyedRow }): unknown => row?.[2];

describe('reads of single rows', () => {
  it('leave at once where none is under way, those of one turn together, each key once', async () => {
    const { store, coalescer } = await held();
    const reads = ['a', 'b', 'a', 'none'].map((id) => coalescer.read(table, ['t', id], 0));
    await turn();
    expect(store.reads.map(({ keys, options }) => [keys, options])).toEqual([
      [
        [
          ['t', 'a'],
          ['t', 'b'],
          ['t', 'none'],
        ],
        { freshness: 'strong', timeoutMs: 1000 },
      ],
    ]);
    store.reads[0]?.go();
    expect((await Promise.all(reads)).map(customer)).toEqual(['a', 'b', 'a', undefined]);
  });

  it('that come while as many as may be are under way leave together when one of them ends', async () => {
    const { store, coalescer } = await held(2, 2);
    const reads = [coalescer.read(table, ['t', 'a'], 0)];
    await turn();
    reads.push(coalescer.read(table, ['t', 'b'], 0));
    await turn();
    // The same key again: what is under way may have missed what was written since.
    for (const id of ['a', 'c', 'd']) reads.push(coalescer.read(table, ['t', id], 0));
    await turn();
    expect(store.reads).toHaveLength(2);
    store.reads[0]?.go();
    await reads[0];
    await turn();
    expect(store.reads[2]?.keys).toEqual([
      ['t', 'a'],
      ['t', 'c'],
    ]);
    store.reads[1]?.go();
    await reads[1];
    await turn();
    expect(store.reads[3]?.keys).toEqual([['t', 'd']]);
    for (const { go } of store.reads) go();
    expect((await Promise.all(reads)).map(customer)).toEqual(['a', 'b', 'a', 'c', 'd']);
  });

  it('that allow staleness go apart from strong ones, as fresh as the strictest of them asks for', async () => {
    const { store, coalescer } = await held();
    const reads = [0, 9000, 5000, 0, 7000].map((staleness) => coalescer.read(table, ['t', 'a'], staleness));
    reads.push(coalescer.read(table, ['t', 'b'], 6000));
    await turn();
    expect(store.reads.map(({ keys, options }) => [keys.length, options.freshness])).toEqual([
      [1, 'strong'],
      [2, { maxStalenessMs: 5000 }],
    ]);
    for (const { go } of store.reads) go();
    expect((await Promise.all(reads)).map(customer)).toEqual(['a', 'a', 'a', 'a', 'a', 'b']);
  });

  it('are no more at once than may be, however many freshnesses their callers think of', async () => {
    const { store, coalescer } = await held(2);
    const reads: Promise<ReadRow>[] = [];
    for (let staleness = 500; staleness > 0; staleness -= 1) {
      reads.push(coalescer.read(table, ['t', 'a'], staleness));
      if (staleness % 50 === 0) await turn();
    }
    await turn();
    expect(store.reads.map(({ options }) => options.freshness)).toEqual([{ maxStalenessMs: 500 }, { maxStalenessMs: 450 }]);
    for (const { go } of store.reads) go();
    await expect.poll(() => store.reads.length).toBe(3);
    // Each gets what is as fresh as it asked for.
    expect(store.reads[2]?.options.freshness).toEqual({ maxStalenessMs: 1 });
    store.reads[2]?.go();
    expect(new Set((await Promise.all(reads)).map(customer))).toEqual(new Set(['a']));
    expect(store.reads).toHaveLength(3);
  });

  it('do not fail for what another one asks', async () => {
    const { store, coalescer } = await held();
    store.fault = (keys) => (keys.some(([, id]) => id === 'bad') ? new StoreError('refused', 'this key') : undefined);
    const reads = ['a', 'bad', 'b'].map((id) =>
      coalescer.read(table, ['t', id], 0).then(customer, (error: unknown) => (error as Error).message),
    );
    for (let seen = 0; seen < 4; seen += 1) {
      await expect.poll(() => store.reads.length).toBeGreaterThan(seen);
      store.reads[seen]?.go();
    }
    expect(await Promise.all(reads)).toEqual(['a', 'this key', 'b']);
  });

  it('fail together while the store is away, once', async () => {
    const { store, coalescer } = await held();
    store.fault = () => new StoreError('transient', 'away');
    const reads = ['a', 'b'].map((id) => coalescer.read(table, ['t', id], 0).catch((error: unknown) => (error as Error).message));
    await turn();
    store.reads[0]?.go();
    expect(await Promise.all(reads)).toEqual(['away', 'away']);
    expect(store.reads).toHaveLength(1);
  });
});
