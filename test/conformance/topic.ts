/** What every adapter of the topic port must do. */
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { PortMisuseError } from '../../ports/errors.ts';
import type { Delivery, Publisher, Subscriber, SubscriberLimits, Topic, TopicMessage } from '../../ports/topic/port.ts';

export interface TopicFixture {
  readonly topic: Topic;
  /** The same topic and subscription once more, as another process would open them. */
  open(): Promise<Topic>;
  remove(): Promise<void>;
}

/** Where servers differ within what the port allows. */
export interface TopicTraits {
  /** Whether what is published to a key while others of it are out comes before those are acked. */
  readonly laterWhileOut: boolean;
}

const STOP_MS = 5_000;
const AMPLE: SubscriberLimits = { maxOutstandingMessages: 1_000, maxOutstandingBytes: 100 * 1024 * 1024 };

const message = (text: string, attributes: Record<string, string> = {}): TopicMessage => ({ data: Buffer.from(text), attributes });
const messages = (...texts: string[]): TopicMessage[] => texts.map((text) => message(text));
const textOf = (delivery: Delivery): string => delivery.data.toString();

/** What a subscriber was handed, and a way to wait for it. */
class Inbox {
  readonly all: Delivery[] = [];
  readonly errors: Error[] = [];
  #woken = Promise.withResolvers<null>();
  onDelivery: (delivery: Delivery) => void = () => {};

  readonly handler = (delivery: Delivery): void => {
    this.all.push(delivery);
    this.onDelivery(delivery);
    this.#woken.resolve(null);
    this.#woken = Promise.withResolvers<null>();
  };

  get texts(): string[] {
    return this.all.map(textOf);
  }

  of(key: string): string[] {
    return this.all.filter((delivery) => delivery.key === key).map(textOf);
  }

