/** What the applier works on: one envelope on its way to its outcome. */
import type { Envelope } from '../../schemas/envelope/envelope.ts';
import type { Carried } from '../../schemas/envelope/pack.ts';
import type { Verdict } from '../../schemas/envelope/ledger.ts';
import type { StoreMutation } from '../../ports/store/port.ts';
import type { Cell } from '../../schemas/resource/table.ts';
import type { RegisteredResource } from '../../schemas/resource/registry.ts';

export interface Work {
  readonly envelope: Envelope;
  /** As it came, for the ledger. */
  readonly text: string;
  /** Its mutations for the store; or why they cannot be made. */
  readonly plan: Plan;
  /** Not applied before the dead letters of its aggregate. */
  readonly waits: boolean;
  /** Of the text, and of what its merges may read. */
  readonly bytes: number;
  /** Spanner's mutation count, the ledger row with it. */
  readonly cost: number;
  /** Of the pack that brought it. */
  readonly carried?: Carried;
}

export type Plan = { readonly writes: readonly PlannedWrite[] } | { readonly verdict: Verdict };

export interface PlannedWrite {
  readonly resource: RegisteredResource;
  readonly mutation: StoreMutation;
  /** Whole primary key, tenant first. */
  readonly key: readonly Cell[];
  /** Columns whose cell merges into what is there. */
  readonly merge: readonly string[];
  /** The version the row must have, or `*` for any. */
  readonly ifMatch?: string;
}

/** What became of it. */
export interface Settled {
  readonly verdict: Verdict;
  readonly commitTimestamp: string;
  /** The outcome was there already; nothing changed now. */
  readonly duplicate: boolean;
  /** Of a submission that was redriven: the try that brought this outcome, from 2. */
  readonly attempt?: number;
}
