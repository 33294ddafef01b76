/** Outcomes as events on an EventBridge bus: `eventbridge:BUS`. */
import {
  CreateEventBusCommand,
  DescribeEventBusCommand,
  type EventBridgeClient,
  PutEventsCommand,
  type PutEventsRequestEntry,
} from '@aws-sdk/client-eventbridge';
import type { Provisionable } from '../adapter.ts';
import { type BackoffSettings, untilPasses } from '../backoff.ts';
import { PortUnavailableError } from '../errors.ts';
import { makeClient, readEventBridgeUrl } from './eventbridge-config.ts';
import { EVENT_SOURCE, type Events, eventType, type OutcomeEvent } from './port.ts';

/** Of one request. */
const LIMITS = {
  // https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
  maxBatchCount: 10,
  // "Less than 1 MB" for all entries together; taken as the smaller of the two readings of MB.
  // https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html#eb-putevent-size
  maxBatchBytes: 999_999,
};

/** Requests of one `send` under way at once. A commit of 500 submissions is 50 requests. */
const PARALLEL = 4;

/** Tries of a request: about 3 to 6 s if they fail at once. */
const MAX_TRIES = 6;
const BACKOFF: BackoffSettings = { minMs: 200, maxMs: 4000 };
/** A failure later than this is not tried again. */
const PATIENCE_MS = 15_000;

/**
 * What no repetition mends, as an exception of the request or as the code of an entry. All else is tried again, an
 * unknown code too: most are throttling and internal failures.
 * https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html
 * https://docs.aws.amazon.com/eventbridge/latest/APIReference/CommonErrors.html
 */
const HOPELESS: ReadonlySet<string> = new Set([
  'AccessDeniedException', // the role may not put events there
  'NotAuthorizedForSourceException', // the same, by the source
  'NotAuthorizedForDetailTypeException', // the same, by the detail type
  'ResourceNotFoundException', // there is no such bus
  'ValidationException', // the request is malformed
  'InvalidArgument', // the entry is malformed
  'MalformedDetail', // the entry's detail is no JSON
  'UnrecognizedClientException', // the credentials are of nobody
]);

export function openEventBridge(url: URL): Events & Provisionable {
  const config = readEventBridgeUrl(url);
  return new EventBridgeEvents(makeClient(config), config.bus);
}

export class EventBridgeEvents implements Events, Provisionable {
  readonly #client: EventBridgeClient;
  readonly #bus: string;
  readonly #backoff: BackoffSettings;

  constructor(client: EventBridgeClient, bus: string, backoff: BackoffSettings = BACKOFF) {
    this.#client = client;
    this.#bus = bus;
    this.#backoff = backoff;
  }

