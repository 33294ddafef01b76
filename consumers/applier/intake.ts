/**
 * Deliveries opened in the order in which they came. A pack signed with a key that is not known yet holds those behind
 * it while the keys are read again, so that a rotation parks nothing and reorders nothing.
 */
import type { Delivery } from '../../ports/topic/port.ts';
import type { Envelope } from '../../schemas/envelope/envelope.ts';
import type { PackVerifier } from '../../schemas/envelope/key-ring.ts';
import { openPack } from '../../schemas/envelope/pack.ts';
import { PackError } from '../../schemas/errors.ts';

export interface PackKeys {
  readonly current: () => PackVerifier;
  /** Reads them again. What it throws means that they could not be read. */
  readonly refresh: () => Promise<PackVerifier>;
}

interface IntakeParts {
  readonly keys: PackKeys;
  readonly opened: (delivery: Delivery, envelopes: readonly Envelope[]) => void;
  readonly refused: (delivery: Delivery, error: PackError) => void;
}

export class Intake {
  readonly #parts: IntakeParts;
  /** Those behind a pack whose key is being looked for. */
  #held: Delivery[] | undefined;

  constructor(parts: IntakeParts) {
    this.#parts = parts;
  }

  take(delivery: Delivery): void {
    if (this.#held) {
      this.#held.push(delivery);
      return;
    }
    const error = this.#open(delivery, this.#parts.keys.current());
    if (!error) return;
    if (error.code === 'unknown_key') {
      this.#held = [];
      void this.#lookForKey(delivery);
    } else this.#parts.refused(delivery, error);
  }

  #open(delivery: Delivery, keys: PackVerifier): PackError | undefined {
    let envelopes: readonly Envelope[];
    try {
      envelopes = openPack(delivery.data, delivery.attributes, keys);
    } catch (error) {
      if (error instanceof PackError) return error;
      throw error;
    }
    this.#parts.opened(delivery, envelopes);
    return undefined;
  }

  async #lookForKey(delivery: Delivery): Promise<void> {
    const keys = await this.#parts.keys.refresh().catch(() => undefined);
    const error = keys && this.#open(delivery, keys);
    if (error) this.#parts.refused(delivery, error);
    // The secret cannot be read now: the pack comes again, with those of its key behind it.
    if (!keys) delivery.nack();
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const next of held) this.take(next);
  }
}
