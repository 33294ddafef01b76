/** A client that does what a client should: it sends a write again, with its Idempotency-Key, until it has a receipt. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from '../fixtures/stacks.ts';
import type { Verdict } from './model.ts';
import { Rng } from '../../ports/rng.ts';

export interface Request {
  readonly tenant: string;
  readonly method: string;
  readonly path: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Response {
  readonly status: number;
  readonly etag: string | undefined;
  readonly body: Readonly<Record<string, unknown>>;
}

/** What the status route, or a write that waited, says of a submission. */
export interface Outcome {
  readonly verdict: Verdict;
  readonly commitTimestamp: string | undefined;
}

const TIMEOUT_MS = 8000;
const MAX_PAUSE_MS = 400;
/** 401, 403 and 5xx but 503 are none of these: nothing that the run does to the roles excuses them. */
const TRY_AGAIN = new Set([503]);

export class ChaosClient {
  readonly #url: string;
  readonly #tokens: Client;
  readonly #pauses: Rng;
  readonly #given = new AbortController();
  /** Requests that had no answer, or 503, and were sent again. */
  retries = 0;
  /** Answers that must not come, whatever fails behind the gateway. */
  readonly wrong: string[] = [];

  constructor(url: string, dataDir: string, seed: number) {
    this.#url = url;
    this.#tokens = new Client(url, dataDir);
    this.#pauses = new Rng(seed, `pauses ${url}`);
  }

  /** Ends every call: the run is stuck, and that is what it found. */
  giveUp(reason: Error): void {
    this.#given.abort(reason);
  }

  /** The first answer that is one. */
  async call(request: Request, waitSeconds = 0): Promise<Response> {
    for (;;) {
      this.#given.signal.throwIfAborted();
      const response = await this.#once(request, TIMEOUT_MS + waitSeconds * 1000).catch((error: unknown) => {
        this.#given.signal.throwIfAborted();
        // A connection that failed or a time-out, and nothing else.
        if (error instanceof TypeError || (error as Error).name === 'TimeoutError' || error instanceof SyntaxError) return undefined;
        throw error;
      });
      if (response && !TRY_AGAIN.has(response.status)) return response;
      this.retries += 1;
      await sleep(this.#pauses.int(20, MAX_PAUSE_MS));
    }
  }

  async #once({ tenant, method, path, body, headers }: Request, timeoutMs: number): Promise<Response> {
    const token = await this.#tokens.token({ tenant, ttlSeconds: 24 * 3600 });
    const response = await fetch(`${this.#url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.any([AbortSignal.timeout(timeoutMs), this.#given.signal]),
    });
    const text = await response.text();
    const parsed = text === '' ? {} : (JSON.parse(text) as Record<string, unknown>);
    if (response.status >= 500 && response.status !== 503) this.wrong.push(`${method} ${path}: ${response.status} ${text.slice(0, 500)}`);
    return { status: response.status, etag: response.headers.get('etag')?.replaceAll('"', ''), body: parsed };
  }
}

/** Undefined while there is none. */
export function outcomeOf(body: Readonly<Record<string, unknown>>): Outcome | undefined {
  const { status, reason, commitTimestamp } = body as { status?: string; reason?: string; commitTimestamp?: string };
  if (status === undefined || status === 'accepted') return undefined;
  return { verdict: reason === undefined ? status : `${status} ${reason}`, commitTimestamp };
}
