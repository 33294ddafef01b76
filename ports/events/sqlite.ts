/** Outcomes as rows of a table: `sqlite:PATH`. For a laptop and tests, which read them back with `list`. */
import { type Provisionable, sqlitePath } from '../adapter.ts';
import { PortUnavailableError } from '../errors.ts';
import { SqliteFile } from '../sqlite/database.ts';
import type { Events, OutcomeEvent } from './port.ts';

/** `position` is the order of arrival; it never comes twice, even if rows are deleted. */
const TABLE = `
  CREATE TABLE IF NOT EXISTS spanway_events (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    event TEXT NOT NULL
  ) STRICT`;

export interface ListedEvent {
  /** To go on from: the `after` of the next `list`. */
  readonly position: number;
  readonly event: OutcomeEvent;
}

export function openSqliteEvents(url: URL): SqliteEvents {
  const path = sqlitePath('events', url);
  return new SqliteEvents(SqliteFile.use(path));
}

export class SqliteEvents implements Events, Provisionable {
  readonly #file: SqliteFile;
  #closed = false;

  constructor(file: SqliteFile) {
    this.#file = file;
    file.db.exec(TABLE);
  }

  send(events: readonly OutcomeEvent[]): Promise<void> {
    return this.#attempt(`${events.length} of ${events.length} events were not written`, () => {
      if (events.length === 0) return undefined;
      return this.#file.write(() => {
        // A repeat changes nothing: an id stands for one outcome, so the first sending says all.
        const insert = this.#file.prepare('INSERT INTO spanway_events (id, event) VALUES (?, ?) ON CONFLICT (id) DO NOTHING');
        for (const event of events) insert.run(event.id, JSON.stringify(event));
      });
    });
  }

  /** Events in the order of their arrival, from the one that follows `after` (default: the first). */
  list(options: { readonly after?: number; readonly limit: number }): Promise<readonly ListedEvent[]> {
    return this.#attempt('the events could not be read', () =>
      this.#file
        .prepare('SELECT position, event FROM spanway_events WHERE position > ? ORDER BY position LIMIT ?')
        .all(options.after ?? 0, options.limit)
        .map((row) => ({ position: Number(row['position']), event: JSON.parse(String(row['event'])) as OutcomeEvent })),
    );
  }

  ping(): Promise<void> {
    return this.#attempt('the file cannot be read', () => void this.#file.prepare('SELECT 1 FROM spanway_events LIMIT 1').all());
  }

  /** The table is there since it was opened. */
  provision(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    if (!this.#closed) this.#file.release();
    this.#closed = true;
    return Promise.resolve();
  }

  async #attempt<T>(failed: string, work: () => T | Promise<T>): Promise<T> {
    try {
      if (this.#closed) throw new Error('it is closed');
      return await Promise.resolve(work());
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new PortUnavailableError('events', `${failed}: ${why}`, { context: { path: this.#file.path }, cause });
    }
  }
}
