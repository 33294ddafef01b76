/** Outcomes told to the world: cached rows are outdated, a signal for who waits, an event for who subscribes. */
import type { Logger } from 'pino';
import type { Cache, OutdatedValue } from '../../ports/cache/port.ts';
import type { Events, OutcomeEvent } from '../../ports/events/port.ts';
import { eventIdOf } from '../../schemas/envelope/ids.ts';
import { outcomeChannel } from '../../schemas/envelope/signals.ts';
import { rowCacheKey, versionOf } from '../../schemas/resource/row-cache.ts';
import { type BackoffSettings, untilPasses } from '../backoff.ts';
import type { Settled, Work } from './work.ts';

interface Announcement {
  readonly work: Work;
  readonly settled: Settled;
  readonly done: () => void;
}

/**
 * Gathers what was settled and sends it in batches, one at a time. `done` is called when the event is accepted, so
 * that a pack is acknowledged only after its events: one that a crash cut off is sent when the pack comes again.
 */
export class Announcer {
  readonly #cache: Cache;
  readonly #events: Events;
  readonly #log: Logger;
  readonly #backoff: BackoffSettings;
  readonly #signal: AbortSignal;
  #waiting: Announcement[] = [];
  #running: Promise<void> | undefined;

  constructor(parts: { cache: Cache; events: Events; log: Logger; backoff: BackoffSettings; signal: AbortSignal }) {
    this.#cache = parts.cache;
    this.#events = parts.events;
    this.#log = parts.log;
    this.#backoff = parts.backoff;
    this.#signal = parts.signal;
  }

  announce(work: Work, settled: Settled, done: () => void): void {
    this.#waiting.push({ work, settled, done });
    this.#running ??= this.#run();
  }

  /** Resolves when all that was announced is sent, or the signal has aborted. */
  async drain(): Promise<void> {
    await this.#running;
  }

  async #outdate(batch: readonly Announcement[]): Promise<void> {
    for (const [seconds, outdated] of outdatedBy(batch)) await this.#cache.versioned.outdate(outdated, seconds * 1000);
  }

  async #run(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      this.#outdate(batch).catch((err: unknown) =>
        this.#log.warn({ err }, 'cannot outdate cached rows; they are given for as long as their readers allow'),
      );
      const channels = batch.map(({ work }) => outcomeChannel(work.envelope.id));
      this.#cache
        .signal(channels)
        .catch((err: unknown) => this.#log.warn({ err }, 'cannot signal outcomes; who waits for one finds it in the ledger'));
      try {
        await untilPasses(() => this.#events.send(batch.map(eventOf)), {
          signal: this.#signal,
          backoff: this.#backoff,
          onFailure: (err, attempt) =>
            this.#log.warn(
              { err, attempt, events: batch.length },
              'cannot send outcome events; their packs stay unacknowledged until it passes',
            ),
        });
        for (const { done } of batch) done();
      } catch (error) {
        if (!this.#signal.aborted) throw error;
      }
    }
    this.#running = undefined;
  }
}

/** The cached rows that these wrote, by how long the cache keeps them. A duplicate's may not have been told of before. */
function outdatedBy(batch: readonly Announcement[]): ReadonlyMap<number, readonly OutdatedValue[]> {
  const bySeconds = new Map<number, OutdatedValue[]>();
  for (const { work, settled } of batch) {
    if (settled.verdict.outcome !== 'applied' || !('writes' in work.plan)) continue;
    for (const { resource, key } of work.plan.writes) {
      if (!resource.cache) continue;
      const outdated = bySeconds.get(resource.cache.seconds) ?? [];
      outdated.push({ key: rowCacheKey(resource.table, key), version: versionOf(settled.commitTimestamp) });
      bySeconds.set(resource.cache.seconds, outdated);
    }
  }
  return bySeconds;
}

function eventOf({ work, settled }: Announcement): OutcomeEvent {
  const { envelope } = work;
  const { data } = envelope;
  const first = data.mutations[0];
  const { verdict, attempt } = settled;
  return {
    id: eventIdOf(envelope, attempt),
    submissionId: envelope.id,
    outcome: verdict.outcome,
    ...(verdict.reason === undefined ? {} : { reason: verdict.reason }),
    ...(verdict.detail === undefined ? {} : { detail: verdict.detail }),
    tenant: data.caller.tenant,
    subject: data.caller.subject,
    ...(data.caller.actor === undefined ? {} : { actor: data.caller.actor }),
    resource: first?.resource ?? '',
    key: first?.key ?? [],
    correlationId: envelope.correlationid,
    ...(envelope.traceparent === undefined ? {} : { traceparent: envelope.traceparent }),
    acceptedAt: envelope.time,
    commitTimestamp: settled.commitTimestamp,
    ...(attempt === undefined ? {} : { attempt }),
  };
}
