/**
 * Deliveries opened in the order in which they came. A pack that cannot be opened holds those of its shard behind it:
 * while the keys are read again, if it is signed with one that is not known, so that a rotation parks nothing and
 * reorders nothing; and until it is parked, so that what is applied behind it is newer by the time of its commit.
 */
import { LRUCache } from 'lru-cache';
import { type BackoffSettings, untilPasses } from '../../ports/backoff.ts';
import type { Delivery } from '../../ports/topic/port.ts';
import type { Envelope } from '../../schemas/envelope/envelope.ts';
import { readSignature, type Verifier } from '../../schemas/envelope/key-ring.ts';
import { openPack } from '../../schemas/envelope/pack.ts';
import { PackError } from '../../schemas/errors.ts';

export interface PackKeys {
  readonly current: () => Verifier;
  /** Reads them again. What it throws means that they could not be read. */
  readonly refresh: () => Promise<Verifier>;
}

export interface IntakeSettings {
  readonly backoff: BackoffSettings;
  /**
   * How long after its arrival a pack's key is looked for before it is parked: longer than a secret takes to reach every
   * process. All packs of one key share the first one's, and those that come together wait together, however many keys
   * that never come they name.
   */
  readonly keyPatienceMs: number;
}

interface Arrived {
  readonly delivery: Delivery;
  /** By `performance.now()`. */
  readonly at: number;
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

/** Keys that are not known are remembered for as long as packs name them, and an hour; at most so many. */
const MISSING_MS = 3_600_000;
const MAX_MISSING = 1000;

export class Intake {
  readonly #parts: IntakeParts;
  /** By shard, those behind a pack that cannot be opened. */
  readonly #held = new Map<string, Arrived[]>();
  /** By the id of a key, since when it is looked for; by `performance.now()`. */
  readonly #missing = new LRUCache<string, number>({ max: MAX_MISSING, ttl: MISSING_MS, updateAgeOnGet: true });

  constructor(parts: IntakeParts) {
    this.#parts = parts;
  }

  take(delivery: Delivery): void {
    this.#take({ delivery, at: performance.now() });
  }

  #take(arrived: Arrived): void {
    const { delivery } = arrived;
    const held = this.#held.get(delivery.key);
    if (held) {
      held.push(arrived);
      return;
    }
    const error = this.#open(delivery, this.#parts.keys.current());
    if (error) void this.#hold(arrived, error);
  }

  #open(delivery: Delivery, keys: Verifier): PackError | undefined {
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

  async #hold(arrived: Arrived, error: PackError): Promise<void> {
    const { delivery } = arrived;
    const held: Arrived[] = [];
    this.#held.set(delivery.key, held);
    try {
      const final = error.code === 'unknown_key' ? await this.#lookForKey(arrived) : error;
      if (final) await this.#parts.refused(delivery, final);
    } catch {
      // Stopping: it comes again, with those behind it.
      return;
    }
    this.#held.delete(delivery.key);
    for (const next of held) this.#take(next);
  }

  /** Why it cannot be opened with the keys as they are read by then. */
  async #lookForKey({ delivery, at }: Arrived): Promise<PackError | undefined> {
    const { keys, settings, signal, keyMissing } = this.#parts;
    const { keyId } = readSignature(delivery.attributes['signature'] ?? '');
    const since = this.#missing.get(keyId) ?? at;
    this.#missing.set(keyId, since);
    const look = async (): Promise<PackError | undefined> => {
      const error = this.#open(delivery, await keys.refresh());
      if (error?.code !== 'unknown_key') this.#missing.delete(keyId);
      else if (performance.now() < since + settings.keyPatienceMs) throw error;
      return error;
    };
    return untilPasses(look, { signal, backoff: settings.backoff, onFailure: (failure) => keyMissing(delivery, failure) });
  }
}
