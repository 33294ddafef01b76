/**
 * Deliveries opened in the order in which they came. A pack that cannot be opened holds those of its shard behind it:
 * while the keys are read again, if it is signed with one that is not known, so that a rotation parks nothing and
 * reorders nothing; and until it is parked, so that what is applied behind it is newer by the time of its commit.
 */
import { type BackoffSettings, untilPasses } from '../backoff.ts';
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

export interface IntakeSettings {
  readonly backoff: BackoffSettings;
  /** How long a key is looked for before its pack is parked: longer than a secret takes to reach every process. */
  readonly keyPatienceMs: number;
}

interface IntakeParts {
  readonly keys: PackKeys;
  readonly settings: IntakeSettings;
  readonly signal: AbortSignal;
  readonly opened: (delivery: Delivery, envelopes: readonly Envelope[]) => void;
  /** Resolves when the delivery is done with; rejects when it comes again, with those behind it. */
  readonly refused: (delivery: Delivery, error: PackError) => Promise<void>;
  readonly keyMissing: (delivery: Delivery, error: Error) => void;
}

export class Intake {
  readonly #parts: IntakeParts;
  /** By shard, those behind a pack that cannot be opened. */
  readonly #held = new Map<string, Delivery[]>();

  constructor(parts: IntakeParts) {
    this.#parts = parts;
  }

  take(delivery: Delivery): void {
    const held = this.#held.get(delivery.key);
    if (held) {
      held.push(delivery);
      return;
    }
    const error = this.#open(delivery, this.#parts.keys.current());
    if (error) void this.#hold(delivery, error);
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

  async #hold(delivery: Delivery, error: PackError): Promise<void> {
    const held: Delivery[] = [];
    this.#held.set(delivery.key, held);
    try {
      const final = error.code === 'unknown_key' ? await this.#lookForKey(delivery) : error;
      if (final) await this.#parts.refused(delivery, final);
    } catch {
      // Stopping: it comes again, with those behind it.
      return;
    }
    this.#held.delete(delivery.key);
    for (const next of held) this.take(next);
  }

  /** Why it cannot be opened with the keys as they are read by then. */
  async #lookForKey(delivery: Delivery): Promise<PackError | undefined> {
    const { keys, settings, signal, keyMissing } = this.#parts;
    const until = performance.now() + settings.keyPatienceMs;
    const look = async (): Promise<PackError | undefined> => {
      const error = this.#open(delivery, await keys.refresh());
      if (error?.code === 'unknown_key' && performance.now() < until) throw error;
      return error;
    };
    return untilPasses(look, { signal, backoff: settings.backoff, onFailure: (failure) => keyMissing(delivery, failure) });
  }
}
