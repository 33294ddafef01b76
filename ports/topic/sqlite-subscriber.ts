/**
 * A subscriber of the embedded topic. It holds keys, not messages: while any message of a key is out, the key's later
 * ones go to the same subscriber. Acks, nacks and new claims of one tick of the event loop share a transaction.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { PortUnavailableError } from '../errors.ts';
import type { SqliteFile } from '../sqlite/database.ts';
import { Outstanding } from './limits.ts';
import type { Delivery, Subscriber, SubscriberLimits } from './port.ts';
import { endOwner, isFree, newOwner } from '../sqlite/owner.ts';
import { Signal } from '../sqlite/signal.ts';

/** A key of a holder that can no longer extend its lease is anybody's after this. */
const LEASE_MS = 10_000;
const EXTEND_MS = 3_000;
/** How often it looks for what other processes did: publishes, leases that ran out. Also the pause after a failure. */
const POLL_MS = 500;
/** Claims, acks and leases: what is undone comes again, as a duplicate. */
const UNDOABLE = { durable: false };
/** Keys looked at in one turn. */
const KEYS_PER_TURN = 64;

/** A message that is out. `settled` once it is acked, nacked, or no longer this subscriber's to answer for. */
interface Out {
  readonly key: string;
  readonly seq: number;
  readonly bytes: number;
  settled: boolean;
}

interface KeyRow {
  readonly key: string;
  readonly next: number;
  readonly high: number;
  readonly resets: number;
}

interface Claimed {
  readonly out: Out;
  readonly row: MessageRow;
  readonly attempt: number;
}

interface MessageRow {
  readonly seq: number;
  readonly attributes: string;
  readonly data: Uint8Array;
  readonly published_at: number | null;
}

/** Of the signal that messages of the subscription can be handed out. */
export function signalName(subscription: number): string {
  return `topic ${subscription}`;
}

export class SqliteSubscriber implements Subscriber {
  readonly #file: SqliteFile;
  readonly #subscription: number;
  readonly #signal: Signal;
  readonly #owner = newOwner();
  /** By key, in order. */
  readonly #out = new Map<string, Map<number, Out>>();
  #acked: Out[] = [];
  /** By key, the first message to hand out again. */
  #nacked = new Map<string, number>();
  #outstanding: Outstanding | undefined;
  #handler: ((delivery: Delivery) => void) | undefined;
  #report: (error: Error) => void = () => {};
  #turnIsDue: NodeJS.Immediate | undefined;
  #poll: NodeJS.Timeout | undefined;
  #unlisten = () => {};
  #extendedAt = 0;
  #paused = false;
  #stopping: Promise<void> | undefined;

  constructor(file: SqliteFile, subscription: number) {
    this.#file = file;
    this.#subscription = subscription;
    this.#signal = Signal.of(file, signalName(subscription));
  }

  onError(listener: (error: Error) => void): void {
    this.#report = listener;
  }

