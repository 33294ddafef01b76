import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { SchemaAdmin, Store } from '../../ports/store/port.ts';
import { closeLetter, ledgerLetters } from '../../producers/replay/dead-letters.ts';
import type { Envelope, HistoryPlace, Mutation, Redrive } from '../../schemas/envelope/envelope.ts';
import { HOLDS } from '../../schemas/envelope/holds.ts';
import { aggregateId } from '../../schemas/envelope/ids.ts';
import { defineResource, field, Type } from 'spanway';
import { ResourceSet } from '../../schemas/resource/registry.ts';
import { applyAll, ledgerEntry, redriveOf as prepareRedrive } from '../fixtures/applying.ts';
import { envelopeOf } from '../fixtures/envelopes.ts';
import { describeOnStores, type OpenStore } from '../fixtures/stores.ts';

const access = [{ actions: ['read', 'insert', 'update', 'upsert', 'delete'] as const, scope: 'accounts:write' }];
const accounts = (onDeadLetter: 'wait' | 'continue', extra: object = {}) =>
  defineResource({
    name: 'accounts',
    key: ['id'],
    schema: Type.Object({
      id: Type.String({ maxLength: 20 }),
      note: Type.Optional(Type.String({ maxLength: 20 })),
      ...extra,
      document: Type.Optional(field.json()),
    }),
    access,
    onDeadLetter,
  });
const LATE = { late: Type.Optional(Type.String({ maxLength: 20 })) };
const parts = defineResource({
  name: 'parts',
  key: ['id', 'part'],
  schema: Type.Object({
    id: Type.String({ maxLength: 20 }),
    part: Type.String({ maxLength: 20 }),
    note: Type.Optional(Type.String({ maxLength: 20 })),
  }),
  parent: { resource: 'accounts', onDelete: 'cascade' },
  access,
});
/** The files of an applier that lacks the field `late`: what writes it is dead-lettered; and those that have it. */
const LACKING = new ResourceSet([accounts('wait'), parts]);
const COMPLETE = new ResourceSet([accounts('wait', LATE), parts]);
const CONTINUING = new ResourceSet([accounts('continue', LATE), parts]);

let number = 0;
const newAccount = (): string => `a${(number += 1)}`;
const put = (id: string, note: string): Envelope => of([{ op: 'upsert', resource: 'accounts', key: [id], value: { note } }]);
const putLate = (id: string, note: string): Envelope => of([{ op: 'upsert', resource: 'accounts', key: [id], value: { note, late: 'x' } }]);
const of = (mutations: readonly Mutation[]): Envelope => {
  const envelope = envelopeOf(mutations);
  return { ...envelope, data: { ...envelope.data, aggregate: aggregateId('t1', 'accounts', mutations[0]?.key.slice(0, 1) ?? []) } };
};

