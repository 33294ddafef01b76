/**
 * The applier: packs from the topic into the store, exactly once in effect, in order per shard. A pack is
 * acknowledged when each of its envelopes has its outcome in the ledger and its event is sent.
 */
import { hash } from 'node:crypto';
import type { Logger } from 'pino';
import { StoreError } from '../../ports/errors.ts';
import type { Cache } from '../../ports/cache/port.ts';
import type { Events } from '../../ports/events/port.ts';
import type { Store } from '../../ports/store/port.ts';
import type { Delivery, Subscriber, SubscriberLimits } from '../../ports/topic/port.ts';
import type { Envelope } from '../../schemas/envelope/envelope.ts';
import { parkedMutation } from '../../schemas/envelope/ledger.ts';
import { envelopeText } from '../../schemas/envelope/pack.ts';
import type { PackError } from '../../schemas/errors.ts';
import type { ResourceSource } from '../../schemas/resource/registry.ts';
import { untilPasses } from '../backoff.ts';
import { Announcer } from './announce.ts';
import { type ApplyContext, type ApplySettings, applyBatch } from './apply.ts';
import { Breaker } from './breaker.ts';
import { Intake, type IntakeSettings, type PackKeys } from './intake.ts';
import { type BatchLimits, Lane } from './lane.ts';
import { planWork } from './plan.ts';
import type { Settled, Work } from './work.ts';

export interface ApplierSettings extends ApplySettings, BatchLimits, SubscriberLimits, IntakeSettings {
  /** Commits under way at once, each of its own shards. 1 on the emulator, which locks the whole database. */
  readonly parallelism: number;
  /** How long a stop waits for batches and events under way. */
  readonly stopMs: number;
}

export interface ApplierParts {
  readonly subscriber: Subscriber;
  readonly store: Store;
  readonly events: Events;
  readonly cache: Cache;
  readonly resources: ResourceSource;
  readonly packKeys: PackKeys;
  readonly log: Logger;
  readonly settings: ApplierSettings;
  /** Hears of a fault that ended a lane: stop and start anew. What was not settled comes again. */
  readonly onFatal: (error: unknown) => void;
}

export interface Applier {
  /** Takes nothing more, lets what is under way end, gives back the rest, and resolves. */
  stop(): Promise<void>;
}

export function startApplier(parts: ApplierParts): Applier {
  const { subscriber, store, events, cache, log, settings } = parts;
  const stopping = new AbortController();
  const { signal } = stopping;
  const breaker = new Breaker({
    opened: () => {
      log.error('the store is down; pulling no more until it answers');
      subscriber.pause();
    },
    closed: () => {
      log.info('the store answers again; pulling');
      subscriber.resume();
    },
  });
  const context: ApplyContext = { store, log, settings, signal, breaker };
  const announcer = new Announcer({ cache, events, log, backoff: settings.backoff, signal });
  const lanes = Array.from(
    { length: settings.parallelism },
    () =>
      new Lane({
        limits: settings,
        apply: (works) => applyBatch(context, works),
        failed: (error) => {
          if (!signal.aborted) parts.onFatal(error);
        },
      }),
  );

  function work(delivery: Delivery, envelopes: readonly Envelope[]): void {
    const lane = lanes[laneOf(delivery.key, lanes.length)] as Lane;
    let open = envelopes.length;
    for (const envelope of envelopes) {
      const item = planWork(envelope, envelopeText(envelope), parts.resources.current);
      lane.add({
        work: item,
        settle: (settled) => {
          logOutcome(item, settled);
          announcer.announce(item, settled, () => {
            open -= 1;
            if (open === 0) delivery.ack();
          });
        },
      });
    }
  }

  /** A message without a submission that could be recorded: kept whole in a table of its own, then acknowledged. */
  async function park(delivery: Delivery, error: PackError): Promise<void> {
    const reason = error.code;
    log.error({ err: error, shard: delivery.key, reason }, 'a pack cannot be opened; parking it');
    const body = delivery.data.toString('base64');
    const attributes = JSON.stringify(delivery.attributes);
    const id = hash('sha256', `${attributes}\n${body}`);
    try {
      await untilPasses(
        () =>
          store
            .commit([parkedMutation({ id, reason, detail: error.message, attributes, body })], { tag: 'spanway-park' })
            .catch(ifNotThere),
        { signal, backoff: settings.backoff, onFailure: (err, attempt) => log.warn({ err, attempt }, 'cannot park a pack; trying again') },
      );
      delivery.ack();
    } catch (err) {
      log.error({ err }, 'a pack could not be parked; it comes again');
      delivery.nack();
      throw err;
    }
  }

  function logOutcome({ envelope }: Work, { verdict, commitTimestamp, duplicate }: Settled): void {
    const line = {
      correlationId: envelope.correlationid,
      submissionId: envelope.id,
      outcome: verdict.outcome,
      reason: verdict.reason,
      commitTimestamp,
      duplicate,
    };
    if (verdict.outcome === 'dead_lettered') log.error({ ...line, detail: verdict.detail }, 'dead-lettered');
    else log.info(line, verdict.outcome);
  }

  subscriber.onError((err) => log.warn({ err }, 'cannot pull from the topic; trying again'));
  const intake = new Intake({
    keys: parts.packKeys,
    settings,
    signal,
    opened: work,
    refused: park,
    keyMissing: (delivery, err) =>
      log.warn(
        { err, shard: delivery.key },
        'a pack is signed with a key that is not known here; its shard waits while the keys are read again',
      ),
  });
  subscriber.start((delivery) => {
    intake.take(delivery);
  }, settings);

  return {
    async stop() {
      // New packs stop at once; batches and events under way get their time, then retries end.
      const end = performance.now() + settings.stopMs;
      const deadline = setTimeout(() => stopping.abort(new Error('the applier is stopping')), settings.stopMs);
      await Promise.all(lanes.map((lane) => lane.close()));
      await announcer.drain();
      clearTimeout(deadline);
      stopping.abort(new Error('the applier is stopping'));
      await subscriber.stop(Math.max(end - performance.now(), LAST_ACKS_MS));
    },
  };
}

/** A pack that comes again is parked: its row stays as it is, with the time when it was parked first. */
function ifNotThere(error: unknown): void {
  if (!(error instanceof StoreError && error.failure === 'already_exists')) throw error;
}

/** What the last acks get when all the time is used up. */
const LAST_ACKS_MS = 1000;

/** Shards are numbers; anything else shares the first lane. */
function laneOf(key: string, lanes: number): number {
  return /^\d{1,9}$/.test(key) ? Number(key) % lanes : 0;
}
