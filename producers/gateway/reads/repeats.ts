/**
 * Reads that were answered before with a row from the cache, and come again the same: same URL, same token, same
 * `Read-Consistency`. Who the caller is, what policy lets it see and how that is written follow from those alone, so
 * they are kept. What may have changed since is looked at each time: the token's end, the resources, the kept row and
 * its age. They are answered before Fastify routes them; whatever is not sure to be the same goes the usual way.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyBaseLogger } from 'fastify';
import { LRUCache } from 'lru-cache';
import type { Caller } from '../../../schemas/envelope/envelope.ts';
import type { RegisteredResource, ResourceSource } from '../../../schemas/resource/registry.ts';
import { type Decision, logAllowed, logsAllowed } from '../decisions.ts';
import { authorizationsOf, isCorrelationId, newCorrelationId } from '../headers.ts';
import type { Identity } from '../identity.ts';
import type { RateLimiter } from '../rate-limits.ts';
import type { CacheEntry, RowCache } from './row-cache.ts';

export interface RepeatableRead {
  readonly caller: Caller;
  readonly resource: RegisteredResource;
  /** What the row was taken from, when it was current, and how old it may be. */
  readonly entry: CacheEntry;
  readonly currentAtMs: number;
  readonly maxStalenessMs: number;
  /** Of the answer, beside the correlation id and the length. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** For its line in the log. */
  readonly decision: Decision;
}

interface KeptRead extends RepeatableRead {
  readonly authorization: string;
  /** Of `performance.now()`: its token needs another look then. */
  readonly untilMs: number;
  /** Names and values in turns. */
  readonly rawHeaders: readonly string[];
}

/** Reads kept at most, and the characters of all of them: a hot row has few askers, and a row in full is in the cache anyway. */
const KEPT_READS = 10_000;
const KEPT_CHARACTERS = 32 * 2 ** 20;

export class Repeats {
  readonly #reads = new LRUCache<string, KeptRead>({ max: KEPT_READS, maxSize: KEPT_CHARACTERS });
  readonly #resources: ResourceSource;
  readonly #rows: RowCache;
  readonly #identity: Identity;
  readonly #limiter: RateLimiter;
  readonly #log: FastifyBaseLogger;

  constructor(parts: { resources: ResourceSource; rows: RowCache; identity: Identity; limiter: RateLimiter; log: FastifyBaseLogger }) {
    this.#resources = parts.resources;
    this.#rows = parts.rows;
    this.#identity = parts.identity;
    this.#limiter = parts.limiter;
    this.#log = parts.log;
  }

  /** For as long as its token needs no other look, and not where the request says more than is compared here. */
  keep(request: IncomingMessage, read: RepeatableRead): void {
    const asked = askedBy(request);
    const knownForMs = this.#identity.knownForMs?.(authorizationsOf(request)) ?? 0;
    if (!asked || knownForMs <= 0) return;
    const headers = { ...read.headers, 'content-length': String(Buffer.byteLength(read.body)) };
    const { key, authorization } = asked;
    const kept = { ...read, authorization, untilMs: performance.now() + knownForMs, rawHeaders: Object.entries(headers).flat() };
    this.#reads.set(key, kept, { size: key.length + authorization.length + read.entry.text.length + read.body.length });
  }

  /** False where it has to go the usual way; nothing was done with it then. */
  answer(request: IncomingMessage, response: ServerResponse): boolean {
    const asked = askedBy(request);
    const read = asked && this.#reads.get(asked.key);
    if (!read || read.authorization !== asked.authorization || performance.now() >= read.untilMs) return false;
    // A change of the resource files makes new ones.
    if (this.#resources.current.get(read.resource.name) !== read.resource || this.#limiter.limitsReads(read.caller)) return false;
    if (Date.now() - read.currentAtMs > read.maxStalenessMs || !this.#rows.isKept(read.entry)) return false;
    const correlationId = asked.correlationId || newCorrelationId();
    if (logsAllowed(this.#log)) logAllowed({ log: this.#log.child({ correlationId }), caller: read.caller }, read.decision, 'read');
    // Together with all that came in this turn of the event loop: a client that is woken once for many answers sends many
    // more at once, where each answer at once wakes it each time.
    setImmediate(() => response.writeHead(200, ['correlation-id', correlationId, ...read.rawHeaders]).end(read.body));
    return true;
  }
}

interface Asked {
  /** The URL, `Read-Consistency` and the end of the token's signature: to hash the whole token takes a microsecond. */
  readonly key: string;
  readonly authorization: string;
  /** '': none. */
  readonly correlationId: string;
}

const KEY_SIGNATURE_CHARACTERS = 32;

/** What a GET says that counts for a row; undefined where one of it is out of form, or it says what is not compared. */
function askedBy({ method, url, rawHeaders }: IncomingMessage): Asked | undefined {
  if (method !== 'GET') return undefined;
  let authorization = '';
  let consistency = '';
  let correlationId = '';
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const value = rawHeaders[i + 1] ?? '';
    switch (rawHeaders[i]?.toLowerCase()) {
      case 'authorization':
        if (authorization !== '' || value === '') return undefined;
        authorization = value;
        break;
      case 'read-consistency':
        if (consistency !== '' || value === '') return undefined;
        consistency = value;
        break;
      case 'correlation-id':
        if (correlationId !== '' || !isCorrelationId(value)) return undefined;
        correlationId = value;
        break;
      case 'if-none-match':
      case 'if-modified-since':
      case 'range':
        return undefined;
      default:
    }
  }
  // None of them has a line break in it.
  const key = `${url ?? ''}\n${consistency}\n${authorization.slice(-KEY_SIGNATURE_CHARACTERS)}`;
  return { key, authorization, correlationId };
}
