/** The embedded jobs: `sqlite:PATH`. A row a job; who runs it holds a lease on the row, which it extends. */
import { randomUUID } from 'node:crypto';
import { sqlitePath } from '../adapter.ts';
import { PortUnavailableError } from '../errors.ts';
import { SqliteFile } from '../sqlite/database.ts';
import { endOwner, isFree, newOwner } from '../sqlite/owner.ts';
import { Signal } from '../sqlite/signal.ts';
import type { Job, Jobs, JobState, JobWorker, RunningWorker, Wish } from './port.ts';

const TABLE = `
  CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    spec TEXT NOT NULL,
    state TEXT NOT NULL,
    wish TEXT,
    progress TEXT,
    error TEXT,
    owner TEXT NOT NULL DEFAULT '',
    lease_until INTEGER NOT NULL DEFAULT 0,
    added_at INTEGER NOT NULL,
    ended_at INTEGER
  ) STRICT;
  CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, seq);
`;

const LEASE_MS = 10_000;
/** How often a run extends its lease and looks for wishes, and an idle worker for jobs of other processes. */
const LOOK_MS = 500;
const KEPT_MS = 30 * 86_400_000;

interface Row {
  readonly id: string;
  readonly spec: string;
  readonly state: JobState;
  readonly wish: Wish | null;
  readonly progress: string | null;
  readonly error: string | null;
  readonly owner: string;
  readonly lease_until: number;
  readonly added_at: number;
  readonly ended_at: number | null;
}

export function open(url: URL): Promise<Jobs> {
  return Promise.resolve(new SqliteJobs(SqliteFile.use(sqlitePath('jobs', url))));
}

class SqliteJobs implements Jobs {
  readonly #file: SqliteFile;
  readonly #changed: Signal;

  constructor(file: SqliteFile) {
    this.#file = file;
    this.#changed = Signal.of(file, 'jobs');
    file.db.exec(TABLE);
  }

