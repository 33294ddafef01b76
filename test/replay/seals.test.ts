import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { applyRecorded } from '../../consumers/applier/rebuild.ts';
import { StoreError } from '../../ports/errors.ts';
import { SqliteFile } from '../../ports/sqlite/database.ts';
import type { SchemaAdmin, Store, StoreMutation } from '../../ports/store/port.ts';
import { SqliteStore } from '../../ports/store/sqlite.ts';
import { closeLetter, ledgerLetters } from '../../producers/replay/dead-letters.ts';
import { readHistory } from '../../producers/replay/history.ts';
import { exportSealed } from '../../producers/replay/seals/export.ts';
import { readLastSeal } from '../../producers/replay/seals/seal.ts';
import { Sealer } from '../../producers/replay/seals/sealer.ts';
import { newEd25519Lines, parseEd25519Signer, parseEd25519Verifier } from '../../schemas/envelope/ed25519.ts';
import type { Envelope, Mutation } from '../../schemas/envelope/envelope.ts';
import { commitRowKey } from '../../schemas/envelope/history.ts';
import { parseKeyRing } from '../../schemas/envelope/key-ring.ts';
import { COMMITS, LEDGER } from '../../schemas/envelope/ledger.ts';
import { SEALS } from '../../schemas/envelope/seals.ts';
import { SYSTEM_TABLES } from '../../schemas/envelope/tables.ts';
import orders from '../../schemas/orders.ts';
import { ResourceSet } from '../../schemas/resource/registry.ts';
import type { Cell } from '../../schemas/resource/table.ts';
import { applyAll, redriveOf } from '../fixtures/applying.ts';
import { envelopeOf, orderUpsert } from '../fixtures/envelopes.ts';
import {
  exported,
  headText,
  ledgerEntryOf,
  onEachStore,
  type OpenStore,
  refill,
  ring,
  sealAll,
  sealerOf,
  sealsOf,
  TAG,
  verified,
} from '../fixtures/sealed.ts';
import { FaultyStore, preparedStore, resources } from '../fixtures/stores.ts';
import { temporaryFolder } from '../temp.ts';