  start(handler: (delivery: Delivery) => void, limits: SubscriberLimits): void {
    if (this.#handler || this.#stopping) throw new Error('a subscriber is started once');
    this.#handler = handler;
    this.#outstanding = new Outstanding(limits);
    this.#extendedAt = performance.now();
    this.#unlisten = this.#signal.listen(() => this.#turnSoon());
    this.#poll = setInterval(() => this.#pollNow(), POLL_MS);
    this.#pollNow();
  }

  #turnSoon(): void {
    if (this.#stopping) return;
    this.#turnIsDue ??= setImmediate(() => {
      this.#turnIsDue = undefined;
      // What failed stays noted, and the next poll tries it again.
      this.#guard('a turn', () => this.#turn());
    });
  }

  #pollNow(): void {
    this.#guard('a poll', () => {
      if (performance.now() - this.#extendedAt >= EXTEND_MS) this.#extend();
      this.#reclaim();
      this.#turnSoon();
    });
  }

  #guard(what: string, work: () => void): boolean {
    try {
      work();
      return true;
    } catch (cause) {
      this.#report(new PortUnavailableError('topic', `${what} of the subscriber failed: ${(cause as Error).message}`, { cause }));
      return false;
    }
  }

  /** Writes what was acked and nacked, claims what there is room for, and hands it out. */
  #turn(): void {
    const acked = this.#acked;
    const nacked = this.#nacked;
    const claiming = !this.#stopping;
    if (acked.length === 0 && nacked.size === 0 && !(claiming && this.#claimable().length > 0)) return;

    const claimed: Claimed[] = [];
    let written: { released: boolean; more: boolean };
    try {
      written = this.#file.transaction(() => {
        const released = this.#settleAll(acked, nacked);
        return { released, more: claiming && this.#claimAll(claimed) };
      }, UNDOABLE);
    } catch (error) {
      for (const { out } of claimed) this.#outstanding?.remove(out.bytes);
      throw error;
    }
    // Nothing acks or nacks while a transaction runs, so these are the same that it has written.
    this.#acked = [];
    this.#nacked = new Map();
    for (const { out } of claimed) {
      const ofKey = this.#out.get(out.key) ?? new Map<number, Out>();
      this.#out.set(out.key, ofKey.set(out.seq, out));
    }
    // Including this one's own: what it nacked is to be handed out again.
    if (written.released) this.#signal.notify();
    if (written.more || nacked.size > 0) this.#turnSoon();
    for (const { out, row, attempt } of claimed) this.#handOut(out, row, attempt);
  }

  /** Writes acks and nacks, and lets go of keys of which nothing is out any more. Whether another may go on with one. */
  #settleAll(acked: readonly Out[], nacked: ReadonlyMap<string, number>): boolean {
    for (const { seq } of acked) this.#file.prepare('DELETE FROM topic_messages WHERE seq = ?').run(seq);
    for (const [key, seq] of nacked) {
      this.#file
        .prepare('UPDATE topic_keys SET next = ?, resets = resets + 1 WHERE subscription = ? AND key = ? AND owner = ?')
        .run(seq, this.#subscription, key, this.#owner);
    }
    const touched = new Set([...acked.map((out) => out.key), ...nacked.keys()]);
    return [...touched].filter((key) => !this.#out.has(key) && this.#release(key)).length > 0;
  }

  /** Whether more could be claimed. */
  #claimAll(claimed: Claimed[]): boolean {
    const keys = this.#claimable();
    // Each of the process's subscribers leaves some to the others.
    const share = Math.ceil(keys.length / Math.max(1, this.#signal.size));
    const cut = keys.slice(0, share).filter((key) => this.#claim(key, claimed));
    return claimed.length > 0 && (cut.length > 0 || share < keys.length);
  }

  /** Keys with something to hand out that no other subscriber holds; none when there is no room. */
  #claimable(): KeyRow[] {
    if (this.#paused || !this.#outstanding?.hasRoom(0)) return [];
    return this.#file
      .prepare(
        `SELECT key, next, high, resets FROM topic_keys
         WHERE subscription = ? AND next IS NOT NULL AND (owner IS NULL OR owner = ?) ORDER BY next LIMIT ?`,
      )
      .all(this.#subscription, this.#owner, KEYS_PER_TURN) as unknown as KeyRow[];
  }

  /** Claims the key's messages while there is room. Whether some were left. */
  #claim(key: KeyRow, claimed: Claimed[]): boolean {
    const rows = this.#file
      .prepare(
        'SELECT seq, attributes, data, published_at FROM topic_messages WHERE subscription = ? AND key = ? AND seq >= ? ORDER BY seq',
      )
      .iterate(this.#subscription, key.key, key.next) as Iterable<unknown> as Iterable<MessageRow>;
    const resets = key.next > key.high ? 0 : key.resets;
    let high = key.high;
    let next: number | null = null;
    let count = 0;
    for (const row of rows) {
      const bytes = row.data.length + Buffer.byteLength(row.attributes);
      if (!this.#outstanding?.hasRoom(bytes)) {
        next = row.seq;
        break;
      }
      this.#outstanding.add(bytes);
      count += 1;
      claimed.push({ out: { key: key.key, seq: row.seq, bytes, settled: false }, row, attempt: row.seq <= key.high ? resets + 1 : 1 });
      high = Math.max(high, row.seq);
    }
    if (count === 0 && next !== null) return false;
    this.#file
      .prepare('UPDATE topic_keys SET next = ?, high = ?, resets = ?, owner = ?, lease_until = ? WHERE subscription = ? AND key = ?')
      .run(next, high, resets, this.#owner, Date.now() + LEASE_MS, this.#subscription, key.key);
    // Acked late by one that had lost the key.
    if (count === 0 && !this.#out.has(key.key)) this.#release(key.key);
    return next !== null;
  }

  #handOut(out: Out, row: MessageRow, attempt: number): void {
    // A handler that ran before this one may have nacked, or stopped it all.
    if (out.settled || this.#stopping) return;
    const delivery: Delivery = {
      key: out.key,
      data: Buffer.from(row.data.buffer, row.data.byteOffset, row.data.byteLength),
      attributes: JSON.parse(row.attributes) as Record<string, string>,
      attempt,
      ...(row.published_at === null ? {} : { publishedAt: new Date(row.published_at).toISOString() }),
      ack: () => {
        if (out.settled) return;
        this.#settle(out);
        this.#acked.push(out);
        this.#turnSoon();
      },
      nack: () => this.#nack(out),
    };
    try {
      this.#handler?.(delivery);
    } catch (error) {
      this.#report(error as Error);
      this.#nack(out);
    }
  }

  /** The key's later ones that are out come again behind it, so an ack for one of them no longer counts. */
  #nack(out: Out): void {
    if (out.settled) return;
    for (const later of [...(this.#out.get(out.key)?.values() ?? [])]) if (later.seq >= out.seq) this.#settle(later);
    this.#nacked.set(out.key, Math.min(out.seq, this.#nacked.get(out.key) ?? Infinity));
    this.#turnSoon();
  }

  #settle(out: Out): void {
    out.settled = true;
    this.#outstanding?.remove(out.bytes);
    const ofKey = this.#out.get(out.key);
    ofKey?.delete(out.seq);
    if (ofKey?.size === 0) this.#out.delete(out.key);
  }

  /** Lets go of a key of which nothing is out here. Whether it has messages for somebody else. */
  #release(key: string): boolean {
    const left = this.#file
      .prepare('SELECT MIN(seq) AS seq FROM topic_messages WHERE subscription = ? AND key = ?')
      .get(this.#subscription, key) as { seq: number | null };
    if (left.seq === null)
      this.#file
        .prepare('DELETE FROM topic_keys WHERE subscription = ? AND key = ? AND owner = ?')
        .run(this.#subscription, key, this.#owner);
    else
      this.#file
        .prepare('UPDATE topic_keys SET owner = NULL WHERE subscription = ? AND key = ? AND owner = ?')
        .run(this.#subscription, key, this.#owner);
    return left.seq !== null;
  }

  /** Extends the leases, and forgets the keys that others took because a lease had run out (a stalled process). */
  #extend(): void {
    this.#extendedAt = performance.now();
    if (this.#out.size === 0) return;
    const lost = this.#file.transaction(() => {
      const until = Date.now() + LEASE_MS;
      const extend = this.#file.prepare('UPDATE topic_keys SET lease_until = ? WHERE subscription = ? AND key = ? AND owner = ?');
      return [...this.#out].filter(([key]) => extend.run(until, this.#subscription, key, this.#owner).changes === 0);
    }, UNDOABLE);
    for (const [, ofKey] of lost) for (const out of [...ofKey.values()]) this.#settle(out);
  }

  /** Frees the keys of subscribers that have died, from their first message on. */
  #reclaim(): void {
    const rows = this.#file
      .prepare('SELECT key, owner, lease_until FROM topic_keys WHERE subscription = ? AND owner IS NOT NULL')
      .all(this.#subscription) as { key: string; owner: string; lease_until: number }[];
    const now = Date.now();
    const free = rows.filter(({ key, owner, lease_until: until }) => {
      // One of its own is left over when a claim was written although its commit failed.
      if (owner === this.#owner) return until <= now && !this.#out.has(key);
      return isFree(owner, until, now);
    });
    if (free.length === 0) return;
    this.#file.transaction(() => {
      for (const { key, owner } of free)
        this.#file
          .prepare(
            `UPDATE topic_keys SET owner = NULL, resets = resets + 1,
               next = (SELECT MIN(seq) FROM topic_messages m WHERE m.subscription = topic_keys.subscription AND m.key = topic_keys.key)
             WHERE subscription = ? AND key = ? AND owner = ?`,
          )
          .run(this.#subscription, key, owner);
    });
    this.#signal.notify();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#turnSoon();
  }

  async ping(): Promise<void> {
    try {
      this.#file.prepare('SELECT 1').get();
    } catch (cause) {
      throw new PortUnavailableError('topic', `ping failed: ${(cause as Error).message}`, { cause });
    }
  }

  stop(deadlineMs: number): Promise<void> {
    return (this.#stopping ??= this.#stop(performance.now() + deadlineMs));
  }

  async #stop(deadline: number): Promise<void> {
    clearInterval(this.#poll);
    clearImmediate(this.#turnIsDue);
    this.#unlisten();
    // Runs after #stopping is set, so that the last turn claims nothing.
    await Promise.resolve();
    for (const ofKey of [...this.#out.values()]) {
      const [first] = ofKey.values();
      if (first) this.#nack(first);
    }
    while (!this.#guard('the last turn', () => this.#turn()) && performance.now() < deadline)
      await sleep(Math.min(POLL_MS, deadline - performance.now()));
    endOwner(this.#owner);
    this.#file.release();
  }
}
