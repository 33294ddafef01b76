/** The bridge's servers for one measurement: fauxqs with a filled queue, the Pub/Sub emulator with a topic, both new. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { GetQueueAttributesCommand, SQSClient } from '@aws-sdk/client-sqs';
import { startLocalServers } from '../../cli/local-servers/index.ts';
import { openQueue } from '../../ports/queue/index.ts';
import type { Provisionable } from '../../ports/adapter.ts';
import type { Queue, QueueEntry } from '../../ports/queue/port.ts';
import { openTopic } from '../../ports/topic/index.ts';
import type { Topic } from '../../ports/topic/port.ts';
import { orderEnvelope, packsOf } from './packs.ts';

export interface Servers {
  /** A queue of its own with these entries in it, and a topic of its own. */
  line(entries: readonly QueueEntry[]): Promise<Line>;
}

export interface Line {
  readonly queue: Queue & Provisionable;
  readonly topic: Topic;
  /** The adapters' URLs of both, for another process. */
  readonly queueAddress: string;
  readonly topicAddress: string;
  /** For those who use the vendors' clients by hand. */
  readonly queueUrl: string;
  readonly emulator: string;
  readonly projectId: string;
  readonly topicId: string;
}

const SENDS = 8;

/** The emulator never gives back the threads that a key costs it, so each measurement has its own servers. */
export async function onNewServers<T>(say: (text: string) => void, work: (servers: Servers) => Promise<T>): Promise<T> {
  const { servers, missing, stop } = await startLocalServers({ only: ['sqs', 'pubsub'], log: say });
  try {
    const { sqs, pubsub } = servers;
    if (!sqs || !pubsub) throw new Error(`a server is missing: ${JSON.stringify(missing)}`);
    return await work({
      async line(entries) {
        const name = `b${randomUUID().slice(0, 8)}`;
        const queueUrl = `${sqs.endpoint}/000000000000/${name}.fifo`;
        const projectId = 'spanway-bench';
        const queueAddress = `sqs:${queueUrl}?region=us-east-1&credentials=local`;
        const topicAddress = `pubsub://${projectId}/${name}?emulator=${pubsub.host}`;
        const [queue, topic] = await Promise.all([openQueue(queueAddress), openTopic(topicAddress)]);
        await Promise.all([queue.provision(), topic.provision()]);
        await fill(queue, entries);
        return { queue, topic, queueAddress, topicAddress, queueUrl, emulator: pubsub.host, projectId, topicId: name };
      },
    });
  } finally {
    await stop();
  }
}

/** Resolves when nothing is in the queue of this `sqs:` address, neither waiting nor received. */
export async function queueDrained(address: string): Promise<void> {
  const QueueUrl = address.slice('sqs:'.length).split('?', 1)[0] ?? '';
  const sqs = sqsClient(QueueUrl);
  const AttributeNames = ['ApproximateNumberOfMessages', 'ApproximateNumberOfMessagesNotVisible'] as const;
  for (;;) {
    const { Attributes } = await sqs.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: [...AttributeNames] }));
    if (AttributeNames.every((name) => Number(Attributes?.[name]) === 0)) break;
    await sleep(20);
  }
  sqs.destroy();
}

/** Several sends at once, and each group's in order: the groups are dealt out to the senders. */
export async function fill(queue: Queue, entries: readonly QueueEntry[]): Promise<void> {
  const bySender = Map.groupBy(entries, (entry) => Buffer.from(entry.group).reduce((sum, byte) => sum + byte, 0) % SENDS);
  await Promise.all(
    [...bySender.values()].map(async (own) => {
      for (let at = 0; at < own.length; at += queue.capabilities.maxBatchCount) {
        const results = await queue.send(own.slice(at, at + queue.capabilities.maxBatchCount));
        const failed = results.find((result) => result.status !== 'ok');
        if (failed) throw failed.error;
      }
    }),
  );
}

export function sqsClient(queueUrl: string): SQSClient {
  return new SQSClient({
    endpoint: new URL(queueUrl).origin,
    region: 'us-east-1',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    requestHandler: { httpAgent: { keepAlive: true, maxSockets: 50 } },
  });
}

/** Full packs of `size` envelopes; up to `count` of them, as the last ones of the shards are not full. */
export function packEntries(size: number, count: number): QueueEntry[] {
  const envelopes = Array.from({ length: count * size }, () => orderEnvelope());
  return packsOf(envelopes, size)
    .filter((pack) => pack.attributes.count === String(size))
    .map(({ body, attributes, shard }) => ({ group: String(shard), deduplicationId: randomUUID(), body, attributes: { ...attributes } }));
}

/** One envelope a message, its aggregate as the group. */
export function singleEntries(count: number): QueueEntry[] {
  return Array.from({ length: count }, () => {
    const envelope = orderEnvelope();
    return { group: envelope.subject, deduplicationId: randomUUID(), body: JSON.stringify(envelope), attributes: {} };
  });
}
