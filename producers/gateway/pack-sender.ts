/**
 * Gathers envelopes into packs by shard and sends them in batches. A lone envelope leaves at once; while a shard's
 * pack is on its way, what arrives for that shard gathers behind it, so packs grow with the load and a shard's
 * packs reach the queue in order. What may wait is bounded by count, bytes and time.
 */
import { randomUUID } from 'node:crypto';
import type { QueueEntry, QueueSender, SendResult } from '../../ports/queue/port.ts';
import type { Signer } from '../../schemas/envelope/key-ring.ts';
import { ATTRIBUTES_BYTES, encodePack } from '../../schemas/envelope/pack.ts';
import { UnavailableError } from './errors.ts';

export interface PackSenderSettings {
  /** Envelopes of one pack. 1: every envelope is a message of its own, for other subscribers. */
  readonly maxPackEnvelopes: number;
  /** Body of one pack, in bytes; an envelope that is larger goes alone. */
  readonly maxPackBytes: number;
  /** Sends under way at once. */
  readonly maxSends: number;
  /** How long a send that is not full waits for those under way, to leave with what gathers meanwhile. */
  readonly sendLingerMs: number;
  /** Envelopes waiting or under way; past it the caller is told to come back. */
  readonly maxPending: number;
  /** Of these envelopes together, in bytes. */
  readonly maxPendingBytes: number;
  /**
   * How long an envelope waits for its turn. Past it the write is refused, and leaves; once it is on its way, the
   * queue has as long again to acknowledge it before the caller is told that it is not known.
   */
  readonly acceptTimeoutMs: number;
}

interface Pending {
  readonly text: string;
  readonly bytes: number;
  readonly since: number;
  /** Answers its caller; what comes after the first answer is not heard. */
  readonly answer: (error?: Error) => void;
  readonly timer: NodeJS.Timeout;
}

export class PackSender {
  readonly #queue: QueueSender;
  readonly #signer: () => Signer;
  readonly #settings: PackSenderSettings;
  /** Shards that have something to send and nothing under way, in the order in which they became so. */
  readonly #ready = new Set<number>();
  readonly #waiting = new Map<number, Pending[]>();
  readonly #busy = new Set<number>();
  /** All that is waiting or under way, the oldest first. */
  readonly #pending = new Set<Pending>();
  #pendingBytes = 0;
  #sends = 0;
  #scheduled = false;
  #lingered = false;
  #linger: NodeJS.Timeout | undefined;
  /** Envelopes of a send just acknowledged, whose callers are about to come back. */
  #answered = 0;
  #idle: (() => void) | undefined;

  constructor(queue: QueueSender, signer: () => Signer, settings: PackSenderSettings) {
    this.#queue = queue;
    this.#signer = signer;
    this.#settings = settings;
  }

