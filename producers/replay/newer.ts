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

/** Memory grows with the number of aggregates that were looked at, and with nothing else. */
export class NewerIndex {
  readonly #store: Store;
  /** The newest that was applied of each; null where nothing was. */
  readonly #newest = new Map<string, Applied | null>();
  /** Up to here the aggregates in `#newest` are known. */
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
    if (this.#lookedTo !== undefined && this.#newest.size > 0) await this.#read(new Set(this.#newest.keys()), this.#lookedTo);
    const unknown = candidates.filter(({ aggregate }) => !this.#newest.has(aggregate));
    const [from] = unknown.map(({ place }) => place.committedAt).sort(compareInstants);
    if (from !== undefined) await this.#read(new Set(unknown.map(({ aggregate }) => aggregate)), from);
    for (const { aggregate } of unknown) if (!this.#newest.has(aggregate)) this.#newest.set(aggregate, null);
    this.#lookedTo = commitTimestamp;
    return commitTimestamp;
  }

  /** What is newer than this place; undefined where nothing is. */
  newerThan(aggregate: string, place: HistoryPlace): Applied | undefined {
    const newest = this.#newest.get(aggregate);
    return newest && comparePlaces(newest.place, place) > 0 ? newest : undefined;
  }

  async #read(aggregates: ReadonlySet<string>, from: string): Promise<void> {
    for await (const records of readHistory(this.#store, { from, aggregates })) {
      for (const record of records) {
        const { aggregate } = record.envelope.data;
        if (record.verdict.outcome !== 'applied' || !aggregates.has(aggregate)) continue;
        const place = placeOf(record);
        const known = this.#newest.get(aggregate);
        if (!known || comparePlaces(place, known.place) > 0)
          this.#newest.set(aggregate, { submissionId: record.envelope.id, place, committedAt: record.committedAt });
      }
    }
  }
}