function waiting(open: OpenStore): void {
  let store: Store & SchemaAdmin;
  let close: () => Promise<void>;
  beforeAll(async () => {
    ({ store, close } = await open());
  });
  afterAll(() => close());

  async function note(id: string): Promise<unknown> {
    const { table } = COMPLETE.get('accounts') ?? expect.unreachable('accounts');
    return (await store.read(table, [['t1', id]], ['note']))[0]?.[0];
  }
  async function hold(id: string): Promise<unknown> {
    const [row] = await store.read(HOLDS, [[aggregateId('t1', 'accounts', [id])]], ['hold']);
    return row && (JSON.parse(row[0] as string) as unknown);
  }
  const apply = async (envelopes: readonly Envelope[], set = COMPLETE, batch = 50): Promise<string[]> =>
    (await applyAll(store, envelopes, { set, batch })).map(({ verdict: { outcome, reason }, duplicate }) =>
      [outcome, reason, duplicate ? 'duplicate' : undefined].filter((word) => word !== undefined).join(' '),
    );
  const firsts = new Map<string, HistoryPlace>();
  const redriveOf = async (envelope: Envelope, more: Partial<Redrive> = {}): Promise<Envelope> => {
    const { committedAt, position } = await ledgerEntry(store, envelope.id);
    const first = firsts.get(envelope.id) ?? { committedAt, position };
    firsts.set(envelope.id, first);
    return prepareRedrive(store, envelope, { first, ...more });
  };
  async function purge(envelope: Envelope): Promise<void> {
    for await (const letter of ledgerLetters({ store, resources: COMPLETE }, { ids: [envelope.id] }))
      expect(await closeLetter(store, letter, 'operator', '2026-11-25T00:00:00Z')).toBe(true);
  }

  it.each([50, 1])('keeps later writes of the aggregate back, and those of others go on (batches of %d)', async (batch) => {
    const [a, b] = [newAccount(), newAccount()];
    const child = of([{ op: 'upsert', resource: 'parts', key: [a, 'p1'], value: { note: 'part' } }]);
    const works = [put(a, 'first'), putLate(a, 'poison'), put(a, 'later'), child, put(b, 'other')];
    expect(await apply(works, LACKING, batch)).toEqual([
      'applied',
      'dead_lettered unknown_resource',
      'dead_lettered behind_dead_letter',
      'dead_lettered behind_dead_letter',
      'applied',
    ]);
    expect(await note(a)).toBe('first');
    expect(await note(b)).toBe('other');
    expect((await ledgerEntry(store, child.id)).detail).toBe('its aggregate waits: 2 writes that are dead-lettered come first');
  });

  it.each([50, 1])('applies all of them in their order once the cause is mended, and then holds nothing (batches of %d)', async (batch) => {
    const a = newAccount();
    const letters = [putLate(a, 'one'), put(a, 'two'), put(a, 'three')];
    await apply(letters, LACKING);
    const redrives = await Promise.all(letters.map((letter) => redriveOf(letter)));
    expect(await apply(redrives, COMPLETE, batch)).toEqual(['applied', 'applied', 'applied']);
    expect(await note(a)).toBe('three');
    expect(await hold(a)).toBeUndefined();
    expect(await apply([put(a, 'live')])).toEqual(['applied']);
  });

  it('applies none that is sent before its turn, however often it comes, and it keeps its turn', async () => {
    const a = newAccount();
    const [first, second, third] = [putLate(a, 'one'), put(a, 'two'), put(a, 'three')];
    await apply([first, second, third], LACKING);
    const early = await redriveOf(second);
    expect(await apply([early])).toEqual(['dead_lettered behind_dead_letter']);
    expect(await apply([early])).toEqual(['dead_lettered behind_dead_letter duplicate']);
    expect(await apply([await redriveOf(third, { overNewer: true })])).toEqual(['dead_lettered behind_dead_letter']);
    expect(await note(a)).toBeUndefined();
    for (const letter of [first, second, third]) expect(await apply([await redriveOf(letter)])).toEqual(['applied']);
    expect(await note(a)).toBe('three');
    expect(await hold(a)).toBeUndefined();
  });

  it('takes what comes during a redrive behind it, so that nothing overtakes', async () => {
    const a = newAccount();
    const [first, second] = [putLate(a, 'one'), put(a, 'two')];
    await apply([first, second], LACKING);
    const live = put(a, 'live');
    expect(await apply([await redriveOf(first), live, await redriveOf(second)])).toEqual([
      'applied',
      'dead_lettered behind_dead_letter',
      'applied',
    ]);
    expect(await apply([await redriveOf(live)])).toEqual(['applied']);
    expect(await note(a)).toBe('live');
    expect(await hold(a)).toBeUndefined();
  });

  it('goes on behind one that turns out to be rejected, and waits behind one that fails again', async () => {
    const a = newAccount();
    const missing = of([{ op: 'update', resource: 'accounts', key: [a], value: { late: 'x' } }]);
    const later = put(a, 'later');
    await apply([missing, later], LACKING);
    expect(await apply([await redriveOf(missing)], LACKING)).toEqual(['dead_lettered unknown_resource']);
    expect(await apply([await redriveOf(later)])).toEqual(['dead_lettered behind_dead_letter']);
    expect(await apply([await redriveOf(missing), await redriveOf(later)])).toEqual(['rejected not_found', 'applied']);
    expect(await hold(a)).toBeUndefined();
  });

  it('waits behind what fails for no known reason', async () => {
    const a = newAccount();
    await apply([put(a, 'there')]);
    const deep = `${'{"a":'.repeat(100)}1${'}'.repeat(100)}`;
    const undecidable = of([{ op: 'update', resource: 'accounts', key: [a], value: { document: deep }, merge: ['document'] }]);
    expect(await apply([put(a, 'before'), undecidable, put(a, 'behind')])).toEqual([
      'applied',
      'dead_lettered unknown_failure',
      'dead_lettered behind_dead_letter',
    ]);
    expect(await note(a)).toBe('before');
  });

  it('goes on when the letters are purged, in any order', async () => {
    const a = newAccount();
    const [first, second, third] = [putLate(a, 'one'), put(a, 'two'), put(a, 'three')];
    await apply([first, second, third], LACKING);
    await purge(second);
    expect(await apply([await redriveOf(third)])).toEqual(['dead_lettered behind_dead_letter']);
    await purge(first);
    expect(await apply([await redriveOf(third)])).toEqual(['applied']);
    expect(await hold(a)).toBeUndefined();
    expect(await apply([put(a, 'live')])).toEqual(['applied']);
  });

  it('lets a purged letter that is sent after all keep its place', async () => {
    const a = newAccount();
    const [first, second, third] = [putLate(a, 'one'), put(a, 'two'), put(a, 'three')];
    await apply([first, second, third], LACKING);
    await purge(second);
    expect(await apply([await redriveOf(second)])).toEqual(['dead_lettered behind_dead_letter']);
    expect(await apply([await redriveOf(first), await redriveOf(second), await redriveOf(third)])).toEqual([
      'applied',
      'applied',
      'applied',
    ]);
    expect(await note(a)).toBe('three');
    expect(await hold(a)).toBeUndefined();
  });

  it('lets a duplicate of a held write be, and a duplicate of an applied one', async () => {
    const a = newAccount();
    const [before, first, second] = [put(a, 'before'), putLate(a, 'one'), put(a, 'two')];
    await apply([before, first, second], LACKING);
    const held = await hold(a);
    expect(await apply([before, first, second])).toEqual([
      'applied duplicate',
      'dead_lettered unknown_resource duplicate',
      'dead_lettered behind_dead_letter duplicate',
    ]);
    expect(await hold(a)).toEqual(held);
  });

  it('holds nothing where the resource does not say so, and gives turns back when it says so no more', async () => {
    const a = newAccount();
    const lackingOnly = new ResourceSet([accounts('continue'), parts]);
    expect(await apply([putLate(a, 'one'), put(a, 'two')], lackingOnly)).toEqual(['dead_lettered unknown_resource', 'applied']);
    expect(await hold(a)).toBeUndefined();
    const b = newAccount();
    const [first, second] = [putLate(b, 'one'), put(b, 'two')];
    await apply([first, second], LACKING);
    expect(await apply([put(b, 'live')], CONTINUING)).toEqual(['applied']);
    for (const letter of [second, first])
      expect(await apply([await redriveOf(letter, { overNewer: true })], CONTINUING)).toEqual(['applied']);
    expect(await hold(b)).toBeUndefined();
    expect(await apply([put(b, 'waits again')])).toEqual(['applied']);
  });

  it('does not stop an aggregate that went on for an old letter that is refused', async () => {
    const a = newAccount();
    const old = putLate(a, 'old');
    await apply([old], new ResourceSet([accounts('continue'), parts]));
    await apply([put(a, 'newer')]);
    expect(await apply([await redriveOf(old)])).toEqual(['dead_lettered newer_applied']);
    expect(await apply([put(a, 'live')])).toEqual(['applied']);
  });

  it('agrees with a model of one line for each aggregate, whatever happens in whatever batches', async () => {
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.constant('put' as const) },
      { weight: 2, arbitrary: fc.constant('poison' as const) },
      { weight: 3, arbitrary: fc.constant('redrive' as const) },
      { weight: 1, arbitrary: fc.constant('purge' as const) },
    );
    const run = fc.array(fc.tuple(step, fc.boolean(), fc.nat(5), fc.boolean()), { minLength: 1, maxLength: 25 });
    await fc.assert(
      fc.asyncProperty(run, fc.integer({ min: 1, max: 4 }), async (steps, batch) => {
        const names = [newAccount(), newAccount()] as const;
        /** Of each account: its note, and the letters that wait, in order. */
        const model = names.map(() => ({
          note: undefined as string | undefined,
          line: [] as { envelope: Envelope; note: string; poison: boolean }[],
        }));
        for (const [i, [kind, second, which, mended]] of steps.entries()) {
          const at = second ? 1 : 0;
          const [name, account] = [names[at], model[at] as (typeof model)[0]];
          const text = `n${i}`;
          if (kind === 'put' || kind === 'poison') {
            const poison = kind === 'poison';
            const envelope = poison ? putLate(name, text) : put(name, text);
            const [outcome] = await apply([envelope], LACKING);
            if (account.line.length === 0 && !poison) {
              expect(outcome).toBe('applied');
              account.note = text;
            } else {
              expect(outcome).toBe(account.line.length > 0 ? 'dead_lettered behind_dead_letter' : 'dead_lettered unknown_resource');
              account.line.push({ envelope, note: text, poison });
            }
          } else if (account.line.length === 0) continue;
          else if (kind === 'purge') {
            const [letter] = account.line.splice(which % account.line.length, 1);
            if (letter) await purge(letter.envelope);
          } else {
            // From one of them to the end, in their order, by an applier that can apply them or not.
            const from = which % account.line.length;
            const sent = account.line.slice(from);
            const outcomes = await apply(
              await Promise.all(sent.map(({ envelope }) => redriveOf(envelope))),
              mended ? COMPLETE : LACKING,
              batch,
            );
            for (const [j, letter] of sent.entries()) {
              if (account.line[0] !== letter) expect(outcomes[j]).toBe('dead_lettered behind_dead_letter');
              else if (letter.poison && !mended) expect(outcomes[j]).toBe('dead_lettered unknown_resource');
              else {
                expect(outcomes[j]).toBe('applied');
                account.note = letter.note;
                account.line.shift();
              }
            }
          }
        }
        for (const [i, name] of names.entries()) {
          expect(await note(name)).toBe(model[i]?.note);
          expect((await hold(name)) !== undefined).toBe((model[i]?.line.length ?? 0) > 0);
        }
      }),
      { numRuns: 25 },
    );
  });
}

it('is a setting of the root alone', () => {
  expect(() =>
    defineResource({
      name: 'x',
      key: ['id'],
      schema: Type.Object({ id: Type.String() }),
      parent: { resource: 'y' },
      access,
      onDeadLetter: 'wait',
    }),
  ).toThrow('onDeadLetter is set on the root');
});

describeOnStores('waiting behind dead letters', waiting, COMPLETE);