  /** What it holds now. */
  get load(): { readonly count: number; readonly bytes: number } {
    return { count: this.#pending.size, bytes: this.#pendingBytes };
  }

  /** @throws UnavailableError where there is no room for an envelope of so many bytes. */
  checkRoom(bytes = 1): void {
    const { maxPending, maxPendingBytes } = this.#settings;
    if (this.#pending.size < maxPending && this.#pendingBytes + bytes <= maxPendingBytes) return;
    throw new UnavailableError('too many writes are waiting for the queue; this one was not accepted', {
      retryAfterSeconds: this.#retryAfterSeconds(),
    });
  }

  /** Resolves when the queue has acknowledged the pack that holds it; else throws UnavailableError, which says whether it may be there. */
  async send(shard: number, text: string): Promise<void> {
    const bytes = Buffer.byteLength(text) + 1;
    this.checkRoom(bytes);
    await new Promise<void>((resolve, reject) => {
      const pending: Pending = {
        text,
        bytes,
        since: performance.now(),
        answer: (error) => {
          if (error) reject(error);
          else resolve();
        },
        timer: setTimeout(() => this.#giveUp(shard, pending), this.#settings.acceptTimeoutMs),
      };
      this.#pending.add(pending);
      this.#pendingBytes += bytes;
      const waiting = this.#waiting.get(shard);
      if (waiting) waiting.push(pending);
      else this.#waiting.set(shard, [pending]);
      if (!this.#busy.has(shard)) this.#ready.add(shard);
      this.#schedule();
    });
  }

  /** Resolves when nothing is waiting or under way. */
  async drain(): Promise<void> {
    if (this.#pending.size > 0) await new Promise<void>((resolve) => (this.#idle = resolve));
  }

  #end(pending: Pending, error?: Error): void {
    clearTimeout(pending.timer);
    this.#pending.delete(pending);
    this.#pendingBytes -= pending.bytes;
    pending.answer(error);
    if (this.#pending.size === 0) this.#idle?.();
  }

  #giveUp(shard: number, pending: Pending): void {
    const { acceptTimeoutMs } = this.#settings;
    const retryAfterSeconds = this.#retryAfterSeconds();
    const waiting = this.#waiting.get(shard) ?? [];
    const place = waiting.indexOf(pending);
    if (place < 0) {
      // Its place is taken until the queue's answer comes, so that what is held in memory stays bounded.
      pending.answer(new UnavailableError(`the queue did not answer in ${acceptTimeoutMs} ms; ${MAY_BE_ACCEPTED}`, { retryAfterSeconds }));
      return;
    }
    waiting.splice(place, 1);
    if (waiting.length === 0) {
      this.#waiting.delete(shard);
      this.#ready.delete(shard);
    }
    this.#end(
      pending,
      new UnavailableError(`the write had no turn at the queue in ${acceptTimeoutMs} ms; it was not accepted`, { retryAfterSeconds }),
    );
  }

  /** As long as the oldest has waited so far, a new one will wait too. Spread out, so that not all come back at once. */
  #retryAfterSeconds(): number {
    const [oldest] = this.#pending;
    const waitedSeconds = oldest ? (performance.now() - oldest.since) / 1000 : 0;
    return Math.round(1 + waitedSeconds + Math.random() * (2 + waitedSeconds));
  }

  /** Once per turn of the event loop, so that requests read together travel together. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      while (this.#maySend()) void this.#sendBatch();
      if (this.#ready.size === 0 || this.#sends === this.#settings.maxSends) return;
      this.#linger ??= setTimeout(() => {
        this.#linger = undefined;
        this.#lingered = true;
        this.#schedule();
      }, this.#settings.sendLingerMs);
    });
  }

  /** Alone, full, or late: requests to the queue cost, and a few full ones carry more than many small ones. */
  #maySend(): boolean {
    if (this.#ready.size === 0 || this.#sends === this.#settings.maxSends) return false;
    return this.#sends === 0 || this.#ready.size >= this.#queue.capabilities.maxBatchCount || this.#lingered;
  }

  async #sendBatch(): Promise<void> {
    this.#sends += 1;
    clearTimeout(this.#linger);
    this.#linger = undefined;
    this.#lingered = false;
    const { maxBatchCount, maxBatchBytes } = this.#queue.capabilities;
    const batch: { shard: number; items: Pending[]; entry: QueueEntry }[] = [];
    // Callers who take turns are kept in two halves: while the queue has one, the other is worked on.
    const fairShare = this.#answered > 0 ? (this.#pending.size + this.#answered) / 2 : Infinity;
    this.#answered = 0;
    let bytes = 0;
    let count = 0;
    for (const shard of this.#ready) {
      if (batch.length === maxBatchCount || count >= fairShare) break;
      const items = this.#nextPack(shard, maxBatchBytes - bytes - ATTRIBUTES_BYTES);
      if (items.length === 0) break;
      count += items.length;
      bytes += items.reduce((sum, item) => sum + item.bytes, ATTRIBUTES_BYTES + 1);
      const pack = encodePack(
        items.map((item) => item.text),
        shard,
        this.#signer(),
      );
      batch.push({
        shard,
        items,
        entry: { group: String(shard), deduplicationId: randomUUID(), body: pack.body, attributes: { ...pack.attributes } },
      });
      this.#ready.delete(shard);
      this.#busy.add(shard);
    }
    let results: readonly SendResult[];
    try {
      results = await this.#queue.send(batch.map((b) => b.entry));
    } catch (cause) {
      results = batch.map(() => ({ status: 'unknown', error: cause as Error }));
    }
    batch.forEach(({ shard, items }, i) => {
      const result = results[i] ?? { status: 'unknown' as const, error: new Error('the queue gave no answer for this entry') };
      for (const item of items) this.#end(item, result.status === 'ok' ? undefined : this.#unavailable(result));
      this.#busy.delete(shard);
      if (this.#waiting.has(shard)) this.#ready.add(shard);
    });
    this.#sends -= 1;
    if (this.#ready.size === 0) return;
    this.#answered = count;
    this.#schedule();
  }

  /** Takes what fits in a pack, in order; the first always fits in an empty batch. */
  #nextPack(shard: number, room: number): Pending[] {
    const waiting = this.#waiting.get(shard) ?? [];
    const limit = Math.min(room, Math.max(this.#settings.maxPackBytes, waiting[0]?.bytes ?? 0));
    let bytes = 1;
    let count = 0;
    for (const item of waiting) {
      bytes += item.bytes;
      if (count === this.#settings.maxPackEnvelopes || bytes > limit + 1) break;
      count += 1;
    }
    const items = waiting.splice(0, count);
    for (const item of items) item.timer.refresh();
    if (waiting.length === 0) this.#waiting.delete(shard);
    return items;
  }

  #unavailable(result: Exclude<SendResult, { status: 'ok' }>): UnavailableError {
    const what =
      result.status === 'failed'
        ? 'the queue refused the write; it was not accepted'
        : `the queue did not acknowledge the write in time; ${MAY_BE_ACCEPTED}`;
    return new UnavailableError(what, { cause: result.error, retryAfterSeconds: this.#retryAfterSeconds() });
  }
}

const MAY_BE_ACCEPTED = 'it may have been accepted: try again with the same Idempotency-Key';
