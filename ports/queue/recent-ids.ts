/**
 * The deduplication ids of the last five minutes, as the embedded queue keeps them: in memory, since a table with such
 * random keys would make each send rewrite ten pages. An id that was forgotten makes a duplicate, which the port allows.
 */
import type { SqliteFile } from '../sqlite/database.ts';

/** https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-exactly-once-processing.html */
export const DEDUPLICATION_MS = 5 * 60 * 1000;
/** About 20 MB of ids; beyond it the oldest are forgotten early. */
export const MAX_IDS = 100_000;

const ofFile = new WeakMap<SqliteFile, RecentIds>();

export class RecentIds {
  /** By time of sending, the oldest first. */
  readonly #sentAt = new Map<string, number>();

  /** Those that all users of the file share; `load` fills them when they are first asked for. */
  static of(file: SqliteFile, load: (ids: RecentIds) => void): RecentIds {
    let ids = ofFile.get(file);
    if (!ids) {
      ids = new RecentIds();
      ofFile.set(file, ids);
      load(ids);
    }
    return ids;
  }

  /** Whether the id is new within five minutes. The scope is the group, as in SQS's high-throughput mode. */
  add(group: string, id: string, now: number): boolean {
    const key = `${group} ${id}`;
    const sentAt = this.#sentAt.get(key);
    if (sentAt !== undefined && now - sentAt < DEDUPLICATION_MS) return false;
    this.#sentAt.delete(key);
    this.#sentAt.set(key, now);
    for (const [oldest, at] of this.#sentAt) {
      if (this.#sentAt.size <= MAX_IDS && now - at < DEDUPLICATION_MS) break;
      this.#sentAt.delete(oldest);
    }
    return true;
  }

  forget(group: string, id: string): void {
    this.#sentAt.delete(`${group} ${id}`);
  }
}
