/**
 * The embedded queue: `sqlite:PATH`. One SQLite file holds one queue and its dead-letter table; a send is one
 * transaction, on the disk when it is answered.
 */
import { PortUnavailableError } from '../errors.ts';
import { type Provisionable, sqlitePath } from '../adapter.ts';
import { endOwner, isFree, newOwner } from '../sqlite/owner.ts';
import { SqliteFile } from '../sqlite/database.ts';
import { Signal } from '../sqlite/signal.ts';
import { readFaults } from '../faults.ts';
import { FaultyQueue } from './faulty.ts';
import { DEDUPLICATION_MS, MAX_IDS, RecentIds } from './recent-ids.ts';
import { bodyFault, checkReceive, checkSend, checkVisibility, SQS_CAPABILITIES } from './limits.ts';
import type { DeadLetter, HoldsDeadLetters, Queue, QueueEntry, QueueMessage, ReceiveOptions, SendResult } from './port.ts';

/** How often a waiting receive looks for what another process has sent. */
const POLL_MS = 500;
/** Dead letters shown at once. */
const DEAD_LETTERS_SHOWN = 100;
/** Receives, extensions and deletes: what is undone comes again, as a duplicate. */
const UNDOABLE = { durable: false };

/**
 * A body is in a table of its own, so that a delivery's bookkeeping does not rewrite it. A group's row lets a receive
 * pass over groups that have messages out without reading what waits in them.
 */
const TABLES = `
  CREATE TABLE IF NOT EXISTS queue_bodies (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    group_id TEXT NOT NULL,
    deduplication_id TEXT NOT NULL,
    sent_at INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    body TEXT NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS queue_messages (
    group_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    receive_count INTEGER NOT NULL DEFAULT 0,
    visible_at INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (group_id, seq)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS queue_messages_received ON queue_messages (group_id, visible_at) WHERE receive_count > 0;
  CREATE TABLE IF NOT EXISTS queue_groups (
    group_id TEXT PRIMARY KEY,
    head INTEGER NOT NULL,
    blocked_until INTEGER NOT NULL,
    owner TEXT NOT NULL DEFAULT ''
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS queue_groups_by_head ON queue_groups (head);
  CREATE TABLE IF NOT EXISTS queue_dead_letters (
    seq INTEGER PRIMARY KEY,
    group_id TEXT NOT NULL,
    body TEXT NOT NULL,
    attributes TEXT NOT NULL,
    reason TEXT NOT NULL,
    receive_count INTEGER NOT NULL,
    dead_at INTEGER NOT NULL
  ) STRICT;
`;

interface DeadLetterRow {
  readonly seq: number;
  readonly group_id: string;
  readonly body: string;
  readonly attributes: string;
  readonly reason: string;
  readonly dead_at: number;
}

/** - faults: a whole number: it misbehaves as the port allows, and this seed decides how. For tests. Default: it does not. */
export async function open(url: URL): Promise<Queue & Provisionable & HoldsDeadLetters> {
  const path = sqlitePath('queue', url);
  const faults = readFaults('queue', url);
  const queue = new SqliteQueue(SqliteFile.use(path));
  return faults ? new FaultyQueue(queue, faults) : queue;
}

class SqliteQueue implements Queue, Provisionable, HoldsDeadLetters {
  readonly capabilities = SQS_CAPABILITIES;
  readonly #file: SqliteFile;
  readonly #changed: Signal;
  readonly #closing = new AbortController();
  readonly #receives = new Set<Promise<unknown>>();
  readonly #recent: RecentIds;
  readonly #owner = newOwner();

