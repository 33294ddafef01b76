/** What every adapter of the queue port must do. */
import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { PortMisuseError } from '../../ports/errors.ts';
import type { Provisionable } from '../../ports/adapter.ts';
import type { DeadLetter, HoldsDeadLetters, Queue, QueueEntry, QueueMessage } from '../../ports/queue/port.ts';

export interface QueueFixture {
  readonly queue: Queue & Provisionable & HoldsDeadLetters;
  /** The same queue once more, as another process would open it. */
  open(): Promise<Queue & Provisionable & HoldsDeadLetters>;
  /** What is in the dead-letter queue. */
  deadLetters(): Promise<readonly { body: string; reason: string; attributes: Readonly<Record<string, string>> }[]>;
  remove(): Promise<void>;
}

/** Where servers differ within what the port allows. */
export interface QueueTraits {
  /** Whether one receive hands out several messages of a group. */
  readonly severalOfAGroup: boolean;
  /** Whether a body may hold characters above U+FFFF. */
  readonly astralCharacters: boolean;
}

/** The shortest visibility that every adapter can keep: SQS counts whole seconds. */
const SHORT_VISIBILITY_MS = 1_000;
const LONG_VISIBILITY_MS = 60_000;
/** For waits that end with a message. */
const WAIT_MS = 15_000;

function entry(group: string, body: string, attributes: Record<string, string> = {}): QueueEntry {
  return { group, deduplicationId: randomUUID(), body, attributes };
}

const bodies = (messages: readonly QueueMessage[]): string[] => messages.map((message) => message.body);

