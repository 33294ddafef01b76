import type { Outcome, Reason } from '../../schemas/envelope/ledger.ts';
import type { Cell } from '../../schemas/resource/table.ts';

/**
 * Where outcomes are announced.
 *
 * Duties of an adapter: `send` takes any number of events and resolves when every one is accepted; entries that fail are sent again alone. It
 * throws PortUnavailableError with the number that is left when it gave up; the caller sends all of them again, so
 * a subscriber may see an event twice: `id` is the same each time. No order is promised.
 */
export interface Events {
  send(events: readonly OutcomeEvent[]): Promise<void>;
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** EventBridge's `source` and `detail-type` of an outcome. */
export const EVENT_SOURCE = 'spanway';
export const eventType = (outcome: Outcome): string => `submission.${outcome}`;

export interface OutcomeEvent {
  /** The submission id, the payload's hash, and `attempt` where there is one: equal for every sending of one outcome. */
  readonly id: string;
  readonly submissionId: string;
  readonly outcome: Outcome;
  readonly reason?: Reason;
  readonly detail?: string;
  readonly tenant: string;
  readonly subject: string;
  readonly actor?: string;
  readonly resource: string;
  readonly key: readonly Cell[];
  readonly correlationId: string;
  readonly traceparent?: string;
  readonly acceptedAt: string;
  readonly commitTimestamp: string;
  /** Of an outcome that an operator's redrive brought: how often the submission was tried, from 2. */
  readonly attempt?: number;
}
