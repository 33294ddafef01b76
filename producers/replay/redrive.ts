/**
 * Dead letters sent again: the same ids, through the same queue, in the order in which they first stood. The applier
 * puts the new outcome in the place of the old one, in the transaction of the data.
 */
import type { Envelope, HistoryPlace } from '../../schemas/envelope/envelope.ts';
import { type CommitKey, comparePlaces } from '../../schemas/envelope/history.ts';
import type { Outcome, Reason, Verdict } from '../../schemas/envelope/ledger.ts';
import type { Verifier } from '../../schemas/envelope/key-ring.ts';
import { openPack } from '../../schemas/envelope/pack.ts';
import { PackError } from '../../schemas/errors.ts';
import { type Awaited, awaitOutcomes, readEntries, verdictOn } from './attempts.ts';
import {
  type DeadLetterParts,
  isMeant,
  ledgerLetter,
  ledgerLetters,
  type LetterSelection,
  type MessageLetter,
  parkedLetters,
  removeParked,
  visitQueueLetters,
} from './dead-letters.ts';
import { readRecords } from './history.ts';
import { NewerIndex } from './newer.ts';
import { messageBytes, sendEnvelopes, type SenderParts } from './sender.ts';

export interface RedriveParts extends DeadLetterParts {
  readonly sender: SenderParts;
  /** Of packs that were parked: they are sent on under a new signature only if theirs holds now. */
  readonly verifier: () => Verifier;
}

export interface RedriveOptions {
  readonly overNewer: boolean;
  /** The operator. */
  readonly by: string;
  /** Nothing is sent and nothing removed; `would_send` says what would be tried. */
  readonly dryRun: boolean;
  /** How long the outcomes of one batch are waited for. */
  readonly outcomeMs: number;
  readonly now: () => Date;
}

/**
 * What became of one: its outcome now; `refused` where it was not sent, with the reason; `unsettled` where its outcome
 * did not come in time: it is on its way, and comes.
 */
export interface Redriven {
  readonly id: string;
  readonly submissionId?: string;
  readonly resource?: string;
  readonly key?: readonly unknown[];
  readonly result: Outcome | 'refused' | 'unsettled' | 'would_send';
  readonly reason?: Reason | 'unreadable' | 'too_large';
  readonly detail?: string;
  /** The envelope as it would be, or was, applied. */
  readonly envelope?: Envelope;
}

interface Candidate extends Awaited {
  readonly letter: string;
  readonly place: HistoryPlace;
  readonly attempt: number;
}

/** A letter of the ledger, by where it is. */
interface Placed extends CommitKey {
  readonly position: number;
  readonly place: HistoryPlace;
  readonly aggregate: string;
}

const BATCH = 200;

/** Every selected letter: those of the ledger and the parked ones by their places, then the queue's. */
export async function* redrive(parts: RedriveParts, selection: LetterSelection, options: RedriveOptions): AsyncGenerator<Redriven> {
  const redriver = new Redriver(parts, options);
  yield* redriver.stored(selection);
  yield* redriver.queue(selection);
}

class Redriver {
  readonly #parts: RedriveParts;
  readonly #options: RedriveOptions;
  readonly #newer: NewerIndex;

  constructor(parts: RedriveParts, options: RedriveOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#newer = new NewerIndex(parts.store);
  }

