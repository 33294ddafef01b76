/**
 * Writes of a resource that waits behind dead letters (`onDeadLetter: 'wait'`): while its aggregate has one that is not
 * settled, what comes later is a dead letter too, and a redrive is applied only when none stands before it.
 */
import type { StoreMutation, StoreTransaction } from '../../ports/store/port.ts';
import { compareInstants } from '../../schemas/envelope/history.ts';
import { Holds } from '../../schemas/envelope/holds.ts';
import type { LedgerEntry, Turn, Verdict } from '../../schemas/envelope/ledger.ts';
import type { Work } from './work.ts';

export class WaitingLine {
  readonly #holds: Holds;
  /** What the ledger says of redrives. */
  readonly #ledger: ReadonlyMap<string, LedgerEntry>;

  private constructor(holds: Holds, ledger: ReadonlyMap<string, LedgerEntry>) {
    this.#holds = holds;
    this.#ledger = ledger;
  }

  static async read(transaction: StoreTransaction, works: readonly Work[], ledger: ReadonlyMap<string, LedgerEntry>): Promise<WaitingLine> {
    // One that has a turn gives it back, even where its resource waits no more.
    const concerned = works.filter((work) => work.waits || ledger.get(work.envelope.id)?.turn);
    const aggregates = concerned.map((work) => work.envelope.data.aggregate);
    return new WaitingLine(await Holds.read(transaction, aggregates), ledger);
  }

  /** Why it is not applied now; undefined where no dead letter stands before it. */
  refusalOf(work: Work): Verdict | undefined {
    const { aggregate } = work.envelope.data;
    const open = this.#holds.open(aggregate);
    if (!work.waits || open === 0 || !this.#isBehind(work)) return undefined;
    const detail = `its aggregate waits: ${open} ${open === 1 ? 'write that is dead-lettered comes' : 'writes that are dead-lettered come'} first`;
    return { outcome: 'dead_lettered', reason: 'behind_dead_letter', detail };
  }

  #isBehind({ envelope: { id, data } }: Work): boolean {
    const turn = this.#ledger.get(id)?.turn;
    if (turn && this.#holds.has(data.aggregate, turn)) return this.#holds.isBehind(data.aggregate, turn);
    // What ended elsewhere before the first of them, in a pack that was parked or as a rejection, stands before them.
    const heldAt = this.#holds.heldAt(data.aggregate);
    return !data.redrive || (heldAt !== undefined && compareInstants(data.redrive.first.committedAt, heldAt) > 0);
  }

  /** Gives a dead letter its turn, and takes it from what is one no more. */
  settle(work: Work, verdict: Verdict): Turn | undefined {
    const { id, data } = work.envelope;
    const before = this.#ledger.get(id);
    if (verdict.outcome !== 'dead_lettered') {
      if (before?.turn) this.#holds.pass(data.aggregate, before.turn);
      return undefined;
    }
    const { turn } = before ?? {};
    if (turn && this.#holds.has(data.aggregate, turn)) return turn;
    // An operator's try that fails again does not stop an aggregate which went on meanwhile.
    const isNew = verdict.reason === 'behind_dead_letter' || (!before && verdict.reason !== 'newer_applied');
    return work.waits && isNew ? this.#holds.take(data.aggregate, id) : undefined;
  }

  mutations(): readonly StoreMutation[] {
    return this.#holds.mutations();
  }
}
