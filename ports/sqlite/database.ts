/**
 * A SQLite file behind embedded adapters. Every port of a thread shares one connection to it, so that
 * none waits for another's lock; a transaction runs from start to end without giving way to other code.
 */
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { SpanwayError } from '../../schemas/errors.ts';
import type { Signal } from './signal.ts';

const open = new Map<string, SqliteFile>();

interface Write {
  readonly work: () => unknown;
  readonly durable: boolean;
  readonly done: (value: unknown) => void;
  readonly failed: (error: unknown) => void;
}

export interface WriteOptions {
  /**
   * False for what may be undone by a power cut, though never by a kill: the bookkeeping of deliveries, whose loss makes
   * duplicates. It does not wait for the disk. Default true.
   */
  readonly durable?: boolean;
}

export class SqliteFile {
  readonly path: string;
  readonly db: DatabaseSync;
  /** By name: see `Signal.of`. */
  readonly signals = new Map<string, Signal>();
  readonly #statements = new Map<string, StatementSync>();
  #users = 0;
  #writes: Write[] = [];
  /** Of the connection, as it is set now. */
  #durable = true;

  private constructor(path: string) {
    this.path = path;
    this.db = new DatabaseSync(path, { timeout: 5000, enableForeignKeyConstraints: true });
    // WAL with FULL: a commit is on the disk when it returns (https://www.sqlite.org/pragma.html#pragma_synchronous).
    // With NORMAL it is with the system, which a kill does not touch, and a power cut undoes no earlier one before it.
    // Random keys touch many pages again and again: a log of 64 MiB writes each of them to its place once, not at each batch.
    this.db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 16384;');
  }

  /** Every `use` needs its `release`. */
  static use(path: string): SqliteFile {
    let file = open.get(path);
    if (!file) {
      try {
        mkdirSync(dirname(path), { recursive: true });
        file = new SqliteFile(path);
      } catch (cause) {
        throw new SpanwayError(
          'sqlite_open',
          `cannot open ${path}: ${(cause as Error).message}. Check that the folder is there, can be written and has room.`,
          { context: { path }, cause },
        );
      }
      open.set(path, file);
    }
    file.#users += 1;
    return file;
  }

  release(): void {
    this.#users -= 1;
    if (this.#users > 0) return;
    if (this.#writes.length > 0) this.#writeAll();
    open.delete(this.path);
    this.#statements.clear();
    for (const signal of this.signals.values()) signal.close();
    this.db.close();
  }

  /** The prepared statement for this text, made once. */
  prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (!statement) {
      statement = this.db.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  /**
   * Runs `work` in a write transaction with what else is to be written in this turn of the event loop, so that all the
   * ports together wait for the disk once. Resolves when it is there. What `work` throws undoes it alone, and rejects.
   */
  write<T>(work: () => T, { durable = true }: WriteOptions = {}): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#writes.push({ work, durable, done: resolve as (value: unknown) => void, failed: reject });
      if (this.#writes.length === 1) setImmediate(() => this.#writeAll());
    });
  }

  #writeAll(): void {
    const writes = this.#writes;
    this.#writes = [];
    const settle: (() => void)[] = [];
    const durable = writes.some((write) => write.durable);
    const all = (): void => {
      for (const { work, done, failed } of writes) {
        this.prepare('SAVEPOINT one').run();
        try {
          const value = work();
          settle.push(() => done(value));
        } catch (error) {
          // A full disk undoes the whole transaction by itself: https://www.sqlite.org/lang_transaction.html
          if (!this.db.isTransaction) throw error;
          this.prepare('ROLLBACK TO one').run();
          settle.push(() => failed(error));
        }
        this.prepare('RELEASE one').run();
      }
    };
    try {
      this.transaction(all, { durable });
    } catch (error) {
      for (const { failed } of writes) failed(error);
      return;
    }
    for (const tell of settle) tell();
  }

  /** Runs `work` in one write transaction. It must not be async. */
  transaction<T>(work: () => T, { durable = true }: WriteOptions = {}): T {
    if (durable !== this.#durable) {
      this.db.exec(`PRAGMA synchronous = ${durable ? 'FULL' : 'NORMAL'}`);
      this.#durable = durable;
    }
    this.db.exec('BEGIN IMMEDIATE');
    try {
      const result = work();
      this.db.exec('COMMIT');
      return result;
    } catch (error) {
      if (this.db.isTransaction) this.db.exec('ROLLBACK');
      throw error;
    }
  }
}
