/**
 * A lane applies one batch at a time, in the order in which the work came. While a batch is under way the next one
 * gathers, so batches grow with the load and a lone write waits for nothing.
 */
import type { Settled, Work } from './work.ts';

export interface BatchLimits {
  /** Submissions of one commit. */
  readonly maxBatchCount: number;
  /** Envelopes of one commit, in bytes. */
  readonly maxBatchBytes: number;
  /** Mutations of one commit as Spanner counts them: https://cloud.google.com/spanner/quotas#limits-for */
  readonly maxBatchMutations: number;
  /** After a batch of more than one, how long the next may wait to fill. */
  readonly lingerMs: number;
}

/** A place in the lane: the work, and who hears of its outcome. */
export interface Place {
  readonly work: Work;
  readonly settle: (settled: Settled) => void;
}

export class Lane {
  readonly #apply: (works: readonly Work[]) => Promise<readonly Settled[]>;
  readonly #limits: BatchLimits;
  readonly #failed: (error: unknown) => void;
  readonly #waiting: Place[] = [];
  #running: Promise<void> | undefined;
  #closed = false;

  /** `failed` hears what ended the lane: `apply` must settle everything that can be settled. */
  constructor(parts: {
    apply: (works: readonly Work[]) => Promise<readonly Settled[]>;
    limits: BatchLimits;
    failed: (error: unknown) => void;
  }) {
    this.#apply = parts.apply;
    this.#limits = parts.limits;
    this.#failed = parts.failed;
  }

  add(place: Place): void {
    if (this.#closed) return;
    this.#waiting.push(place);
    this.#running ??= this.#run();
  }

  /** Takes nothing more; resolves when the batch under way has ended. What waits is dropped, unsettled. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#waiting.length = 0;
    await this.#running;
  }

  async #run(): Promise<void> {
    // One turn of the event loop, so that envelopes which came together go together.
    await new Promise((resolve) => setImmediate(resolve));
    let underWay = this.#start();
    while (underWay) {
      const { places, applying } = underWay;
      let settled: readonly Settled[];
      try {
        settled = await applying;
      } catch (error) {
        this.#closed = true;
        this.#waiting.length = 0;
        this.#failed(error);
        break;
      }
      // A full batch is on its way before those of this one hear of it.
      const next = this.#waiting.length >= this.#limits.maxBatchCount ? this.#start() : undefined;
      places.forEach((place, i) => place.settle(settled[i] as Settled));
      if (!next && places.length > 1 && this.#limits.lingerMs > 0)
        await new Promise((resolve) => setTimeout(resolve, this.#limits.lingerMs));
      underWay = next ?? this.#start();
    }
    this.#running = undefined;
  }

  #start(): { readonly places: readonly Place[]; readonly applying: Promise<readonly Settled[]> } | undefined {
    const places = this.#nextBatch();
    if (places.length === 0) return undefined;
    return { places, applying: this.#apply(places.map((p) => p.work)) };
  }

  /** As many as the limits take; one at least where any waits. */
  #nextBatch(): Place[] {
    let count = 0;
    let bytes = 0;
    let mutations = 0;
    for (const { work } of this.#waiting) {
      bytes += work.bytes;
      mutations += work.cost;
      if (count === this.#limits.maxBatchCount) break;
      if (count > 0 && (bytes > this.#limits.maxBatchBytes || mutations > this.#limits.maxBatchMutations)) break;
      count += 1;
    }
    return this.#waiting.splice(0, count);
  }
}