/** Each test has rows of its own: see `refill`. */
function sealing(open: () => Promise<OpenStore>): void {
  let store: Store & SchemaAdmin;
  let close: () => Promise<void>;
  let sent: readonly Envelope[];

  beforeAll(async () => {
    ({ store, close } = await open());
  });
  afterAll(() => close());
  beforeEach(async () => {
    sent = await refill(store);
  });
  const idOf = (i: number): string => sent[i]?.id ?? '';
  const entryOf = (i: number) => ledgerEntryOf(store, idOf(i));

  async function historyKeyOf(i: number): Promise<readonly Cell[]> {
    const { entry, committedAt } = await entryOf(i);
    return commitRowKey({ commit: entry['commit'] as string, committedAt });
  }

  async function rewriteHistory(i: number, change: (text: string) => string): Promise<void> {
    const key = await historyKeyOf(i);
    const [cells] = await store.read(COMMITS, [key], ['envelopes']);
    const columns = [...COMMITS.primaryKey, 'envelopes'];
    await store.commit([{ op: 'update', table: COMMITS, columns, values: [...key, change(cells?.[0] as string)] }], TAG);
  }

  async function rewriteEntry(i: number, change: (entry: Record<string, unknown>) => object): Promise<void> {
    const { entry } = await entryOf(i);
    const values = [sent[i]?.id ?? '', JSON.stringify(change(entry))];
    await store.commit([{ op: 'update', table: LEDGER, columns: ['submission_id', 'entry'], values }], TAG);
  }

  it('seals every row once, in intervals without a gap, each chained to the one before', async () => {
    await sealAll(store);
    const seals = await sealsOf(store);
    expect(seals.length).toBeGreaterThanOrEqual(3);
    expect(seals.map(({ seal }) => seal.number)).toEqual(seals.map((_, i) => i + 1));
    expect(seals.slice(1).map(({ seal }) => [seal.from, seal.previous])).toEqual(
      seals.slice(0, -1).map(({ seal, hash }) => [seal.to, hash]),
    );
    expect(seals.flatMap(({ entries }) => entries.map((entry) => entry.split(' ')[1]))).toEqual(sent.map((e) => e.id));
    expect(await verified(store)).toMatchObject({ found: [], rows: 12, aged: 0, unchecked: 0, unsealed: 0, seals: seals.length });
  });

  it('makes no seal where nothing was written, and says so where there is none', async () => {
    await expect(verified(store)).rejects.toThrow(/no seals in this database: spanway replay-worker/);
    await sealAll(store);
    const { head } = await verified(store);
    await sealerOf(store).sealClosed(new AbortController().signal);
    expect((await verified(store)).head).toBe(head);
  });

  it('seals nothing that is younger than its margin', async () => {
    const sealer = new Sealer({ store, signer: () => ring, log: pino({ level: 'silent' }), marginMs: 3_600_000 });
    expect(await sealer.sealClosed(new AbortController().signal)).toBe(0);
  });

  it('never forks: of two sealers at once, each seal is made by one', async () => {
    const { signal } = new AbortController();
    const sealers = [sealerOf(store), sealerOf(store), sealerOf(store)];
    await Promise.all(sealers.map((sealer) => sealer.sealClosed(signal)));
    await sealAll(store, sealers[0]);
    await applyAll(store, [envelopeOf([orderUpsert('o20')])]);
    await Promise.all(sealers.map((sealer) => sealer.sealClosed(signal)));
    await sealAll(store, sealers[1]);
    const seals = await sealsOf(store);
    expect(seals.map(({ seal }) => seal.number)).toEqual(seals.map((_, i) => i + 1));
    expect(await verified(store)).toMatchObject({ found: [], rows: 13, unsealed: 0 });
  });

  it.each(['before', 'after'] as const)('goes on where sealers were killed %s a seal was written', async (when) => {
    const dying = new FaultyStore(store);
    dying.commit = async (mutations, options) => {
      const isSeal = mutations.some(({ table }) => table === SEALS);
      const result = isSeal && when === 'before' ? undefined : await store.commit(mutations, options);
      if (isSeal || !result) throw new StoreError('transient', 'killed');
      return result;
    };
    for (let kills = 0; kills < 3; kills += 1) {
      const { signal } = new AbortController();
      await expect(sealerOf(dying).sealClosed(signal)).rejects.toThrow('killed');
      expect(await sealsOf(store)).toHaveLength(when === 'after' ? kills + 1 : 0);
      // Something to seal for the next one.
      await applyAll(store, [envelopeOf([orderUpsert(`k${kills}`)])]);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await sealAll(store);
    const seals = await sealsOf(store);
    expect(seals.map(({ seal }) => seal.number)).toEqual(seals.map((_, i) => i + 1));
    expect(await verified(store)).toMatchObject({ found: [], rows: 15, unsealed: 0 });
  });

  describe('names', () => {
    beforeEach(() => sealAll(store));

    it.each([
      ['who did it', (text: string) => text.replace('"subject":"me"', '"subject":"you"')],
      ['a value', (text: string) => text.replace('"note":"n4"', '"note":"m4"')],
      ['when it was accepted', (text: string) => text.replace('"time":"2026-11-24T12', '"time":"2026-11-24T13')],
    ])('the row of the history in which somebody changed %s', async (_what, change) => {
      await rewriteHistory(4, change);
      const { found, rows } = await verified(store);
      expect(found).toMatchObject([{ kind: 'row_changed', submissionId: idOf(4), table: 'spanway_commits' }]);
      expect(rows).toBe(11);
    });

    it.each([
      ['aggregates', []],
      ['correlations', []],
      ['correlations', ['AAAAAAAAAAA', 'AAAAAAAAAAA']],
    ])('the commit that is not found any more, since somebody changed its %s to %j', async (column, value) => {
      const key = await historyKeyOf(4);
      await store.commit([{ op: 'update', table: COMMITS, columns: [...COMMITS.primaryKey, column], values: [...key, value] }], TAG);
      expect((await verified(store)).found).toMatchObject([
        { kind: 'row_changed', table: 'spanway_commits', why: expect.stringMatching(`: its ${column} are not those of its envelopes$`) },
      ]);
    });

    it('no commit from before the marks of correlation ids were', async () => {
      const values = [...(await historyKeyOf(4)), null];
      await store.commit([{ op: 'update', table: COMMITS, columns: [...COMMITS.primaryKey, 'correlations'], values }], TAG);
      expect((await verified(store)).found).toEqual([]);
    });

    it('rows of a commit that cannot be read, or is gone', async () => {
      await rewriteHistory(4, () => 'nonsense');
      await store.commit([{ op: 'delete', table: COMMITS, key: await historyKeyOf(0) }], TAG);
      const { found } = await verified(store);
      expect(found.filter((f) => f.kind === 'row_missing').map((f) => f.submissionId)).toEqual([0, 1, 4, 5].map(idOf));
      expect(found.filter((f) => f.kind !== 'row_missing')).toMatchObject([
        { kind: 'row_changed', why: expect.stringMatching(/envelopes cannot be read/) },
      ]);
    });

    it('a submission that was taken out of a commit, and one that was put in', async () => {
      await rewriteHistory(4, (text) => JSON.stringify((JSON.parse(text) as Envelope[]).slice(0, 1)));
      const more = envelopeOf([orderUpsert('o30')]);
      await rewriteHistory(6, (text) => JSON.stringify([...(JSON.parse(text) as Envelope[]), more]));
      const { found } = await verified(store);
      const rows = found.filter(({ kind }) => kind !== 'row_changed').map(({ kind, submissionId }) => [kind, submissionId]);
      expect(rows.sort()).toEqual([
        ['row_added', more.id],
        ['row_missing', idOf(5)],
      ]);
    });

    it('a commit that was added in the past', async () => {
      const { committedAt } = await entryOf(4);
      const more = envelopeOf([orderUpsert('o31')]);
      const values = [more.id.slice(0, 1), committedAt, more.id, [more.data.aggregate], JSON.stringify([more]), null];
      await store.commit(
        [{ op: 'insert', table: COMMITS, columns: COMMITS.columns.slice(0, values.length).map((c) => c.name), values }],
        TAG,
      );
      expect((await verified(store)).found).toMatchObject([{ kind: 'row_added', submissionId: more.id, committedAt }]);
    });

    it('the ledger row that was changed', async () => {
      await rewriteEntry(2, (entry) => ({ ...entry, subject: 'you' }));
      await rewriteEntry(11, (entry) => ({ ...entry, outcome: 'applied' }));
      await rewriteEntry(3, (entry) => ({ ...entry, commit: idOf(6) }));
      const { found } = await verified(store);
      expect(found).toMatchObject([
        { kind: 'row_changed', submissionId: idOf(2), table: 'spanway_ledger', why: 'its entry has another subject' },
        { kind: 'row_changed', submissionId: idOf(3), table: 'spanway_ledger' },
        { kind: 'row_changed', submissionId: idOf(11), why: 'its entry has another outcome' },
      ]);
    });

    it('the ledger row that is missing, and the one that was added', async () => {
      await store.commit([{ op: 'delete', table: LEDGER, key: [idOf(2)] }], TAG);
      const { entry, committedAt } = await entryOf(3);
      const added = envelopeOf([orderUpsert('o32')]).id;
      await store.commit(
        [
          {
            op: 'insert',
            table: LEDGER,
            columns: ['submission_id', 'committed_at', 'entry'],
            values: [added, committedAt, JSON.stringify(entry)],
          },
        ],
        TAG,
      );
      expect((await verified(store)).found).toMatchObject([
        { kind: 'row_missing', submissionId: idOf(2), table: 'spanway_ledger' },
        { kind: 'row_added', submissionId: added, table: 'spanway_ledger' },
      ]);
    });

    it('the ledger row whose commit is where nobody reads the history, though another of its kind was removed', async () => {
      const { entry, committedAt } = await entryOf(3);
      // Counted together: their ids begin alike.
      const added = `${idOf(2).slice(0, 3)}00000-0000-4000-8000-000000000000`;
      const more = { ...envelopeOf([orderUpsert('o34')]), id: added };
      const history = ['z', committedAt, 'z1', [more.data.aggregate], JSON.stringify([more]), null];
      const values = [added, committedAt, JSON.stringify({ ...entry, commit: 'z1', position: 0 })];
      await store.commit(
        [
          { op: 'insert', table: COMMITS, columns: COMMITS.columns.slice(0, history.length).map((c) => c.name), values: history },
          { op: 'insert', table: LEDGER, columns: LEDGER.columns.map((c) => c.name), values },
          { op: 'delete', table: LEDGER, key: [idOf(2)] },
        ],
        TAG,
      );
      expect((await verified(store)).found).toMatchObject([
        { kind: 'row_missing', submissionId: idOf(2), table: 'spanway_ledger' },
        { kind: 'row_added', submissionId: added, table: 'spanway_ledger' },
      ]);
    });

    it('the seal that was changed, in what it says or in what stands beside it', async () => {
      const change = async (number: number, column: string, replace: (text: string) => string): Promise<void> => {
        const [cells] = await store.read(SEALS, [[String(number)]], [column]);
        const values = [String(number), replace(cells?.[0] as string)];
        await store.commit([{ op: 'update', table: SEALS, columns: ['number', column], values }], TAG);
      };
      await change(1, 'seal', (text) => text.replace('"count":4', '"count":3'));
      expect((await verified(store)).found).toMatchObject([{ kind: 'seal_changed', seal: 1, why: expect.stringMatching(/hash/) }]);
      await change(1, 'seal', (text) => text.replace('"count":3', '"count":4'));
      expect((await verified(store)).found).toEqual([]);
      await change(2, 'entries', (text) => text.replace(idOf(4), idOf(0)));
      expect(await verified(store)).toMatchObject({
        rows: 12,
        found: [{ kind: 'seal_changed', seal: 2, why: expect.stringMatching(/its rows are/) }],
      });
      await change(2, 'signature', (text) => `${text.slice(0, -8)}AAAAAAAA`);
      expect((await verified(store)).found).toMatchObject([{ kind: 'seal_changed', seal: 2, why: expect.stringMatching(/signature/) }]);
      await change(2, 'seal', () => '{}');
      expect((await verified(store)).found).toMatchObject([
        { kind: 'seal_changed', seal: 2, why: expect.stringMatching(/cannot be read/) },
      ]);
    });

    it('the seal that is missing at the beginning, in the middle, or at the end where it is expected', async () => {
      await applyAll(store, [envelopeOf([orderUpsert('o33')])]);
      await sealAll(store);
      const expected = headText(await verified(store));
      const remove = (number: number): Promise<unknown> => store.commit([{ op: 'delete', table: SEALS, key: [String(number)] }], TAG);
      await remove(2);
      const found = [{ kind: 'seal_missing', seal: 2 }];
      expect(await verified(store, { expected })).toMatchObject({ found, unchecked: 4 });
      await remove(1);
      const both = [{ kind: 'seal_missing', seal: 2, why: expect.stringMatching(/^seals 1 to 2/) }];
      expect((await verified(store, { expected })).found).toMatchObject(both);
      await remove(expected.number);
      const cut = await verified(store);
      expect(cut).toMatchObject({ found: both, unsealed: 1 });
      expect((await verified(store, { expected })).found).toMatchObject([...both, { kind: 'seal_missing', seal: expected.number }]);
      for (const { seal } of await sealsOf(store)) await remove(seal.number);
      expect((await verified(store, { expected })).found).toMatchObject([{ kind: 'seal_missing', seal: expected.number }]);
    });

    it('seals that were made again over changed rows, where one is expected', async () => {
      const before = await verified(store);
      await store.commit(
        (await sealsOf(store)).map(({ seal }): StoreMutation => ({ op: 'delete', table: SEALS, key: [String(seal.number)] })),
        TAG,
      );
      await rewriteHistory(4, (text) => text.replace('"subject":"me"', '"subject":"you"'));
      await rewriteEntry(4, (entry) => ({ ...entry, subject: 'you' }));
      await sealAll(store);
      expect((await verified(store)).found).toEqual([]);
      const { found } = await verified(store, { expected: headText(before) });
      expect(found).toMatchObject([{ kind: 'seal_changed', why: expect.stringMatching(/which you expect/) }]);
    });

    it('seals of somebody without the key', async () => {
      const other = parseKeyRing('test', `k1 ${Buffer.alloc(32, 2).toString('base64')}`);
      const foreign = parseKeyRing('test', `k2 ${Buffer.alloc(32, 2).toString('base64')}`);
      await applyAll(store, [envelopeOf([orderUpsert('o40')])]);
      const before = await sealsOf(store);
      while ((await sealsOf(store)).length === before.length)
        await sealerOf(store, { signer: other }).sealClosed(new AbortController().signal);
      expect((await verified(store)).found).toMatchObject([
        { kind: 'seal_changed', seal: before.length + 1, why: expect.stringMatching(/signature does not match/) },
      ]);
      expect((await verified(store, { verifier: foreign })).found.every((f) => f.kind === 'seal_changed' && /add|keys/.test(f.why))).toBe(
        true,
      );
    });
  });

  it('takes seals of older keys as long as their lines are there, and of Ed25519', async () => {
    await sealAll(store);
    await applyAll(store, [envelopeOf([orderUpsert('o50')])]);
    const lines = [2, 1].map((n) => `k${n} ${Buffer.alloc(32, n).toString('base64')}`);
    const rotated = parseKeyRing('test', lines.join('\n'));
    const before = (await sealsOf(store)).length;
    while ((await sealsOf(store)).length === before) await sealerOf(store, { signer: rotated }).sealClosed(new AbortController().signal);
    expect((await sealsOf(store)).at(-1)?.signature).toMatch(/^hmac-sha256;k2;/);
    expect((await verified(store, { verifier: rotated })).found).toEqual([]);
  });

  it('signs with Ed25519 so that who verifies cannot seal', async () => {
    const { signing, verification } = newEd25519Lines('e1');
    const sealer = sealerOf(store, { signer: parseEd25519Signer('test', signing) });
    const verifier = parseEd25519Verifier('test', verification);
    while ((await sealsOf(store)).length === 0) await sealer.sealClosed(new AbortController().signal);
    const result = await verified(store, { verifier });
    expect(result.found).toEqual([]);
    expect(result.rows).toBeGreaterThan(0);
    expect((await verified(store)).found[0]).toMatchObject({ kind: 'seal_changed', why: expect.stringMatching(/signed with ed25519/) });
  });

  it('stops where a seal that it has seen is gone', async () => {
    const sealer = sealerOf(store);
    await sealAll(store, sealer);
    const { last } = await readLastSeal(store);
    await store.commit([{ op: 'delete', table: SEALS, key: [String(last?.number)] }], TAG);
    await applyAll(store, [envelopeOf([orderUpsert('o60')])]);
    await new Promise((resolve) => setTimeout(resolve, 5));
    await expect(sealer.sealClosed(new AbortController().signal)).rejects.toThrow(/was there, and is changed or gone/);
  });

  it('takes a redrive and a closed letter for what they are', async () => {
    await sealAll(store);
    const refused = sent[11] as Envelope;
    const { entry, committedAt } = await entryOf(11);
    await applyAll(store, [envelopeOf([orderUpsert('none')])]);
    const { commitTimestamp } = await store.commit([], TAG);
    const again: Envelope = {
      ...refused,
      data: {
        ...refused.data,
        redrive: {
          replaces: { commit: entry['commit'] as string, committedAt },
          first: { committedAt, position: entry['position'] as number },
          attempt: 2,
          lookedTo: commitTimestamp,
          overNewer: true,
          by: 'ann',
          time: '2026-11-24T13:00:00.000Z',
        },
      },
    };
    const refusedToo = envelopeOf([{ op: 'update', resource: 'orders', key: ['none2'], value: { note: 'x' } }]);
    expect((await applyAll(store, [again, refusedToo], { batch: 1 })).map((s) => s.verdict.outcome)).toEqual(['applied', 'rejected']);
    const check = async (): Promise<void> => expect(await verified(store)).toMatchObject({ found: [] });
    await check();
    await sealAll(store);
    for await (const letter of ledgerLetters({ store, resources }, { rejected: true }))
      expect(await closeLetter(store, letter, 'ann', '2026-11-24T14:00:00.000Z')).toBe(true);
    await check();
    expect(await verified(store)).toMatchObject({ rows: 15, unsealed: 0 });
    const { lines } = await exported(store);
    const tries = lines.map((line) => JSON.parse(line) as Record<string, unknown>).filter((row) => row['submissionId'] === refused.id);
    expect(tries).toMatchObject([
      { outcome: 'rejected', reason: 'not_found' },
      { outcome: 'applied', redrive: { attempt: 2, by: 'ann' } },
    ]);
    // Set back to what it was before, it is no outcome of now.
    const values = [refused.id, committedAt, JSON.stringify(entry)];
    await store.commit([{ op: 'update', table: LEDGER, columns: ['submission_id', 'committed_at', 'entry'], values }], TAG);
    expect((await verified(store)).found).toMatchObject([{ kind: 'row_changed', submissionId: refused.id, table: 'spanway_ledger' }]);
  });

  it('takes dead letters that wait for each other for what they are', async () => {
    // The applier has not the resource of the lines, so the first is a dead letter, and the second waits behind it.
    const set = new ResourceSet([{ ...orders, onDeadLetter: 'wait' }]);
    const line: Mutation = { op: 'upsert', resource: 'order-lines', key: ['w', '1'], value: { sku: 's', quantity: '1', unitPrice: null } };
    const letters = [envelopeOf([orderUpsert('w'), line]), envelopeOf([orderUpsert('w')])];
    const settled = await applyAll(store, letters, { batch: 1, set });
    expect(settled.map((s) => s.verdict.reason)).toEqual(['unknown_resource', 'behind_dead_letter']);
    await sealAll(store);
    expect(await verified(store)).toMatchObject({ found: [], rows: 14, unsealed: 0 });
  });
}

onEachStore('seals', sealing);

describe('a rebuilt database', () => {
  it('is sealed and verified like the one that it was made of, redrives and all', async () => {
    const folder = await temporaryFolder();
    const source = await preparedStore(`sqlite:${folder}/source.db`);
    const target = await preparedStore(`sqlite:${folder}/target.db`);
    try {
      const late = envelopeOf([{ op: 'update', resource: 'orders', key: ['a'], value: { note: 'x' } }]);
      await applyAll(source, [late, envelopeOf([orderUpsert('a')], { tenant: 't2' }), envelopeOf([orderUpsert('b')])]);
      const again = await redriveOf(source, late, { overNewer: true });
      await applyAll(source, [envelopeOf([orderUpsert('a')]), again], { batch: 1 });
      // Of one tenant alone: then commits hold fewer rows than they did.
      for await (const records of readHistory(source, {})) {
        const ofTenant = records.filter(({ envelope }) => envelope.data.caller.tenant === 't1');
        if (ofTenant.length > 0) await applyRecorded(target, [ofTenant], { resources, maxMutations: 5000 });
      }
      for (const [store, rows] of [
        [source, 5],
        [target, 4],
      ] as const) {
        await sealAll(store);
        expect(await verified(store)).toMatchObject({ found: [], rows, unsealed: 0 });
      }
    } finally {
      await source.close();
      await target.close();
    }
  });
});

describe('rows past their age limit', () => {
  const DAY_MS = 86_400_000;

  it('are told apart from missing ones, and their seals outlive them', async () => {
    let now = Date.parse('2026-01-01T00:00:00Z');
    const store = new SqliteStore(SqliteFile.use(join(await temporaryFolder(), 'store.db')), () => now);
    try {
      await store.apply((await store.compare([...SYSTEM_TABLES, ...resources.tables()])).missing);
      const write = async (orderId: string): Promise<Envelope> => {
        const envelope = envelopeOf([orderUpsert(orderId)]);
        await applyAll(store, [envelope]);
        now += 1000;
        await sealerOf(store).sealClosed(new AbortController().signal);
        return envelope;
      };
      const [first, second] = [await write('a'), await write('b')];
      now += 45 * DAY_MS;
      await write('c');
      expect(await verified(store)).toMatchObject({ rows: 3, aged: 0, found: [] });
      // Half a minute before its limit: a clock that is ahead may remove the first one at any time.
      now += 45 * DAY_MS - 33_000;
      expect(await exportSealed(store, {}, () => Promise.resolve())).toMatchObject({ aged: 2, rows: 1, seals: 1 });
      now += DAY_MS;
      // Each commit sweeps what is too old by now.
      await write('d');
      expect(await store.read(LEDGER, [[first.id], [second.id]], ['entry'])).toEqual([undefined, undefined]);
      expect(await verified(store)).toMatchObject({ rows: 2, aged: 2, found: [] });
      expect(await exportSealed(store, {}, () => Promise.resolve())).toMatchObject({ aged: 2, rows: 2, seals: 2 });
      now += 46 * DAY_MS;
      await write('e');
      // The seals of the first two are gone by now, and the third row is.
      expect((await sealsOf(store)).map(({ seal }) => seal.number)).toEqual([3, 4, 5]);
      expect(await verified(store)).toMatchObject({ rows: 2, aged: 1, found: [] });
      await expect(verified(store, { expected: { number: 1, hash: '0'.repeat(64) } })).rejects.toThrow(/older than the first/);
      // One that is not old enough to be gone.
      await store.commit([{ op: 'delete', table: SEALS, key: ['3'] }], TAG);
      expect((await verified(store)).found).toMatchObject([{ kind: 'seal_missing', seal: 3 }]);
    } finally {
      await store.close();
    }
  });
});
