/** The topic suite on every adapter. */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { openTopic } from '../../ports/topic/index.ts';
import { describeWithServer } from '../servers.ts';
import { makeTemporaryFolder } from '../temp.ts';
import { topicConformance } from './topic.ts';

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
  topicConformance(
    'pubsub',
    async () => {
      const url = `pubsub://test-${randomUUID()}/topic?emulator=${pubsub.host}`;
      const open = () => openTopic(url);
      return { topic: await open(), open, remove: async () => {} };
    },
    // The emulator holds them back when a subscriber has several streams.
    { laterWhileOut: false },
  );
});
