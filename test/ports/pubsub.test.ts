/** The Pub/Sub adapter: its URL, and what it does where the topic is missing or nobody answers. */
import { v1 } from '@google-cloud/pubsub';
import { randomUUID } from 'node:crypto';
import { describe, expect, it, onTestFinished } from 'vitest';
import { AdapterConfigError, PortUnavailableError } from '../../ports/errors.ts';
import { openTopic } from '../../ports/topic/index.ts';
import { clientOptions, readPubsubUrl } from '../../ports/topic/pubsub-client.ts';
import { describeWithServer } from '../servers.ts';

const message = { data: Buffer.from('one'), attributes: {} };
const limits = { maxOutstandingMessages: 10, maxOutstandingBytes: 1_000_000 };

describe('a pubsub: URL', () => {
  it('names the topic and its default subscription', () => {
    expect(readPubsubUrl(new URL('pubsub://my-project/spanway'))).toEqual({
      projectId: 'my-project',
      topic: 'projects/my-project/topics/spanway',
      subscription: 'projects/my-project/subscriptions/spanway-applier',
      emulator: undefined,
      leaseSeconds: 60,
    });
  });

  it('may name how long a message is held without a sign of life, as Pub/Sub allows', () => {
    expect(readPubsubUrl(new URL('pubsub://my-project/spanway?leaseSeconds=10')).leaseSeconds).toBe(10);
    for (const wrong of ['9', '601', 'x', '']) {
      expect(() => readPubsubUrl(new URL(`pubsub://my-project/spanway?leaseSeconds=${wrong}`))).toThrow(/10 to 600/);
    }
  });

  it('may name the subscription and an emulator', () => {
    const config = readPubsubUrl(new URL('pubsub://my-project/spanway?subscription=other&emulator=127.0.0.1:8085'));
    expect(config).toMatchObject({ subscription: 'projects/my-project/subscriptions/other', emulator: '127.0.0.1:8085' });
  });

  it.each(['pubsub:spanway', 'pubsub://my-project', 'pubsub://my-project/a/b', 'pubsub://my-project/spanway?emulator=8085'])(
    'is refused: %s',
    async (url) => {
      await expect(openTopic(url)).rejects.toBeInstanceOf(AdapterConfigError);
    },
  );
});

describe('the Pub/Sub adapter where nobody answers', () => {
  const url = 'pubsub://nobody/topic?emulator=127.0.0.1:1';

  it('throws from publish, ping and provision', async () => {
    const topic = await openTopic(url);
    const publisher = topic.publisher();
    onTestFinished(() => publisher.close());
    await Promise.all(
      [publisher.publish('k', [message]), publisher.ping(), topic.provision()].map((call) =>
        expect(call).rejects.toBeInstanceOf(PortUnavailableError),
      ),
    );
  });

  it('stops within its deadline', async () => {
    const subscriber = (await openTopic(url)).subscriber();
    subscriber.start(() => {}, limits);
    const started = performance.now();
    await subscriber.stop(2_000);
    expect(performance.now() - started).toBeLessThan(3_000);
  });
});

describeWithServer('pubsub', "the Pub/Sub adapter on Google's emulator", ({ pubsub }) => {
  it('reports a missing subscription, and pulls once it is there', async () => {
    const topic = await openTopic(`pubsub://test-${randomUUID()}/topic?emulator=${pubsub.host}`);
    const publisher = topic.publisher();
    const subscriber = topic.subscriber();
    onTestFinished(async () => {
      await Promise.all([publisher.close(), subscriber.stop(5_000)]);
    });
    const failed = Promise.withResolvers<Error>();
    const delivered = Promise.withResolvers<string>();
    subscriber.onError(failed.resolve);
    subscriber.start((delivery) => {
      delivered.resolve(delivery.data.toString());
      delivery.ack();
    }, limits);
    expect(await failed.promise).toBeInstanceOf(PortUnavailableError);
    await topic.provision();
    await publisher.publish('k', [message]);
    expect(await delivered.promise).toBe('one');
  });

  it('throws from publish and pings where the topic is missing', async () => {
    const topic = await openTopic(`pubsub://test-${randomUUID()}/topic?emulator=${pubsub.host}`);
    const publisher = topic.publisher();
    const subscriber = topic.subscriber();
    onTestFinished(async () => {
      await Promise.all([publisher.close(), subscriber.stop(5_000)]);
    });
    await expect(publisher.publish('k', [message])).rejects.toBeInstanceOf(PortUnavailableError);
    await expect(publisher.ping()).rejects.toBeInstanceOf(PortUnavailableError);
    await expect(subscriber.ping()).rejects.toBeInstanceOf(PortUnavailableError);
  });

  it.each([
    ['its lease ends', 10],
    ['it is given back', 1],
  ])('hands out what another held, once %s, ahead of what nobody had yet', async (_, leaseSeconds) => {
    const url = new URL(`pubsub://test-${randomUUID()}/topic?emulator=${pubsub.host}&leaseSeconds=10`);
    const config = readPubsubUrl(url);
    const topic = await openTopic(url.href);
    const publisher = topic.publisher();
    const subscriber = topic.subscriber();
    const killed = new v1.SubscriberClient(await clientOptions(config));
    onTestFinished(async () => {
      await Promise.all([publisher.close(), subscriber.stop(5_000), killed.close()]);
    });
    await topic.provision();
    await publisher.publish(
      'k',
      ['one', 'two', 'three', 'four'].map((text) => ({ data: Buffer.from(text), attributes: {} })),
    );
    const { subscription } = config;
    const [{ receivedMessages }] = await killed.pull({ subscription, maxMessages: 2 });
    expect(receivedMessages).toHaveLength(2);
    const ackIds = (receivedMessages ?? []).map(({ ackId }) => ackId ?? '');
    await killed.modifyAckDeadline({ subscription, ackIds, ackDeadlineSeconds: leaseSeconds });
    const texts: string[] = [];
    await new Promise<void>((resolve) => {
      subscriber.start(({ data, ack }) => {
        ack();
        if (texts.push(data.toString()) === 4) resolve();
      }, limits);
    });
    expect(texts).toEqual(['one', 'two', 'three', 'four']);
  });
});
