/** What is measured: the bridge, the one people write by hand, and each half of the work alone, as fast as it goes. */
import { DeleteMessageBatchCommand, ReceiveMessageCommand } from '@aws-sdk/client-sqs';
import { PubSub } from '@google-cloud/pubsub';
import { pino } from 'pino';
import { Consumer } from 'sqs-consumer';
import { type BridgeSettings, startBridge } from '../../consumers/bridge/bridge.ts';
import type { Queue, QueueEntry } from '../../ports/queue/port.ts';
import { bound } from '../../test/fixtures/queues.ts';
import { type Line, sqsClient } from './bridge-servers.ts';
import { backoff, defaults } from './settings.ts';

const SETTINGS: BridgeSettings = {
  receivers: defaults.bridgeReceivers,
  receiveWaitMs: defaults.receiveWaitSeconds * 1000,
  visibilityMs: defaults.visibilitySeconds * 1000,
  backoff,
};

/** Until the queue has deleted them all. */
export async function bridging(line: Pick<Line, 'queue' | 'topic'>, packs: number, onDeleted?: (left: number) => void): Promise<void> {
  let left = packs;
  const drained = Promise.withResolvers<undefined>();
  const counted: Queue = {
    ...bound(line.queue),
    async delete(messages) {
      await line.queue.delete(messages);
      left -= messages.length;
      onDeleted?.(left);
      if (left === 0) drained.resolve(undefined);
    },
  };
  const bridge = startBridge({
    queue: counted,
    publisher: line.topic.publisher(),
    log: pino({ level: 'warn' }),
    settings: SETTINGS,
    onFatal: drained.reject,
  });
  await drained.promise;
  await bridge.stop();
  await line.queue.close();
}

/** sqs-consumer and `publishMessage`, one envelope a message, the aggregate as the group and as the ordering key. */
export async function byHand(line: Line, messages: number): Promise<void> {
  const topic = pubsub(line).topic(line.topicId, { messageOrdering: true });
  const sqs = sqsClient(line.queueUrl);
  let left = messages;
  const done = Promise.withResolvers<undefined>();
  const consumer = Consumer.create({
    queueUrl: line.queueUrl,
    sqs,
    batchSize: 10,
    waitTimeSeconds: 20,
    messageSystemAttributeNames: ['MessageGroupId'],
    suppressFifoWarning: true,
    handleMessage: async (message) => {
      await topic.publishMessage({ data: Buffer.from(message.Body ?? ''), orderingKey: message.Attributes?.MessageGroupId ?? '' });
      return message;
    },
  });
  consumer.on('error', done.reject);
  consumer.on('processing_error', done.reject);
  consumer.on('message_processed', () => {
    left -= 1;
    if (left === 0) done.resolve(undefined);
  });
  consumer.start();
  await done.promise;
  consumer.stop({ abort: true });
  sqs.destroy();
}

/** Receive and delete alone, with the SDK as it is, as many at once as the bridge has. */
export async function receiveAndDelete(line: Line, messages: number): Promise<void> {
  const sqs = sqsClient(line.queueUrl);
  const QueueUrl = line.queueUrl;
  let left = messages;
  const loop = async (): Promise<void> => {
    while (left > 0) {
      const { Messages = [] } = await sqs.send(
        new ReceiveMessageCommand({
          QueueUrl,
          MaxNumberOfMessages: 10,
          WaitTimeSeconds: 1,
          VisibilityTimeout: 30,
          MessageAttributeNames: ['All'],
          MessageSystemAttributeNames: ['ApproximateReceiveCount', 'MessageGroupId'],
        }),
      );
      if (Messages.length === 0) continue;
      left -= Messages.length;
      const Entries = Messages.map((message, index) => ({ Id: String(index), ReceiptHandle: message.ReceiptHandle ?? '' }));
      await sqs.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }));
    }
  };
  await Promise.all(Array.from({ length: SETTINGS.receivers }, loop));
  sqs.destroy();
}

/** Ordered publishes alone, each shard's in order and the shards side by side, at most `perRequest` packs a request. */
export async function orderedPublish(line: Line, packs: readonly QueueEntry[], perRequest: number): Promise<void> {
  const publisher = line.topic.publisher();
  const shards = Map.groupBy(packs, (pack) => pack.group);
  await Promise.all(
    [...shards].map(async ([key, own]) => {
      for (let at = 0; at < own.length; at += perRequest)
        await publisher.publish(
          key,
          own.slice(at, at + perRequest).map(({ body, attributes }) => ({ data: Buffer.from(body), attributes })),
        );
    }),
  );
  await publisher.close();
}

function pubsub({ projectId, emulator }: Line): PubSub {
  return new PubSub({ projectId, apiEndpoint: emulator, emulatorMode: true, clientOptions: { universeDomain: 'googleapis.com' } });
}
