/**
 * The embedded topic: `sqlite:PATH?topic=NAME&subscription=NAME`. Each subscription has its own copy of a message,
 * which an ack deletes. A publish is one transaction, on the disk when it resolves.
 */
import { sqlitePath } from '../adapter.ts';
import { PortUnavailableError } from '../errors.ts';
import { readFaults } from '../faults.ts';
import { SqliteFile } from '../sqlite/database.ts';
import { Signal } from '../sqlite/signal.ts';
import { FaultyTopic } from './faulty.ts';
import { checkPublish, PUBSUB_CAPABILITIES } from './limits.ts';
import type { Publisher, Topic, TopicMessage } from './port.ts';
import { signalName, SqliteSubscriber } from './sqlite-subscriber.ts';

const DEFAULT_TOPIC = 'spanway';

/**
 * A key's row holds all that changes while its messages are out, so that no message is ever rewritten:
 * - next: the first message not handed out yet, null if there is none.
 * - high: the last one that was ever handed out; up to it, a delivery is a redelivery.
 * - resets: how often the key went back to a message that was out.
 * - owner, lease_until: the subscriber that alone is handed the key's messages, and until when.
 */
const TABLES = `
  CREATE TABLE IF NOT EXISTS topic_subscriptions (
    id INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (topic, name)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS topic_messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    subscription INTEGER NOT NULL,
    key TEXT NOT NULL,
    attributes TEXT NOT NULL,
    data BLOB NOT NULL
  ) STRICT;
  CREATE INDEX IF NOT EXISTS topic_messages_by_key ON topic_messages (subscription, key, seq);
  CREATE TABLE IF NOT EXISTS topic_keys (
    subscription INTEGER NOT NULL,
    key TEXT NOT NULL,
    next INTEGER,
    high INTEGER NOT NULL DEFAULT 0,
    resets INTEGER NOT NULL DEFAULT 0,
    owner TEXT,
    lease_until INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (subscription, key)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS topic_keys_by_next ON topic_keys (subscription, next);
`;

/**
 * - topic: default `spanway`.
 * - subscription: default the topic's name and `-applier`. Made when the URL is opened; it gets what is published later.
 * - faults: a whole number: it misbehaves as the port allows, and this seed decides how. For tests. Default: it does not.
 */
export async function open(url: URL): Promise<Topic> {
  const path = sqlitePath('topic', url);
  const topic = url.searchParams.get('topic') ?? DEFAULT_TOPIC;
  const name = url.searchParams.get('subscription') ?? `${topic}-applier`;
  const faults = readFaults('topic', url);
  const file = SqliteFile.use(path);
  try {
    file.db.exec(TABLES);
    file.prepare('INSERT INTO topic_subscriptions (topic, name) VALUES (?, ?) ON CONFLICT DO NOTHING').run(topic, name);
    const { id } = file.prepare('SELECT id FROM topic_subscriptions WHERE topic = ? AND name = ?').get(topic, name) as { id: number };
    const embedded: Topic = {
      publisher: () => new SqlitePublisher(SqliteFile.use(path), topic),
      subscriber: () => new SqliteSubscriber(SqliteFile.use(path), id),
      provision: async () => {},
    };
    return faults ? new FaultyTopic(embedded, faults) : embedded;
  } finally {
    file.release();
  }
}

class SqlitePublisher implements Publisher {
  readonly capabilities = PUBSUB_CAPABILITIES;
  readonly #file: SqliteFile;
  readonly #topic: string;
  #closed = false;

  constructor(file: SqliteFile, topic: string) {
    this.#file = file;
    this.#topic = topic;
  }

  async publish(key: string, messages: readonly TopicMessage[]): Promise<void> {
    checkPublish(key, messages, this.capabilities);
    if (messages.length === 0) return;
    let subscriptions: { id: number }[];
    try {
      subscriptions = await this.#file.write(() => {
        const found = this.#file.prepare('SELECT id FROM topic_subscriptions WHERE topic = ?').all(this.#topic) as { id: number }[];
        for (const { id } of found) this.#insert(id, key, messages);
        return found;
      });
    } catch (cause) {
      throw new PortUnavailableError('topic', `publish failed: ${(cause as Error).message}`, { context: { key }, cause });
    }
    for (const { id } of subscriptions) Signal.of(this.#file, signalName(id)).notify();
  }

  #insert(subscription: number, key: string, messages: readonly TopicMessage[]): void {
    const insert = this.#file.prepare('INSERT INTO topic_messages (subscription, key, attributes, data) VALUES (?, ?, ?, ?)');
    const seqs = messages.map((message) => insert.run(subscription, key, JSON.stringify(message.attributes), message.data).lastInsertRowid);
    this.#file
      .prepare(
        `INSERT INTO topic_keys (subscription, key, next) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET next = ?3 WHERE next IS NULL`,
      )
      .run(subscription, key, seqs[0] ?? null);
  }

  async ping(): Promise<void> {
    try {
      this.#file.prepare('SELECT 1').get();
    } catch (cause) {
      throw new PortUnavailableError('topic', `ping failed: ${(cause as Error).message}`, { cause });
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#file.release();
  }
}
