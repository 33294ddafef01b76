/** The bridge's servers for one measurement: fauxqs with a filled queue, the Pub/Sub emulator with a topic, both new. */
import { randomUUID } from 'node:crypto';
import { SQSClient } from '@aws-sdk/client-sqs';
import { startLocalServers } from '../cli/local-servers/index.ts';
import { openQueue } from '../ports/queue/index.ts';
import type { Provisionable, Queue, QueueEntry } from '../ports/queue/port.ts';
import { openTopic } from '../ports/topic/index.ts';
import type { Topic } from '../ports/topic/port.ts';

export interface Servers {
  /** A queue of its own with these entries in it, and a topic of its own. */
  line(entries: readonly QueueEntry[]): Promise<Line>;
}

export interface Line {
  readonly queue: Queue & Provisionable;
  readonly topic: Topic;
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
        const queue = await openQueue(`sqs:${queueUrl}?region=us-east-1&credentials=local`);
        const topic = await openTopic(`pubsub://${projectId}/${name}?emulator=${pubsub.host}`);
        await Promise.all([queue.provision(), topic.provision()]);
        await fill(queue, entries);
        return { queue, topic, queueUrl, emulator: pubsub.host, projectId, topicId: name };
      },
    });
  } finally {
    await stop();
  }
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