  /** Waits until `condition` holds; the test's own time limit ends a wait for what never comes. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await this.#woken.promise;
  }

  async count(count: number): Promise<readonly Delivery[]> {
    await this.until(() => this.all.length >= count);
    return this.all;
  }
}

/** The texts, each at its first delivery. */
const firsts = (texts: readonly string[]): string[] => [...new Set(texts)];

export function topicConformance(name: string, make: () => Promise<TopicFixture>, traits: TopicTraits): void {
  describe(`topic: ${name}`, () => {
    let fixture: TopicFixture;
    let topic: Topic;
    let publisher: Publisher;
    beforeEach(async () => {
      fixture = await make();
      topic = fixture.topic;
      await topic.provision();
      publisher = topic.publisher();
    });
    afterEach(async () => {
      await publisher.close();
      await fixture.remove();
    });

    const subscribe = (limits = AMPLE, from = topic): { subscriber: Subscriber; inbox: Inbox } => {
      const subscriber = from.subscriber();
      const inbox = new Inbox();
      subscriber.onError((error) => inbox.errors.push(error));
      subscriber.start(inbox.handler, limits);
      onTestFinished(() => subscriber.stop(STOP_MS));
      return { subscriber, inbox };
    };

    describe('what is published', () => {
      it('comes out with its key, data and attributes, as a first attempt', async () => {
        const data = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
        const attributes = { contentType: 'application/cloudevents-batch+json', shard: '7', text: 'ü 数 😀' };
        await publisher.publish('7', [{ data, attributes }]);
        const { inbox } = subscribe();
        const [delivery] = await inbox.count(1);
        expect(delivery).toMatchObject({ key: '7', attributes, attempt: 1 });
        expect(delivery?.data.equals(data)).toBe(true);
      });

      it('tells when the topic took it', async () => {
        const before = Date.now();
        await publisher.publish('k', messages('one'));
        const after = Date.now();
        const { inbox } = subscribe();
        const [delivery] = await inbox.count(1);
        expect(delivery?.publishedAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,9}Z$/);
        expect(Date.parse(delivery?.publishedAt ?? '')).toBeGreaterThanOrEqual(before - 1);
        expect(Date.parse(delivery?.publishedAt ?? '')).toBeLessThanOrEqual(after + 1);
      });

      it('may be attributes alone', async () => {
        await publisher.publish('k', [{ data: Buffer.alloc(0), attributes: { only: 'this' } }]);
        const { inbox } = subscribe();
        const [delivery] = await inbox.count(1);
        expect(delivery?.attributes).toEqual({ only: 'this' });
        expect(delivery?.data.length).toBe(0);
      });

      it('may fill a request to its limits', async () => {
        const { maxBatchBytes, maxAttributeBytes } = publisher.capabilities;
        const attributes = { name: 'x'.repeat(maxAttributeBytes) };
        const data = Buffer.alloc(maxBatchBytes - 'name'.length - maxAttributeBytes, 'ü');
        await publisher.publish('k', [{ data, attributes }]);
        const { inbox } = subscribe();
        const [delivery] = await inbox.count(1);
        expect(delivery?.data.equals(data)).toBe(true);
        expect(delivery?.attributes).toEqual(attributes);
        delivery?.ack();
      });

      it('reaches a subscriber that waits', async () => {
        const { inbox } = subscribe();
        await publisher.publish('k', messages('one'));
        const [one] = await inbox.count(1);
        if (!traits.laterWhileOut) one?.ack();
        await publisher.publish('k', messages('two'));
        await inbox.count(2);
        expect(inbox.texts).toEqual(['one', 'two']);
      });

      it('stays when publisher and subscriber are closed and opened again', async () => {
        await publisher.publish('k', messages('one', 'two'));
        await publisher.close();
        const { inbox } = subscribe(AMPLE, await fixture.open());
        await inbox.count(2);
        expect(inbox.texts).toEqual(['one', 'two']);
      });

      it('stays when the topic is provisioned again', async () => {
        await publisher.publish('k', messages('one'));
        await topic.provision();
        const { inbox } = subscribe();
        await inbox.count(1);
        expect(inbox.texts).toEqual(['one']);
      });

      it('may be nothing', async () => {
        await expect(publisher.publish('k', [])).resolves.toBeUndefined();
      });

      it.each([
        ['more messages than a request holds', () => Array.from({ length: publisher.capabilities.maxBatchCount + 1 }, () => message('x'))],
        ['more bytes than a request holds', () => [{ data: Buffer.alloc(publisher.capabilities.maxBatchBytes + 1), attributes: {} }]],
        ['an attribute over the limit', () => [message('x', { a: 'x'.repeat(publisher.capabilities.maxAttributeBytes + 1) })]],
        ['a message with neither data nor attributes', () => [message('')]],
      ])('is refused where it is %s, and nothing of it is sent', async (_, refused) => {
        await expect(publisher.publish('k', [message('first'), ...refused()])).rejects.toBeInstanceOf(PortMisuseError);
        await publisher.publish('k', messages('sentinel'));
        const { inbox } = subscribe();
        await inbox.count(1);
        expect(inbox.texts).toEqual(['sentinel']);
      });
    });

    describe('order', () => {
      it('is the order of publishing within each key', async () => {
        const keys = Array.from({ length: 8 }, (_, n) => `key${n}`);
        const expected = Array.from({ length: 60 }, (_, n) => `${n}`);
        const { inbox } = subscribe();
        inbox.onDelivery = (delivery) => setImmediate(delivery.ack);
        await Promise.all(
          keys.map(async (key) => {
            for (let at = 0; at < 60; at += 12) await publisher.publish(key, messages(...expected.slice(at, at + 12)));
          }),
        );
        await inbox.until(() => keys.every((key) => firsts(inbox.of(key)).length === 60));
        for (const key of keys) expect(firsts(inbox.of(key))).toEqual(expected);
      });

      it('lets several messages of a key be out at once', async () => {
        await publisher.publish('k', messages('one', 'two', 'three'));
        const { inbox } = subscribe();
        await inbox.count(3);
        expect(inbox.texts).toEqual(['one', 'two', 'three']);
      });

      it('does not make one key wait for another', async () => {
        const { inbox } = subscribe();
        await publisher.publish('slow', messages('never acked'));
        await inbox.count(1);
        await publisher.publish('k', messages('one'));
        await inbox.count(2);
        expect(inbox.texts).toEqual(['never acked', 'one']);
      });

      it('holds across subscribers that share the load', async () => {
        const keys = Array.from({ length: 6 }, (_, n) => `key${n}`);
        const expected = Array.from({ length: 40 }, (_, n) => `${n}`);
        const shared = new Inbox();
        shared.onDelivery = (delivery) => setImmediate(delivery.ack);
        for (const from of [topic, topic, await fixture.open()]) {
          const subscriber = from.subscriber();
          subscriber.start(shared.handler, { maxOutstandingMessages: 5, maxOutstandingBytes: 1_000_000 });
          onTestFinished(() => subscriber.stop(STOP_MS));
        }
        for (let at = 0; at < 40; at += 4)
          await Promise.all(keys.map((key) => publisher.publish(key, messages(...expected.slice(at, at + 4)))));
        await shared.until(() => keys.every((key) => firsts(shared.of(key)).length === 40));
        for (const key of keys) expect(firsts(shared.of(key))).toEqual(expected);
      });
    });

    describe('limits', () => {
      it('never let more messages be out than they say', async () => {
        await publisher.publish('a', messages('1', '2', '3', '4'));
        await publisher.publish('b', messages('5', '6', '7', '8'));
        const { inbox } = subscribe({ maxOutstandingMessages: 3, maxOutstandingBytes: 1_000_000 });
        let out = 0;
        let most = 0;
        inbox.onDelivery = () => {
          out += 1;
          most = Math.max(most, out);
        };
        for (let acked = 0; acked < 8; acked += 1) {
          await inbox.count(Math.min(acked + 3, 8));
          expect(out).toBeLessThanOrEqual(3);
          out -= 1;
          inbox.all[acked]?.ack();
        }
        expect(most).toBe(3);
      });

      it('never let more bytes be out than they say, but for one larger message', async () => {
        await publisher.publish('k', messages('x'.repeat(60), 'y'.repeat(60), 'z'.repeat(500), 'w'));
        const { inbox } = subscribe({ maxOutstandingMessages: 100, maxOutstandingBytes: 100 });
        for (const letter of ['x', 'y', 'z', 'w']) {
          await inbox.until(() => inbox.texts.some((text) => text.startsWith(letter)));
          expect(inbox.all).toHaveLength('xyzw'.indexOf(letter) + 1);
          inbox.all.at(-1)?.ack();
        }
      });
    });

    describe('an ack', () => {
      it('is final when stop resolves', async () => {
        await publisher.publish('k', messages('one', 'two'));
        const first = subscribe();
        for (const delivery of await first.inbox.count(2)) delivery.ack();
        await first.subscriber.stop(STOP_MS);
        await publisher.publish('k', messages('three'));
        const second = subscribe();
        await second.inbox.count(1);
        expect(second.inbox.texts).toEqual(['three']);
      });

      it('counts once: a nack after it does nothing', async () => {
        await publisher.publish('k', messages('one'));
        const { inbox } = subscribe();
        const [one] = await inbox.count(1);
        one?.ack();
        one?.nack();
        one?.ack();
        await publisher.publish('k', messages('two'));
        await inbox.count(2);
        expect(inbox.texts).toEqual(['one', 'two']);
      });
    });

    describe('a nack', () => {
      it('brings the message again with every later one of its key behind it, and no earlier one', async () => {
        await publisher.publish('k', messages('one', 'two', 'three', 'four'));
        const { inbox } = subscribe();
        const [one, two, three] = await inbox.count(4);
        if (!traits.laterWhileOut) one?.ack();
        two?.nack();
        // The earlier delivery of a message that comes again is void.
        three?.ack();
        await inbox.count(7);
        expect(inbox.texts).toEqual(['one', 'two', 'three', 'four', 'two', 'three', 'four']);
        one?.ack();
        for (const delivery of inbox.all.slice(4)) delivery.ack();
        await publisher.publish('k', messages('five'));
        await inbox.count(8);
        expect(inbox.texts.at(-1)).toBe('five');
      });

      it('brings again, in order, what came behind it and is not handed out yet', async () => {
        await publisher.publish('k', messages('one', 'two', 'three'));
        const { inbox } = subscribe({ maxOutstandingMessages: 1, maxOutstandingBytes: 1_000_000 });
        const [one] = await inbox.count(1);
        inbox.onDelivery = (delivery) => delivery.ack();
        one?.nack();
        await inbox.count(4);
        expect(inbox.texts).toEqual(['one', 'one', 'two', 'three']);
      });

      it('leaves other keys as they are', async () => {
        await publisher.publish('k', messages('one'));
        await publisher.publish('other', messages('a', 'b'));
        const { inbox } = subscribe();
        await inbox.count(3);
        inbox.all.find((delivery) => delivery.key === 'k')?.nack();
        await inbox.until(() => inbox.of('k').length === 2);
        expect(inbox.of('other')).toEqual(['a', 'b']);
      });
    });

    describe('a stop', () => {
      it('gives back what was not acked, in order, to the next subscriber', async () => {
        await publisher.publish('k', messages('one', 'two', 'three', 'four'));
        const first = subscribe();
        const [one] = await first.inbox.count(4);
        one?.ack();
        await first.subscriber.stop(STOP_MS);
        const second = subscribe();
        await second.inbox.count(3);
        expect(second.inbox.texts).toEqual(['two', 'three', 'four']);
      });

      it('hands out nothing more, and makes later acks void', async () => {
        await publisher.publish('k', messages('one'));
        const first = subscribe();
        const [one] = await first.inbox.count(1);
        await first.subscriber.stop(STOP_MS);
        one?.ack();
        await publisher.publish('k', messages('two'));
        const second = subscribe();
        await second.inbox.count(2);
        expect(second.inbox.texts).toEqual(['one', 'two']);
        expect(first.inbox.texts).toEqual(['one']);
      });

      it('from within the handler hands out nothing after it', async () => {
        await publisher.publish('k', messages('one', 'two', 'three'));
        const { subscriber, inbox } = subscribe();
        let stopped: Promise<void> | undefined;
        inbox.onDelivery = () => {
          stopped ??= subscriber.stop(STOP_MS);
        };
        await inbox.count(1);
        await stopped;
        expect(inbox.texts).toEqual(['one']);
      });

      it('resolves within its deadline, also with messages out, also twice, also without a start', async () => {
        await publisher.publish('k', messages('one'));
        const { subscriber, inbox } = subscribe();
        await inbox.count(1);
        const started = performance.now();
        await Promise.all([subscriber.stop(3_000), subscriber.stop(3_000), topic.subscriber().stop(3_000)]);
        expect(performance.now() - started).toBeLessThan(4_000);
      });
    });

    it('hands out nothing while paused, and goes on in order', async () => {
      const { subscriber, inbox } = subscribe();
      await publisher.publish('k', [{ data: Buffer.from('before'), attributes: {} }]);
      (await inbox.count(1))[0]?.ack();
      subscriber.pause();
      await publisher.publish('k', [{ data: Buffer.from('during 1'), attributes: {} }]);
      await publisher.publish('k', [{ data: Buffer.from('during 2'), attributes: {} }]);
      // Another subscriber would have them by the time that a round trip takes.
      await subscriber.ping();
      expect(inbox.all).toHaveLength(1);
      subscriber.resume();
      const texts = (await inbox.count(3)).map((delivery) => delivery.data.toString());
      expect(texts).toEqual(['before', 'during 1', 'during 2']);
    });

    it('answers pings', async () => {
      const { subscriber } = subscribe();
      await expect(Promise.all([publisher.ping(), subscriber.ping()])).resolves.toEqual([undefined, undefined]);
    });
  });
}