  async add(spec: unknown): Promise<string> {
    const id = randomUUID();
    await this.#write('add', () => {
      const now = Date.now();
      this.#file.prepare('DELETE FROM jobs WHERE ended_at < ?').run(now - KEPT_MS);
      this.#file.prepare("INSERT INTO jobs (id, spec, state, added_at) VALUES (?, ?, 'waiting', ?)").run(id, JSON.stringify(spec), now);
    });
    this.#changed.notify();
    return id;
  }

  async get(id: string): Promise<Job | undefined> {
    const row = await this.#attempt('get', () => this.#row(id));
    return row && jobOf(row);
  }

  async list(limit: number): Promise<readonly Job[]> {
    const rows = await this.#attempt('list', () => this.#file.prepare('SELECT * FROM jobs ORDER BY seq DESC LIMIT ?').all(limit));
    return (rows as unknown as Row[]).map(jobOf);
  }

  async steer(id: string, wish: Wish): Promise<void> {
    await this.#write('steer', () => {
      const row = this.#row(id);
      if (!row || row.ended_at !== null || row.wish === 'cancel') return;
      // A run under way sees the wish, and changes the state when it has ended.
      if (row.state === 'active') this.#file.prepare('UPDATE jobs SET wish = ? WHERE id = ?').run(wish, id);
      else this.#settle(id, wish);
    });
    this.#changed.notify();
  }

  work(worker: JobWorker): RunningWorker {
    const stopping = new AbortController();
    const runners = Array.from({ length: worker.concurrency }, () => this.#runLoop(worker, stopping.signal));
    return {
      stop: async () => {
        stopping.abort(new Error('the worker is stopping'));
        await Promise.all(runners);
      },
    };
  }

  async #runLoop(worker: JobWorker, stopping: AbortSignal): Promise<void> {
    const owner = newOwner();
    while (!stopping.aborted) {
      try {
        const row = await this.#write('claim', () => this.#claim(owner));
        if (row) await this.#run(worker, row, owner, stopping);
        else await this.#changed.wait(LOOK_MS, stopping);
      } catch (error) {
        worker.onError(error as Error);
        await this.#changed.wait(LOOK_MS, stopping);
      }
    }
    endOwner(owner);
  }

  /** The oldest job that waits, or whose worker is dead. */
  #claim(owner: string): Row | undefined {
    const now = Date.now();
    const rows = this.#file.prepare("SELECT * FROM jobs WHERE state IN ('waiting', 'active') ORDER BY seq").all() as unknown as Row[];
    for (const row of rows) {
      if (row.state === 'active' && !isFree(row.owner, row.lease_until, now)) continue;
      if (row.wish === 'pause' || row.wish === 'cancel') {
        this.#settle(row.id, row.wish);
        continue;
      }
      this.#file
        .prepare("UPDATE jobs SET state = 'active', wish = NULL, owner = ?, lease_until = ? WHERE id = ?")
        .run(owner, now + LEASE_MS, row.id);
      return row;
    }
    return undefined;
  }

  async #run({ run }: JobWorker, { id, spec, progress }: Row, owner: string, stopping: AbortSignal): Promise<void> {
    const ending = new AbortController();
    const stop = (): void => ending.abort(stopping.reason);
    stopping.addEventListener('abort', stop, { once: true });
    if (stopping.aborted) stop();
    const look = (): void => {
      this.#write('extend', () => {
        const row = this.#owned(id, owner);
        if (!row) ending.abort(new Error('the job has another worker by now'));
        else if (row.wish === 'pause' || row.wish === 'cancel') ending.abort(new Error(`the job is asked to ${row.wish}`));
        else this.#file.prepare('UPDATE jobs SET lease_until = ? WHERE id = ?').run(Date.now() + LEASE_MS, id);
      }).catch(() => undefined);
    };
    const timer = setInterval(look, LOOK_MS);
    const unlisten = this.#changed.listen(look);
    let failure: Error | undefined;
    try {
      await run({
        id,
        spec: JSON.parse(spec),
        ...(progress === null ? {} : { progress: JSON.parse(progress) as unknown }),
        signal: ending.signal,
        save: async (value) => {
          const saved = await this.#write('save', () => {
            if (!this.#owned(id, owner)) return false;
            const text = JSON.stringify(value);
            this.#file.prepare('UPDATE jobs SET progress = ?, lease_until = ? WHERE id = ?').run(text, Date.now() + LEASE_MS, id);
            return true;
          });
          if (!saved) ending.abort(new Error('the job has another worker by now'));
          ending.signal.throwIfAborted();
        },
      });
    } catch (error) {
      failure = error as Error;
    } finally {
      clearInterval(timer);
      unlisten();
      stopping.removeEventListener('abort', stop);
    }
    await this.#write('end', () => {
      const row = this.#owned(id, owner);
      if (!row) return;
      if (failure === undefined) this.#end(id, 'completed');
      else if (row.wish === 'pause' || row.wish === 'cancel') this.#settle(id, row.wish);
      else if (ending.signal.aborted) this.#settle(id, 'resume');
      else this.#end(id, 'failed', failure.message);
    });
    this.#changed.notify();
  }

  /** A job that nobody runs, as it is wished. */
  #settle(id: string, wish: Wish): void {
    if (wish === 'cancel') this.#end(id, 'cancelled');
    else
      this.#file
        .prepare("UPDATE jobs SET state = ?, wish = NULL, owner = '' WHERE id = ?")
        .run(wish === 'pause' ? 'paused' : 'waiting', id);
  }

  #end(id: string, state: JobState, error: string | null = null): void {
    this.#file
      .prepare("UPDATE jobs SET state = ?, error = ?, ended_at = ?, wish = NULL, owner = '' WHERE id = ?")
      .run(state, error, Date.now(), id);
  }

  #row(id: string): Row | undefined {
    return this.#file.prepare('SELECT * FROM jobs WHERE id = ?').get(id) as unknown as Row | undefined;
  }

  #owned(id: string, owner: string): Row | undefined {
    const row = this.#row(id);
    return row?.state === 'active' && row.owner === owner ? row : undefined;
  }

  async ping(): Promise<void> {
    await this.#attempt('ping', () => this.#file.prepare('SELECT 1').get());
  }

  close(): Promise<void> {
    this.#file.release();
    return Promise.resolve();
  }

  #write<T>(call: string, work: () => T): Promise<T> {
    return this.#attempt(call, () => this.#file.write(work));
  }

  async #attempt<T>(call: string, work: () => T | Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (cause) {
      throw new PortUnavailableError('jobs', `${call} failed: ${(cause as Error).message}`, { cause });
    }
  }
}

function jobOf({ id, spec, state, progress, error, added_at: addedAt, ended_at: endedAt }: Row): Job {
  return {
    id,
    spec: JSON.parse(spec),
    state,
    ...(progress === null ? {} : { progress: JSON.parse(progress) as unknown }),
    ...(error === null ? {} : { error }),
    addedAt: new Date(addedAt).toISOString(),
    ...(endedAt === null ? {} : { endedAt: new Date(endedAt).toISOString() }),
  };
}
