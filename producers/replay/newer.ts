/** What aggregates have applied behind a place in history: by that, what is sent again is too old or not. */
import type { Store } from '../../ports/store/port.ts';
import type { HistoryPlace } from '../../schemas/envelope/envelope.ts';
import { compareInstants, comparePlaces, placeOf } from '../../schemas/envelope/history.ts';
import { readHistory } from './history.ts';

export interface Applied {
  readonly submissionId: string;
  readonly place: HistoryPlace;
  /** When it was applied. */
  readonly committedAt: string;
}

interface Known {
  /** From this commit timestamp on, up to `#lookedTo`. */
  readonly from: string;
  /** Undefined where nothing was applied there. */
  readonly newest?: Applied;
}

/** Memory grows with the number of aggregates that were looked at, and with nothing else. */
export class NewerIndex {
  readonly #store: Store;
  readonly #known = new Map<string, Known>();
  #lookedTo: string | undefined;

  constructor(store: Store) {
    this.#store = store;
  }

  /**
   * Reads on in history for these aggregates, from the place of each. Answers up to which commit timestamp all of them
   * are known now.
   */
  async look(candidates: readonly { readonly aggregate: string; readonly place: HistoryPlace }[]): Promise<string> {
    // Reads that begin behind this commit, though it writes nothing, see every commit up to its time.
    const { commitTimestamp } = await this.#store.commit([], { tag: 'spanway-replay-look' });
    if (this.#lookedTo !== undefined && this.#known.size > 0) await this.#read(new Set(this.#known.keys()), this.#lookedTo);
    // One that was looked at before may be asked for from an earlier place.
    const unknown = candidates.filter(({ aggregate, place }) => {
      const known = this.#known.get(aggregate);
      return !known || compareInstants(place.committedAt, known.from) < 0;
    });
    const [from] = unknown.map(({ place }) => place.committedAt).sort(compareInstants);
    if (from !== undefined) {
      for (const { aggregate } of unknown) this.#known.set(aggregate, { ...this.#known.get(aggregate), from });
      await this.#read(new Set(unknown.map(({ aggregate }) => aggregate)), from);
    }
    this.#lookedTo = commitTimestamp;
    return commitTimestamp;
  }

  /** What is newer than this place; undefined where nothing is. */
  newerThan(aggregate: string, place: HistoryPlace): Applied | undefined {
    const { newest } = this.#known.get(aggregate) ?? {};
    return newest && comparePlaces(newest.place, place) > 0 ? newest : undefined;
  }

  async #read(aggregates: ReadonlySet<string>, from: string): Promise<void> {
    for await (const records of readHistory(this.#store, { from, aggregates })) {
      for (const record of records) {
        const { aggregate } = record.envelope.data;
        const known = this.#known.get(aggregate);
        if (record.verdict.outcome !== 'applied' || !known || !aggregates.has(aggregate)) continue;
        const place = placeOf(record);
        if (!known.newest || comparePlaces(place, known.newest.place) > 0)
          this.#known.set(aggregate, {
            ...known,
            newest: { submissionId: record.envelope.id, place, committedAt: record.committedAt },
          });
      }
    }
  }
}