export function queueConformance(name: string, make: () => Promise<QueueFixture>, traits: QueueTraits): void {
  describe(`queue: ${name}`, () => {
    let fixture: QueueFixture;
    let queue: Queue & Provisionable & HoldsDeadLetters;
    beforeEach(async () => {
      fixture = await make();
      queue = fixture.queue;
      await queue.provision();
    });
    afterEach(() => fixture.remove());

    const open = async (): Promise<Queue & Provisionable & HoldsDeadLetters> => {
      const opened = await fixture.open();
      onTestFinished(() => opened.close());
      return opened;
    };
    const sendAll = async (...entries: QueueEntry[]): Promise<void> => {
      for (const result of await queue.send(entries)) expect(result).toEqual({ status: 'ok' });
    };
    const receive = (from: Queue = queue, visibilityMs = LONG_VISIBILITY_MS): Promise<readonly QueueMessage[]> =>
      from.receive({ maxCount: 10, waitMs: WAIT_MS, visibilityMs });
    const look = (from: Queue = queue): Promise<readonly QueueMessage[]> =>
      from.receive({ maxCount: 10, waitMs: 0, visibilityMs: LONG_VISIBILITY_MS });
    /** Receives and deletes so many messages. */
    const drain = async (count: number, from: Queue = queue): Promise<QueueMessage[]> => {
      const drained: QueueMessage[] = [];
      while (drained.length < count) {
        const messages = await receive(from);
        if (messages.length === 0) throw new Error(`only ${drained.length} of ${count} messages came: ${bodies(drained).join()}`);
        drained.push(...messages);
        await from.delete(messages);
      }
      return drained;
    };
    /** Receives with the short visibility until so many are out at once. */
    const takeOut = async (count: number, visibilityMs = LONG_VISIBILITY_MS): Promise<QueueMessage[]> => {
      const out: QueueMessage[] = [];
      while (out.length < count) {
        const messages = await receive(queue, visibilityMs);
        if (messages.length === 0) throw new Error(`only ${out.length} of ${count} messages came`);
        out.push(...messages);
      }
      return out;
    };

    describe('what is sent', () => {
      it('comes out with its group, body and attributes, as a first delivery', async () => {
        const attributes = { contentType: 'application/cloudevents-batch+json', shard: '7', signature: 'hmac-sha256;k1;a_b-c=' };
        await sendAll(entry('7', '[{"a":1}]', attributes));
        const messages = await receive();
        expect(messages).toHaveLength(1);
        expect(messages[0]).toMatchObject({ group: '7', body: '[{"a":1}]', attributes, receiveCount: 1 });
      });

      it('tells when the queue took it, the same at every delivery', async () => {
        const before = Date.now();
        await sendAll(entry('g', 'one'));
        const after = Date.now();
        const [first] = await receive(queue, SHORT_VISIBILITY_MS);
        expect(first?.sentAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
        // Some servers cut it to whole seconds.
        expect(Date.parse(first?.sentAt ?? '')).toBeGreaterThanOrEqual(before - 1000);
        expect(Date.parse(first?.sentAt ?? '')).toBeLessThanOrEqual(after + 1);
        expect((await receive())[0]).toMatchObject({ receiveCount: 2, sentAt: first?.sentAt });
      });

      it.each([
        'é 数 \u2028 \ufffd',
        ' \t\r\n leading and trailing \n',
        '<a>&amp;"\'</a>',
        '\u0085\u00a0',
        ...(traits.astralCharacters ? ['😀\u{10fffd}'] : []),
      ])('keeps its characters: %j', async (body) => {
        await sendAll(entry('g', body, { text: 'ü 数 😀' }));
        expect((await receive())[0]).toMatchObject({ body, attributes: { text: 'ü 数 😀' } });
      });

      it('may fill the size limit to the last byte', async () => {
        const attributes = { shard: '1' };
        const overhead = 'shard'.length + 'String'.length + 1;
        const bytes = queue.capabilities.maxMessageBytes - overhead;
        const body = '数'.repeat(Math.floor(bytes / 3)) + 'x'.repeat(bytes % 3);
        await sendAll(entry('g', body, attributes));
        const [message] = await receive();
        expect(message?.body === body).toBe(true);
        expect(message?.attributes).toEqual(attributes);
      });

      it('is one message where a deduplication id is sent twice', async () => {
        const first = { ...entry('g', 'first'), deduplicationId: randomUUID() };
        await sendAll(first);
        await sendAll({ ...first, body: 'again' }, entry('g', 'next'));
        expect(bodies(await drain(2))).toEqual(['first', 'next']);
      });

      it('stays when its queue is closed and opened again', async () => {
        const writer = await fixture.open();
        await writer.send([entry('g', 'one'), entry('g', 'two')]);
        await writer.close();
        await queue.close();
        expect(bodies(await drain(2, await open()))).toEqual(['one', 'two']);
      });

      it('stays when the queue is provisioned again', async () => {
        await sendAll(entry('g', 'one'));
        await queue.provision();
        expect(bodies(await drain(1))).toEqual(['one']);
      });
    });

    describe('a send', () => {
      it('answers nothing to nothing', async () => {
        expect(await queue.send([])).toEqual([]);
      });

      it('answers for each entry, in order, and queues those it answers ok', async () => {
        const results = await queue.send([entry('g', 'one'), entry('g', 'bad \u0001'), entry('g', 'three')]);
        expect(results.map((result) => result.status)).toEqual(['ok', 'failed', 'ok']);
        expect(results[1]).toHaveProperty('error', expect.any(Error));
        expect(bodies(await drain(2))).toEqual(['one', 'three']);
      });

      it.each([
        ['more entries than a batch holds', () => Array.from({ length: queue.capabilities.maxBatchCount + 1 }, () => entry('g', 'x'))],
        ['a message over the limit', () => [entry('g', 'x'.repeat(queue.capabilities.maxMessageBytes + 1))]],
        [
          'attributes that lift a message over the limit',
          () => [entry('g', 'x'.repeat(queue.capabilities.maxMessageBytes - 5), { name: 'value' })],
        ],
        ['a batch over the limit', () => Array.from({ length: 2 }, () => entry('g', 'x'.repeat(queue.capabilities.maxBatchBytes / 2 + 1)))],
        ['a group of 129 characters', () => [entry('g'.repeat(129), 'x')]],
        ['eleven attributes', () => [entry('g', 'x', Object.fromEntries(Array.from({ length: 11 }, (_, n) => [`a${n}`, 'x'])))]],
      ])('refuses %s, and sends nothing of it', async (_, entries) => {
        await expect(queue.send(entries())).rejects.toBeInstanceOf(PortMisuseError);
        await sendAll(entry('other', 'sentinel'));
        expect(bodies(await receive())).toEqual(['sentinel']);
      });

      it('takes a group of 128 characters', async () => {
        const group = 'g'.repeat(128);
        await sendAll(entry(group, 'x'));
        expect((await receive())[0]?.group).toBe(group);
      });
    });

    describe('order', () => {
      it('is the order of sending within each group', async () => {
        const expected: Record<string, string[]> = { a: [], b: [], c: [] };
        for (let batch = 0; batch < 4; batch += 1) {
          const entries = Array.from({ length: 10 }, (_, n) => entry(['a', 'b', 'c'][n % 3]!, `${batch}.${n}`));
          for (const { group, body } of entries) expected[group]!.push(body);
          await sendAll(...entries);
        }
        const messages = await drain(40);
        const seen = Object.fromEntries(Object.keys(expected).map((group) => [group, bodies(messages.filter((m) => m.group === group))]));
        expect(seen).toEqual(expected);
      });

      it(`hands out ${traits.severalOfAGroup ? 'several messages' : 'one message'} of a group in one receive, in order`, async () => {
        await sendAll(entry('g', 'one'), entry('g', 'two'), entry('g', 'three'));
        expect(bodies(await receive())).toEqual(traits.severalOfAGroup ? ['one', 'two', 'three'] : ['one']);
      });

      it('hands out no more messages than were asked for', async () => {
        await sendAll(...['a', 'b', 'c', 'd'].map((group) => entry(group, group)));
        expect(await queue.receive({ maxCount: 3, waitMs: WAIT_MS, visibilityMs: LONG_VISIBILITY_MS })).toHaveLength(3);
      });

      it('does not hand out a later message of a group while an earlier one is out', async () => {
        const other = await open();
        await sendAll(entry('g', 'first'));
        const [first] = await receive();
        await sendAll(entry('g', 'second'), entry('h', 'of another group'));
        expect(bodies(await receive(other))).toEqual(['of another group']);
        expect(await look(other)).toEqual([]);
        expect(await look()).toEqual([]);
        await queue.delete([first!]);
        expect(bodies(await receive(other))).toEqual(['second']);
      });

      it('wakes a waiting receive when the message before it is deleted', async () => {
        const other = await open();
        await sendAll(entry('g', 'first'), entry('g', 'second'));
        const first = await queue.receive({ maxCount: 1, waitMs: WAIT_MS, visibilityMs: LONG_VISIBILITY_MS });
        const second = receive(other);
        await queue.delete(first);
        expect(bodies(await second)).toEqual(['second']);
      });
    });

    describe('a message that is out', () => {
      it('comes again when its visibility has run out, with the later ones of its group behind it', async () => {
        await sendAll(entry('g', 'one'), entry('g', 'two'), entry('g', 'three'));
        const first = await receive(queue, SHORT_VISIBILITY_MS);
        expect(first[0]).toMatchObject({ body: 'one', receiveCount: 1 });
        const again = await drain(3);
        expect(bodies(again)).toEqual(['one', 'two', 'three']);
        expect(again[0]?.receiveCount).toBe(2);
      });

      it('comes again at once when it is given back, in order', async () => {
        await sendAll(entry('g', 'one'), entry('g', 'two'));
        await queue.extend(await receive(), 0);
        const again = await drain(2);
        expect(bodies(again)).toEqual(['one', 'two']);
        expect(again[0]?.receiveCount).toBe(2);
      });

      it('stays out for as long as it is extended', async () => {
        await sendAll(entry('g', 'extended'));
        const extended = await receive(queue, SHORT_VISIBILITY_MS);
        await queue.extend(extended, LONG_VISIBILITY_MS);
        // Taken later for the same time, so when it is back the other's time is over too.
        await sendAll(entry('clock', 'clock'));
        await receive(queue, SHORT_VISIBILITY_MS);
        expect(bodies(await receive())).toEqual(['clock']);
        await queue.delete(extended);
      });

      it('never comes again once it is deleted', async () => {
        await sendAll(entry('g', 'deleted'));
        await queue.delete(await receive(queue, SHORT_VISIBILITY_MS));
        await sendAll(entry('clock', 'clock'));
        await receive(queue, SHORT_VISIBILITY_MS);
        expect(bodies(await receive())).toEqual(['clock']);
      });

      it('can be deleted together with more than a batch holds', async () => {
        const groups = Array.from({ length: 24 }, (_, n) => `g${n}`);
        for (let at = 0; at < groups.length; at += 8) await sendAll(...groups.slice(at, at + 8).map((group) => entry(group, group)));
        const out = await takeOut(groups.length);
        await queue.extend(out, LONG_VISIBILITY_MS);
        await queue.delete(out);
        await sendAll(...groups.slice(0, 10).map((group) => entry(group, `next of ${group}`)));
        expect(bodies(await drain(10)).sort()).toEqual(
          groups
            .slice(0, 10)
            .map((group) => `next of ${group}`)
            .sort(),
        );
      });

      it('comes again to another process when the one that had it is gone', async () => {
        await sendAll(entry('g', 'one'));
        const gone = await fixture.open();
        expect(await receive(gone, SHORT_VISIBILITY_MS)).toHaveLength(1);
        await gone.close();
        const again = await receive();
        expect(bodies(again)).toEqual(['one']);
        expect(again[0]?.receiveCount).toBe(2);
      });

      it('may be deleted or extended once more after it was deleted', async () => {
        await sendAll(entry('g', 'one'), entry('g', 'two'));
        const [one] = await queue.receive({ maxCount: 1, waitMs: WAIT_MS, visibilityMs: LONG_VISIBILITY_MS });
        await queue.delete([one!]);
        await queue.extend([one!], LONG_VISIBILITY_MS);
        await queue.delete([one!]);
        expect(bodies(await drain(1))).toEqual(['two']);
      });
    });

    describe('a receive', () => {
      it('ends with nothing when no message comes in its time', async () => {
        const started = performance.now();
        expect(await queue.receive({ maxCount: 10, waitMs: 200, visibilityMs: LONG_VISIBILITY_MS })).toEqual([]);
        expect(performance.now() - started).toBeGreaterThanOrEqual(190);
      });

      it('that waits is woken by a send', async () => {
        const other = await open();
        const received = receive(other);
        await sendAll(entry('g', 'woken'));
        const started = performance.now();
        expect(bodies(await received)).toEqual(['woken']);
        expect(performance.now() - started).toBeLessThan(WAIT_MS / 2);
      });

      it('hands out nothing when it is aborted, and what is sent then is not lost to it', async () => {
        const abort = new AbortController();
        const aborted = queue.receive({ maxCount: 10, waitMs: WAIT_MS, visibilityMs: LONG_VISIBILITY_MS, signal: abort.signal });
        abort.abort();
        expect(await aborted).toEqual([]);
        await sendAll(entry('g', 'after'));
        expect(bodies(await drain(1, await open()))).toEqual(['after']);
      });

      it('hands out nothing when it was aborted before it began', async () => {
        await sendAll(entry('g', 'one'));
        const signal = AbortSignal.abort();
        expect(await queue.receive({ maxCount: 10, waitMs: WAIT_MS, visibilityMs: LONG_VISIBILITY_MS, signal })).toEqual([]);
        const messages = await receive();
        expect(messages[0]).toMatchObject({ body: 'one', receiveCount: 1 });
      });

      it('ends with nothing when the queue is closed', async () => {
        const closing = await fixture.open();
        const received = receive(closing);
        await closing.close();
        expect(await received).toEqual([]);
      });

      it('shares the messages with other receives, each going to one of them', async () => {
        const others = await Promise.all([open(), open(), open()]);
        const groups = Array.from({ length: 30 }, (_, n) => `g${n}`);
        const seen: string[] = [];
        const all = new AbortController();
        const receivers = others.map(async (other) => {
          while (!all.signal.aborted) {
            const messages = await other.receive({ maxCount: 2, waitMs: WAIT_MS, visibilityMs: LONG_VISIBILITY_MS, signal: all.signal });
            seen.push(...bodies(messages));
            await other.delete(messages);
            if (seen.length >= groups.length) all.abort();
          }
        });
        for (let at = 0; at < groups.length; at += 10) await sendAll(...groups.slice(at, at + 10).map((group) => entry(group, group)));
        await Promise.all(receivers);
        expect(seen.sort()).toEqual([...groups].sort());
      });
    });

    describe('a dead letter', () => {
      it('is kept with its reason and never handed out again, and its group goes on', async () => {
        const attributes = { contentType: 'text/plain', shard: '1' };
        await sendAll(entry('g', 'poison', attributes), entry('g', 'next'));
        const [poison] = await queue.receive({ maxCount: 1, waitMs: WAIT_MS, visibilityMs: LONG_VISIBILITY_MS });
        await queue.deadLetter(poison!, 'contentType is "text/plain"');
        expect(bodies(await drain(1))).toEqual(['next']);
        const [letter, ...more] = await fixture.deadLetters();
        expect(more).toEqual([]);
        expect(letter).toMatchObject({ body: 'poison', reason: 'contentType is "text/plain"', attributes });
      });

      it('are shown to people, who take out the ones they name', async () => {
        const attributes = { shard: '3', a: 'text', b: 'text' };
        const groups = ['g1', 'g2', 'g1'];
        for (const [i, group] of groups.entries()) {
          await sendAll(entry(group, `poison${i}`, attributes));
          const [poison] = await receive();
          await queue.deadLetter(poison!, `reason ${i}`);
        }
        const operator = await open();
        const visit = async (isDone: (letter: DeadLetter) => boolean): Promise<DeadLetter[]> => {
          const shown: DeadLetter[] = [];
          await operator.visitDeadLetters(async (letters) => {
            shown.push(...letters);
            return Promise.resolve(letters.map(isDone));
          });
          return shown;
        };
        const shown = await visit(() => false);
        // Of a group more than the first may be hidden behind it.
        expect(shown.map((letter) => letter.body)).toEqual(expect.arrayContaining(['poison0', 'poison1']));
        const [first] = shown.filter((letter) => letter.body === 'poison0');
        expect(first).toMatchObject({ group: 'g1', attributes, reason: 'reason 0' });
        expect(first?.deadAt).toMatch(/^2\d{3}-.*Z$/);
        const again = await visit((letter) => letter.body === 'poison0');
        expect(again.find((letter) => letter.body === 'poison0')?.id).toBe(first?.id);
        // In their order: what lay behind it is shown after it.
        expect((await visit(() => true)).map((letter) => letter.body).sort()).toEqual(['poison1', 'poison2']);
        expect(await visit(() => true)).toEqual([]);
      });

      it('may have a reason of any length and with any characters', async () => {
        await sendAll(entry('g', 'poison'));
        const [poison] = await receive();
        await queue.deadLetter(poison!, `\u0000 ü ${'long '.repeat(100_000)}`);
        expect((await fixture.deadLetters())[0]).toMatchObject({ body: 'poison', reason: expect.stringContaining('long long') });
      });
    });

    it('answers a ping', async () => {
      await expect(queue.ping()).resolves.toBeUndefined();
    });
  });
}
