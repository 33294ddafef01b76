/**
 * Holds: in an aggregate whose resource waits behind dead letters, nothing is applied before they are. Its dead letters
 * have turns, in the order in which they came; a later write takes the next turn, as a dead letter too.
 */
import { mutationCost } from '../resource/cost.ts';
import { type Cell, COMMIT_TIMESTAMP, type Key, type StoreMutation, type TableDefinition } from '../resource/table.ts';
import { LEDGER_DAYS, type Turn } from './ledger.ts';

/** One row for each aggregate that waits, gone when its last dead letter is settled. */
export const HOLDS: TableDefinition = {
  name: 'spanway_holds',
  columns: [
    { name: 'aggregate', type: { scalar: 'STRING', array: false, maxLength: 22 }, notNull: true },
    // Of its first dead letter. The hold ends with that one's ledger row, since then nobody can settle it.
    { name: 'held_at', type: { scalar: 'TIMESTAMP', array: false }, notNull: true, commitTimestamp: true },
    { name: 'hold', type: { scalar: 'STRING', array: false }, notNull: true },
  ],
  primaryKey: ['aggregate'],
  indexes: [],
  rowDeletionPolicy: { column: 'held_at', days: LEDGER_DAYS },
  adopted: false,
};

/** What Spanner counts for a submission that may open a hold, or take a turn. */
export const HOLD_COST = mutationCost(HOLDS, { columns: HOLDS.columns.length });

interface HoldState {
  readonly id: string;
  /** The lowest turn that is not settled. */
  readonly next: number;
  /** The last turn that was given. */
  readonly last: number;
  /** Turns above `next` that are settled: purged, or their resource does not wait any more. */
  readonly passed: readonly number[];
}

/** What reads the holds of a transaction. */
export interface HoldReader {
  read(table: TableDefinition, keys: readonly Key[], columns: readonly string[]): Promise<readonly (readonly Cell[] | undefined)[]>;
}

/** The holds of some aggregates as one transaction finds and leaves them. */
export class Holds {
  readonly #found = new Map<string, { readonly hold: HoldState; readonly heldAt: string }>();
  readonly #now = new Map<string, HoldState>();

  private constructor() {}

  /** One request, none where there are no aggregates. */
  static async read(transaction: HoldReader, aggregates: Iterable<string>): Promise<Holds> {
    const holds = new Holds();
    const names = [...new Set(aggregates)];
    if (names.length === 0) return holds;
    const rows = await transaction.read(
      HOLDS,
      names.map((aggregate) => [aggregate]),
      ['hold', 'held_at'],
    );
    for (const [i, aggregate] of names.entries()) {
      const [text, heldAt] = (rows[i] ?? []) as readonly string[];
      if (text === undefined || heldAt === undefined) continue;
      const hold = JSON.parse(text) as HoldState;
      holds.#found.set(aggregate, { hold, heldAt });
      holds.#now.set(aggregate, hold);
    }
    return holds;
  }

  /** How many dead letters of the aggregate are not settled. */
  open(aggregate: string): number {
    const hold = this.#now.get(aggregate);
    return hold ? hold.last - hold.next + 1 - hold.passed.length : 0;
  }

  /** When the hold's first dead letter was recorded; undefined where this transaction does so, or there is none. */
  heldAt(aggregate: string): string | undefined {
    return this.#found.get(aggregate)?.heldAt;
  }

  /** Whether a turn is of the hold that the aggregate has now. */
  has(aggregate: string, turn: Turn): boolean {
    return this.#now.get(aggregate)?.id === turn.hold;
  }

  /** Whether one that is not settled stands before it; a purged one, too, keeps its place. */
  isBehind(aggregate: string, turn: Turn): boolean {
    return turn.number > (this.#now.get(aggregate)?.next ?? turn.number);
  }

  #isOpen(aggregate: string, turn: Turn): boolean {
    const hold = this.#now.get(aggregate);
    return hold?.id === turn.hold && turn.number >= hold.next && !hold.passed.includes(turn.number);
  }

  /** The next turn, for a dead letter that has none; opens a hold under its id where there is none. */
  take(aggregate: string, submissionId: string): Turn {
    const hold = this.#now.get(aggregate) ?? { id: submissionId, next: 1, last: 0, passed: [] };
    const number = hold.last + 1;
    this.#now.set(aggregate, { ...hold, last: number });
    return { hold: hold.id, number };
  }

  /** The dead letter of this turn is one no more. The hold ends with its last one. */
  pass(aggregate: string, turn: Turn): void {
    const hold = this.#now.get(aggregate);
    if (!hold || !this.#isOpen(aggregate, turn)) return;
    const passed = new Set([...hold.passed, turn.number]);
    let { next } = hold;
    while (passed.delete(next)) next += 1;
    if (next > hold.last) this.#now.delete(aggregate);
    else this.#now.set(aggregate, { ...hold, next, passed: [...passed] });
  }

  /** What makes the rows as they are now. */
  mutations(): readonly StoreMutation[] {
    const changed = [...new Set([...this.#found.keys(), ...this.#now.keys()])].filter(
      (aggregate) => this.#now.get(aggregate) !== this.#found.get(aggregate)?.hold,
    );
    return changed.map((aggregate): StoreMutation => {
      const hold = this.#now.get(aggregate);
      if (!hold) return { op: 'delete', table: HOLDS, key: [aggregate] };
      const text = JSON.stringify(hold);
      return this.#found.get(aggregate)?.hold.id === hold.id
        ? { op: 'update', table: HOLDS, columns: ['aggregate', 'hold'], values: [aggregate, text] }
        : { op: 'upsert', table: HOLDS, columns: ['aggregate', 'held_at', 'hold'], values: [aggregate, COMMIT_TIMESTAMP, text] };
    });
  }
}