  async send(events: readonly OutcomeEvent[]): Promise<void> {
    const chunks = chunksOf(events.map((event) => this.#entry(event)));
    const failures: { left: number; error: unknown }[] = [];
    const work = chunks.values();
    await Promise.all(
      Array.from({ length: PARALLEL }, async () => {
        for (const chunk of work) {
          const failure = await this.#put(chunk);
          if (failure) failures.push(failure);
        }
      }),
    );
    const first = failures[0];
    if (!first) return;
    const left = failures.reduce((sum, failure) => sum + failure.left, 0);
    throw new PortUnavailableError(
      'events',
      `${left} of ${events.length} events were not accepted by bus ${this.#bus}: ${messageOf(first.error)}`,
      { context: { bus: this.#bus, left }, cause: first.error },
    );
  }

  /** Sends the entries, then those that failed, and so on; tells how many are left if it gives up. */
  async #put(entries: readonly PutEventsRequestEntry[]): Promise<{ left: number; error: unknown } | undefined> {
    const until = performance.now() + PATIENCE_MS;
    let left = entries;
    let isHopeless = false;
    const put = async (): Promise<void> => {
      const answer = await this.#client.send(new PutEventsCommand({ Entries: [...left] })).catch((error: unknown) => {
        isHopeless = error instanceof Error && HOPELESS.has(error.name);
        throw error;
      });
      const results = answer.Entries ?? [];
      // Answers stand in the order of the entries; one without an answer is not known to be accepted.
      left = left.filter((_, index) => results[index]?.EventId === undefined);
      const failed = results.filter((result) => result.EventId === undefined);
      if (left.length === 0) return;
      // Others of the request may yet pass, so only a request of hopeless entries ends it.
      isHopeless = failed.length > 0 && failed.every((result) => HOPELESS.has(result.ErrorCode ?? ''));
      throw new Error(`${failed[0]?.ErrorCode ?? 'no answer'}: ${failed[0]?.ErrorMessage ?? 'an entry was not answered'}`);
    };
    try {
      await untilPasses(put, { max: MAX_TRIES, backoff: this.#backoff, when: () => !isHopeless && performance.now() < until });
      return undefined;
    } catch (error) {
      return { left: left.length, error };
    }
  }

  #entry(event: OutcomeEvent): PutEventsRequestEntry {
    return {
      EventBusName: this.#bus,
      Source: EVENT_SOURCE,
      DetailType: eventType(event.outcome),
      Detail: JSON.stringify(event),
      Resources: [],
      Time: new Date(event.commitTimestamp),
    };
  }

  async ping(): Promise<void> {
    try {
      await this.#client.send(new DescribeEventBusCommand({ Name: this.#bus }));
    } catch (cause) {
      throw new PortUnavailableError('events', `bus ${this.#bus} cannot be described: ${messageOf(cause)}`, {
        context: { bus: this.#bus },
        cause,
      });
    }
  }

  async provision(): Promise<void> {
    try {
      await this.#client.send(new DescribeEventBusCommand({ Name: this.#bus }));
    } catch (error) {
      if (!isNamed(error, 'ResourceNotFoundException')) throw this.#notProvisioned(error);
      await this.#client.send(new CreateEventBusCommand({ Name: this.#bus })).catch((cause: unknown) => {
        // Another process was faster.
        if (!isNamed(cause, 'ResourceAlreadyExistsException')) throw this.#notProvisioned(cause);
      });
    }
  }

  #notProvisioned(cause: unknown): PortUnavailableError {
    return new PortUnavailableError('events', `bus ${this.#bus} could not be made: ${messageOf(cause)}`, {
      context: { bus: this.#bus },
      cause,
    });
  }

  close(): Promise<void> {
    this.#client.destroy();
    return Promise.resolve();
  }
}

/** Groups entries, in order, into requests that keep both limits. */
export function chunksOf(entries: readonly PutEventsRequestEntry[], limits = LIMITS): PutEventsRequestEntry[][] {
  const chunks: PutEventsRequestEntry[][] = [];
  let chunk: PutEventsRequestEntry[] = [];
  let bytes = 0;
  for (const entry of entries) {
    const size = entryBytes(entry);
    if (chunk.length === limits.maxBatchCount || (chunk.length > 0 && bytes + size > limits.maxBatchBytes)) {
      chunks.push(chunk);
      chunk = [];
      bytes = 0;
    }
    chunk.push(entry);
    bytes += size;
  }
  if (chunk.length > 0) chunks.push(chunk);
  return chunks;
}

/** As EventBridge counts: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html#eb-putevent-size */
export function entryBytes(entry: PutEventsRequestEntry): number {
  const texts = [entry.Source, entry.DetailType, entry.Detail, ...(entry.Resources ?? [])];
  const time = entry.Time === undefined ? 0 : 14;
  return texts.reduce((sum, text) => sum + Buffer.byteLength(text ?? ''), time);
}

const messageOf = (error: unknown): string => (error instanceof Error ? `${error.name}: ${error.message}` : String(error));
const isNamed = (error: unknown, name: string): boolean => error instanceof Error && error.name === name;
