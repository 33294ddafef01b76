/** The topic suite on every adapter. */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { openTopic } from '../../ports/topic/index.ts';
import type { Subscriber, Topic } from '../../ports/topic/port.ts';
import { connect, readPubsubUrl, type PubsubConfig } from '../../ports/topic/pubsub-client.ts';
import { PubsubSubscriber } from '../../ports/topic/pubsub-subscriber.ts';
import { describeWithServer } from '../servers.ts';
import { makeTemporaryFolder } from '../temp.ts';
import { topicConformance, type TopicFixture } from './topic.ts';

topicConformance(
  'sqlite',
  async () => {
    const folder = await makeTemporaryFolder();
    const open = () => openTopic(`sqlite:${join(folder.path, 'topic.db')}`);
    return { topic: await open(), open, remove: folder.remove };
  },
  { laterWhileOut: true },
);

describeWithServer('pubsub', "on Google's emulator", ({ pubsub }) => {
  const fixture = async (subscriber: (topic: Topic, url: URL) => Subscriber): Promise<TopicFixture> => {
    const url = `pubsub://test-${randomUUID()}/topic?emulator=${pubsub.host}`;
    const open = async (): Promise<Topic> => {
      const topic = await openTopic(url);
      return { ...topic, subscriber: () => subscriber(topic, new URL(url)) };
    };
    return { topic: await open(), open, remove: async () => {} };
  };
  // The emulator holds later ones back: from every other pull, and where a subscriber has several streams.
  topicConformance('pubsub', () => fixture((topic) => topic.subscriber()), { laterWhileOut: false });
  topicConformance('pubsub, streaming as from Google Cloud', () => fixture((_, url) => streaming(readPubsubUrl(url))), {
    laterWhileOut: false,
  });
});

function streaming(config: PubsubConfig): Subscriber {
  return new PubsubSubscriber(connect(config), config);
}