  constructor(file: SqliteFile) {
    this.#file = file;
    this.#changed = Signal.of(file, 'queue');
    file.db.exec(TABLES);
    this.#freeGroupsOfTheDead();
    this.#recent = RecentIds.of(file, (ids) => {
      const newestFirst = file.db.prepare('SELECT group_id, deduplication_id, sent_at FROM queue_bodies ORDER BY seq DESC LIMIT ?');
      const rows: [group: string, id: string, sentAt: number][] = [];
      for (const row of newestFirst.iterate(MAX_IDS) as Iterable<{ group_id: string; deduplication_id: string; sent_at: number }>) {
        if (row.sent_at <= Date.now() - DEDUPLICATION_MS) break;
        rows.push([row.group_id, row.deduplication_id, row.sent_at]);
      }
      for (const row of rows.reverse()) ids.add(...row);
    });
  }

  async provision(): Promise<void> {}

  /** After a kill, what was out need not wait for the end of its visibility timeout. */
  #freeGroupsOfTheDead(): void {
    const now = Date.now();
    this.#file.transaction(() => {
      const blocked = this.#file.db.prepare('SELECT group_id, owner, blocked_until FROM queue_groups WHERE blocked_until > ?').all(now);
      for (const { group_id: group, owner, blocked_until: until } of blocked as {
        group_id: string;
        owner: string;
        blocked_until: number;
      }[]) {
        if (!isFree(owner, until, now)) continue;
        this.#file.db.prepare('UPDATE queue_messages SET visible_at = 0 WHERE group_id = ? AND visible_at > ?').run(group, now);
        this.#file.db.prepare('UPDATE queue_groups SET blocked_until = 0 WHERE group_id = ?').run(group);
      }
    });
  }

  async send(entries: readonly QueueEntry[]): Promise<readonly SendResult[]> {
    checkSend(entries, this.capabilities);
    if (entries.length === 0) return [];
    const added: QueueEntry[] = [];
    try {
      const now = Date.now();
      const results = await this.#file.write(() => entries.map((entry) => this.#insert(entry, now, added)));
      this.#changed.notify();
      return results;
    } catch (cause) {
      for (const entry of added) this.#recent.forget(entry.group, entry.deduplicationId);
      // A COMMIT that throws may have reached the disk.
      const error = unavailable('send', cause);
      return entries.map(() => ({ status: 'unknown', error }));
    }
  }

  #insert(entry: QueueEntry, now: number, added: QueueEntry[]): SendResult {
    const fault = bodyFault(entry.body);
    if (fault !== undefined) return { status: 'failed', error: new PortUnavailableError('queue', `the entry is refused: ${fault}`) };
    if (!this.#recent.add(entry.group, entry.deduplicationId, now)) return { status: 'ok' };
    added.push(entry);
    const seq = this.#file
      .prepare('INSERT INTO queue_bodies (group_id, deduplication_id, sent_at, attributes, body) VALUES (?, ?, ?, ?, ?)')
      .run(entry.group, entry.deduplicationId, now, JSON.stringify(entry.attributes), entry.body).lastInsertRowid;
    this.#file.prepare('INSERT INTO queue_messages (group_id, seq) VALUES (?, ?)').run(entry.group, seq);
    this.#file
      .prepare('INSERT INTO queue_groups (group_id, head, blocked_until) VALUES (?, ?, 0) ON CONFLICT DO NOTHING')
      .run(entry.group, seq);
    return { status: 'ok' };
  }

  receive(options: ReceiveOptions): Promise<readonly QueueMessage[]> {
    const receive = this.#receive(options).finally(() => this.#receives.delete(receive));
    this.#receives.add(receive);
    return receive;
  }

  async #receive(options: ReceiveOptions): Promise<readonly QueueMessage[]> {
    checkReceive(options, this.capabilities);
    const signal = options.signal ? AbortSignal.any([options.signal, this.#closing.signal]) : this.#closing.signal;
    const deadline = performance.now() + options.waitMs;
    for (;;) {
      if (signal.aborted) return [];
      const messages = await this.#attempt('receive', () => this.#take(options.maxCount, options.visibilityMs));
      const leftMs = deadline - performance.now();
      if (messages.length > 0 || leftMs <= 0) return messages;
      await this.#changed.wait(Math.min(leftMs, POLL_MS, this.#nextExpiryMs()), signal);
    }
  }

  async #take(maxCount: number, visibilityMs: number): Promise<readonly QueueMessage[]> {
    const now = Date.now();
    const freeGroups = this.#file.prepare('SELECT group_id FROM queue_groups WHERE blocked_until <= ? ORDER BY head LIMIT ?');
    // Looked at first without a write transaction: most polls find nothing.
    if (freeGroups.all(now, 1).length === 0) return [];
    return this.#file.write(() => {
      const messages: QueueMessage[] = [];
      for (const { group_id: group } of freeGroups.all(now, maxCount) as { group_id: string }[]) {
        if (messages.length === maxCount) break;
        // As many of one group as there is room for, as SQS does, so that a receiver gets runs to handle together.
        const rows = this.#file
          .prepare(
            `SELECT seq, receive_count, sent_at, body, attributes FROM queue_messages CROSS JOIN queue_bodies USING (seq)
             WHERE queue_messages.group_id = ? ORDER BY seq LIMIT ?`,
          )
          .all(group, maxCount - messages.length) as {
          seq: number;
          receive_count: number;
          sent_at: number;
          body: string;
          attributes: string;
        }[];
        const visibleAt = now + visibilityMs;
        for (const row of rows) {
          const receiveCount = row.receive_count + 1;
          this.#file
            .prepare('UPDATE queue_messages SET receive_count = ?, visible_at = ? WHERE group_id = ? AND seq = ?')
            .run(receiveCount, visibleAt, group, row.seq);
          messages.push({
            group,
            body: row.body,
            attributes: JSON.parse(row.attributes) as Record<string, string>,
            receiveCount,
            sentAt: new Date(row.sent_at).toISOString(),
            receipt: `${row.seq}:${receiveCount}`,
          });
        }
        this.#file.prepare('UPDATE queue_groups SET blocked_until = ?, owner = ? WHERE group_id = ?').run(visibleAt, this.#owner, group);
      }
      return messages;
    }, UNDOABLE);
  }

  #nextExpiryMs(): number {
    const now = Date.now();
    const { next } = this.#file.prepare('SELECT MIN(blocked_until) AS next FROM queue_groups WHERE blocked_until > ?').get(now) as {
      next: number | null;
    };
    return next === null ? Infinity : next - now;
  }

  async delete(messages: readonly QueueMessage[]): Promise<void> {
    await this.#attempt('delete', () =>
      this.#file.write(() => {
        for (const message of messages) this.#remove(message);
        this.#settle(messages);
      }, UNDOABLE),
    );
    this.#changed.notify();
  }

  /** Whether the message was there, under this receipt: a receipt of an earlier delivery removes nothing. */
  #remove(message: QueueMessage): boolean {
    const [seq, receiveCount] = readReceipt(message);
    const { changes } = this.#file
      .prepare('DELETE FROM queue_messages WHERE group_id = ? AND seq = ? AND receive_count = ?')
      .run(message.group, seq, receiveCount);
    if (changes === 0) return false;
    this.#file.prepare('DELETE FROM queue_bodies WHERE seq = ?').run(seq);
    return true;
  }

  async extend(messages: readonly QueueMessage[], visibilityMs: number): Promise<void> {
    checkVisibility(visibilityMs, this.capabilities);
    await this.#attempt('extend', () =>
      this.#file.write(() => {
        const visibleAt = visibilityMs === 0 ? 0 : Date.now() + visibilityMs;
        const update = this.#file.prepare('UPDATE queue_messages SET visible_at = ? WHERE group_id = ? AND seq = ? AND receive_count = ?');
        for (const message of messages) update.run(visibleAt, message.group, ...readReceipt(message));
        this.#settle(messages);
      }, UNDOABLE),
    );
    if (visibilityMs === 0) this.#changed.notify();
  }

  /** Writes anew what the groups' rows say of their first message and of what is out. */
  #settle(messages: readonly QueueMessage[]): void {
    const now = Date.now();
    for (const group of new Set(messages.map((message) => message.group))) {
      const { head } = this.#file.prepare('SELECT MIN(seq) AS head FROM queue_messages WHERE group_id = ?').get(group) as {
        head: number | null;
      };
      if (head === null) {
        this.#file.prepare('DELETE FROM queue_groups WHERE group_id = ?').run(group);
        continue;
      }
      const { until } = this.#file
        .prepare('SELECT MAX(visible_at) AS until FROM queue_messages WHERE group_id = ? AND receive_count > 0 AND visible_at > ?')
        .get(group, now) as { until: number | null };
      this.#file.prepare('UPDATE queue_groups SET head = ?, blocked_until = ? WHERE group_id = ?').run(head, until ?? 0, group);
    }
  }

  async deadLetter(message: QueueMessage, reason: string): Promise<void> {
    await this.#attempt('deadLetter', () =>
      this.#file.write(() => {
        if (!this.#remove(message)) return;
        this.#file
          .prepare(
            `INSERT INTO queue_dead_letters (seq, group_id, body, attributes, reason, receive_count, dead_at)
             VALUES (?, ?, ?, ?, ?, ?, ?)`,
          )
          .run(
            readReceipt(message)[0],
            message.group,
            message.body,
            JSON.stringify(message.attributes),
            reason,
            message.receiveCount,
            Date.now(),
          );
        this.#settle([message]);
      }),
    );
    this.#changed.notify();
  }

  async visitDeadLetters(judge: (letters: readonly DeadLetter[]) => Promise<readonly boolean[]>): Promise<void> {
    for (let seen = 0; ;) {
      const rows = await this.#attempt('visitDeadLetters', () =>
        this.#file
          .prepare('SELECT seq, group_id, body, attributes, reason, dead_at FROM queue_dead_letters WHERE seq > ? ORDER BY seq LIMIT ?')
          .all(seen, DEAD_LETTERS_SHOWN),
      );
      if (rows.length === 0) return;
      const letters = (rows as unknown as DeadLetterRow[]).map((row) => ({
        id: String(row.seq),
        group: row.group_id,
        body: row.body,
        attributes: JSON.parse(row.attributes) as Record<string, string>,
        reason: row.reason,
        deadAt: new Date(row.dead_at).toISOString(),
      }));
      const done = await judge(letters);
      await this.#attempt('visitDeadLetters', () =>
        this.#file.write(() => {
          const remove = this.#file.prepare('DELETE FROM queue_dead_letters WHERE seq = ?');
          letters.forEach(({ id }, i) => {
            if (done[i] === true) remove.run(Number(id));
          });
        }),
      );
      seen = Number(letters.at(-1)?.id);
    }
  }

  async ping(): Promise<void> {
    await this.#attempt('ping', () => this.#file.prepare('SELECT 1').get());
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    await Promise.allSettled(this.#receives);
    endOwner(this.#owner);
    this.#file.release();
  }

  async #attempt<T>(call: string, work: () => T | Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (cause) {
      throw unavailable(call, cause);
    }
  }
}

function readReceipt(message: QueueMessage): [seq: number, receiveCount: number] {
  const [seq, receiveCount] = message.receipt.split(':');
  return [Number(seq), Number(receiveCount)];
}

function unavailable(call: string, cause: unknown): PortUnavailableError {
  return new PortUnavailableError('queue', `${call} failed: ${(cause as Error).message}`, { cause });
}