  async *stored(selection: LetterSelection): AsyncGenerator<Redriven> {
    const left = await this.#placesOf(selection);
    for await (const letter of parkedLetters(this.#parts.store, selection)) {
      const later = left.findIndex(({ place }) => comparePlaces(place, letter.place) >= 0);
      yield* this.#ledger(left.splice(0, later === -1 ? left.length : later));
      const { results, isDone } = await this.#message(letter, selection);
      yield* results;
      if (isDone) await removeParked(this.#parts.store, letter);
    }
    yield* this.#ledger(left);
  }

  /** Of the ledger's letters, in order, without the envelopes: those that were redriven before stand behind where they belong. */
  async #placesOf(selection: LetterSelection): Promise<Placed[]> {
    const found: Placed[] = [];
    for await (const { record, place } of ledgerLetters(this.#parts, selection)) {
      const { committedAt, commit, position, envelope } = record;
      found.push({ committedAt, commit, position, place, aggregate: envelope.data.aggregate });
    }
    if (found.length > 0) await this.#newer.look(found);
    return found.sort((a, b) => comparePlaces(a.place, b.place));
  }

  async *#ledger(placed: readonly Placed[]): AsyncGenerator<Redriven> {
    for (let at = 0; at < placed.length; at += BATCH) {
      const letters = (await readRecords(this.#parts.store, placed.slice(at, at + BATCH))).map(ledgerLetter);
      letters.sort((a, b) => comparePlaces(a.place, b.place));
      yield* await this.#send(
        letters.map(({ id, place, attempt, record: { envelope, commit, committedAt } }) => ({
          letter: id,
          envelope,
          place,
          attempt: attempt + 1,
          replaces: { commit, committedAt },
        })),
      );
    }
  }

  async *queue(selection: LetterSelection): AsyncGenerator<Redriven> {
    const all: Redriven[] = [];
    let failure: Error | undefined;
    try {
      await visitQueueLetters(this.#parts.queue, selection, async (letters) => {
        const done: boolean[] = [];
        for (const letter of letters) {
          const { results, isDone } = await this.#message(letter, selection);
          all.push(...results);
          done.push(isDone);
        }
        return done;
      });
    } catch (error) {
      failure = error as Error;
    }
    // What became of those before a failure is told all the same.
    yield* all;
    if (failure) throw failure;
  }

  /** `isDone`: each of its envelopes has its outcome in the ledger, so the message is needed no more. */
  async #message(
    letter: MessageLetter,
    selection: LetterSelection,
  ): Promise<{ readonly results: readonly Redriven[]; readonly isDone: boolean }> {
    const { store, verifier } = this.#parts;
    let envelopes: readonly Envelope[];
    try {
      envelopes = openPack(Buffer.from(letter.body), letter.attributes, verifier());
    } catch (error) {
      if (!(error instanceof PackError)) throw error;
      return { results: [{ id: letter.id, result: 'refused', reason: 'unreadable', detail: error.message }], isDone: false };
    }
    // Its envelopes may have their outcomes by now, by another delivery.
    const entries = await readEntries(
      store,
      envelopes.map((envelope) => envelope.id),
    );
    const meant = envelopes.map((envelope) => isMeant(envelope, selection));
    const settled = envelopes.flatMap((envelope, i): Redriven[] =>
      entries[i] && meant[i] === true ? [settledAs(letter.id, envelope, verdictOn(envelope, entries[i]))] : [],
    );
    const open = envelopes.filter((_, i) => !entries[i] && meant[i] === true);
    const sent = await this.#send(open.map((envelope) => ({ letter: letter.id, envelope, place: letter.place, attempt: 2 })));
    const isRestSettled = envelopes.every((_, i) => entries[i] ?? meant[i]);
    return { results: [...settled, ...sent], isDone: !this.#options.dryRun && isRestSettled && sent.every(hasOutcome) };
  }

  async #send(candidates: readonly Candidate[]): Promise<readonly Redriven[]> {
    const { overNewer, by, dryRun, outcomeMs, now } = this.#options;
    if (candidates.length === 0) return [];
    const lookedTo = await this.#newer.look(candidates.map(({ envelope, place }) => ({ aggregate: envelope.data.aggregate, place })));
    const { maxMessageBytes } = this.#parts.sender.queue.capabilities;
    const refused: Redriven[] = [];
    const sending: Candidate[] = [];
    const envelopes: Envelope[] = [];
    for (const candidate of candidates) {
      const { letter, place, attempt, replaces } = candidate;
      const { data, ...head } = candidate.envelope;
      const newer = overNewer ? undefined : this.#newer.newerThan(data.aggregate, place);
      const about = { ...(replaces ? { replaces } : {}), first: place, attempt, lookedTo, overNewer, by, time: now().toISOString() };
      const envelope: Envelope = { ...head, data: { ...data, redrive: about } };
      const bytes = messageBytes(envelope);
      const refusal = newer
        ? { reason: 'newer_applied' as const, detail: `its aggregate has applied ${newer.submissionId} at ${newer.committedAt}` }
        : bytes > maxMessageBytes
          ? { reason: 'too_large' as const, detail: `${bytes} bytes as a message; the queue takes ${maxMessageBytes}` }
          : undefined;
      if (refusal) refused.push({ ...naming(letter, envelope), result: 'refused', ...refusal });
      else {
        sending.push(candidate);
        envelopes.push(envelope);
      }
    }
    if (dryRun) {
      const would = sending.map(({ letter }, i) => {
        const envelope = envelopes[i] as Envelope;
        return { ...naming(letter, envelope), result: 'would_send' as const, envelope };
      });
      return [...refused, ...would];
    }
    await sendEnvelopes(this.#parts.sender, envelopes);
    const verdicts = await awaitOutcomes(this.#parts.store, sending, { outcomeMs, signal: this.#parts.sender.signal });
    return [
      ...refused,
      ...sending.map(({ letter, envelope }, i): Redriven => {
        const verdict = verdicts[i];
        return verdict ? settledAs(letter, envelope, verdict) : { ...naming(letter, envelope), result: 'unsettled' };
      }),
    ];
  }
}

/** In the ledger. */
function hasOutcome({ result }: Redriven): boolean {
  return result === 'applied' || result === 'rejected' || result === 'dead_lettered';
}

function settledAs(letter: string, envelope: Envelope, { outcome, reason, detail }: Verdict): Redriven {
  return {
    ...naming(letter, envelope),
    result: outcome,
    ...(reason === undefined ? {} : { reason }),
    ...(detail === undefined ? {} : { detail }),
  };
}

function naming(letter: string, { id, data }: Envelope): Pick<Redriven, 'id' | 'submissionId' | 'resource' | 'key'> {
  const [first] = data.mutations;
  return { id: letter, submissionId: id, resource: first?.resource ?? '', key: first?.key ?? [] };
}
