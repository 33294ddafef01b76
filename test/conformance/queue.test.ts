/** The queue suite on every adapter. */
import { randomUUID } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import { openQueue } from '../../ports/queue/index.ts';
import { openQueueSender } from '../../ports/queue/sender.ts';
import { bound } from '../fixtures/queues.ts';
import { describeWithServer } from '../servers.ts';
import { makeTemporaryFolder } from '../temp.ts';
import { queueConformance, type QueueFixture } from './queue.ts';

async function onSqlite(openAt: (url: string) => ReturnType<typeof openQueue>): Promise<QueueFixture> {
  const folder = await makeTemporaryFolder();
  const path = join(folder.path, 'queue.db');
  const open = () => openAt(`sqlite:${path}`);
  const queue = await open();
  return {
    queue,
    open,
    async deadLetters() {
      const db = new DatabaseSync(path);
      const rows = db.prepare('SELECT body, reason, attributes FROM queue_dead_letters ORDER BY seq').all();
      db.close();
      return rows.map((row) => ({
        body: String(row['body']),
        reason: String(row['reason']),
        attributes: JSON.parse(String(row['attributes'])),
      }));
    },
    async remove() {
      await queue.close();
      await folder.remove();
    },
  };
}

async function withSender(url: string): ReturnType<typeof openQueue> {
  const queue = await openQueue(url);
  const sender = await openQueueSender(url);
  return {
    ...bound(queue),
    provision: () => queue.provision(),
    visitDeadLetters: (judge) => queue.visitDeadLetters(judge),
    send: (entries) => sender.send(entries),
    ping: () => sender.ping(),
    async close() {
      await sender.close();
      await queue.close();
    },
  };
}

const SQLITE_TRAITS = { severalOfAGroup: true, astralCharacters: true };
queueConformance('sqlite', () => onSqlite(openQueue), SQLITE_TRAITS);
queueConformance('sqlite, its sends in a thread', () => onSqlite(withSender), SQLITE_TRAITS);

describeWithServer('sqs', 'on fauxqs', ({ sqs }) => {
  queueConformance(
    'sqs',
    async () => {
      const id = `test-${randomUUID()}`;
      const open = (name = `${id}.fifo`) => openQueue(`sqs:${sqs.endpoint}/000000000000/${name}?region=us-east-1&credentials=local`);
      const queue = await open();
      return {
        queue,
        open,
        async deadLetters() {
          const letters = await open(`${id}-dlq.fifo`);
          try {
            const messages = await letters.receive({ maxCount: 10, waitMs: 1_000, visibilityMs: 60_000 });
            return messages.map(({ body, attributes: { spanwayReason: reason, ...attributes } }) => ({
              body,
              reason: reason!,
              attributes,
            }));
          } finally {
            await letters.close();
          }
        },
        remove: () => queue.close(),
      };
    },
    // SQS hands out several, and takes every character of XML; fauxqs 2.4 neither.
    { severalOfAGroup: false, astralCharacters: false },
  );
});
