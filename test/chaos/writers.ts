/**
 * The writers. Each has aggregates of its own and one write under way, so the order in which the writes of an
 * aggregate were accepted is known. A write whose answer was lost is sent again until it has its 202.
 */
import { type ChaosClient, type Outcome, outcomeOf, type Request, type Response } from './client.ts';
import { Rng } from '../../ports/rng.ts';
import { type Aggregate, type Condition, draft, newAggregate, type Submission, submissionOf } from './workload.ts';

const WRITERS = 48;
/** Several hundred aggregates in a long run; in a short one fewer, so that each still has a history. */
const MAX_AGGREGATES_PER_WRITER = 8;
const WRITES_PER_AGGREGATE = 10;
const TENANTS = ['t1', 't2'];
/** Of a client that asks for the outcome, in one request. */
const WAIT_SECONDS = 10;
/** Writes that a writer sends before it looks whether the last one has its outcome. */
const MAX_AHEAD = 25;

export interface Progress {
  accepted: number;
  /** Writes sent again though they had their 202, and twice at once. */
  resent: number;
  /** When anything was last accepted or told. */
  at: number;
}

export class Writers {
  readonly aggregates: readonly Aggregate[];
  readonly progress: Progress = { accepted: 0, resent: 0, at: Date.now() };
  readonly problems: string[] = [];
  readonly #client: ChaosClient;
  readonly #seed: number;
  readonly #total: number;
  /** Aggregates of one writer. */
  readonly #own: number;
  #begun = 0;

  constructor(client: ChaosClient, seed: number, total: number) {
    this.#client = client;
    this.#seed = seed;
    this.#total = total;
    this.#own = Math.min(MAX_AGGREGATES_PER_WRITER, Math.ceil(total / WRITERS / WRITES_PER_AGGREGATE));
    // Neighbours share an order's key under two tenants.
    this.aggregates = Array.from({ length: WRITERS * this.#own }, (_, i) => newAggregate(TENANTS[i % 2] as string, `o${i >> 1}`));
  }

  async run(): Promise<void> {
    await Promise.all(Array.from({ length: WRITERS }, (_, i) => this.#write(i)));
  }

  /** Sent and waited for one by one at the end: each is behind all that its shard had before. */
  async fence(aggregates: readonly Aggregate[]): Promise<void> {
    await Promise.all(
      aggregates.map(async (aggregate) => {
        const value = { customer: 'fence', status: 'open' };
        const submission = submissionOf(
          aggregate,
          { method: 'PUT', resource: 'orders', changes: [{ op: 'upsert', value }], condition: 'none' },
          undefined,
        );
        await this.#send(submission);
        await this.outcome(submission);
      }),
    );
  }

  async #write(writer: number): Promise<void> {
    const rng = new Rng(this.#seed, `writer ${writer}`);
    const own = this.aggregates.slice(writer * this.#own, (writer + 1) * this.#own);
    const sent: Submission[] = [];
    let aggregate = rng.pick(own);
    while (this.#begun < this.#total) {
      this.#begun += 1;
      // Often the same one again, so that writes of one aggregate meet in a pack and in a commit.
      if (rng.chance(0.6)) aggregate = rng.pick(own);
      const next = draft(rng, aggregate.history.length + 1);
      const submission = submissionOf(aggregate, next, await this.#version(aggregate, next.condition, rng));
      await this.#send(submission, rng.chance(0.15) ? 5 : 0, rng.chance(0.03));
      sent.push(submission);
      if (rng.chance(0.1)) await this.#resend(submission);
      if (rng.chance(0.1)) await this.#resend(rng.pick(sent));
      if (rng.chance(0.2) || sent.length % MAX_AHEAD === 0) {
        await this.outcome(submission);
        if (rng.chance(0.5)) await this.#read(aggregate);
      }
    }
  }

  async #send(submission: Submission, waitSeconds = 0, twice = false): Promise<void> {
    const request = requestOf(submission, waitSeconds);
    if (twice) this.progress.resent += 1;
    const responses = await Promise.all([request, ...(twice ? [request] : [])].map((r) => this.#client.call(r, waitSeconds)));
    for (const response of responses) this.#receipt(submission, response);
    this.progress.accepted += 1;
  }

  /** The same write once more: the same receipt, and no effect. */
  async #resend(submission: Submission): Promise<void> {
    this.progress.resent += 1;
    this.#receipt(submission, await this.#client.call(requestOf(submission, 0)));
  }

  #receipt(submission: Submission, { status, body }: Response): void {
    this.progress.at = Date.now();
    const { correlationId: name } = submission;
    if (status !== 202 && status !== 200) {
      throw new Error(`${name}: ${submission.method} ${submission.path} was answered ${status} ${JSON.stringify(body)}`);
    }
    const id = String(body['id']);
    submission.receipt ??= id;
    if (submission.receipt !== id) this.problems.push(`${name} has two receipts: ${submission.receipt} and ${id}`);
    const outcome = outcomeOf(body);
    if (outcome) this.#told(submission, outcome);
  }

  /** Waits for it, as long as it takes. */
  async outcome(submission: Submission): Promise<Outcome> {
    const { tenant } = submission.aggregate;
    const path = `/v1/submissions/${submission.receipt ?? ''}?wait=${WAIT_SECONDS}`;
    for (;;) {
      const { status, body } = await this.#client.call({ tenant, method: 'GET', path }, WAIT_SECONDS);
      if (status !== 200) throw new Error(`${submission.correlationId}: GET ${path} was answered ${status} ${JSON.stringify(body)}`);
      const outcome = outcomeOf(body);
      if (!outcome) continue;
      this.progress.at = Date.now();
      this.#told(submission, outcome);
      return outcome;
    }
  }

  /** What was told once stays. */
  #told(submission: Submission, outcome: Outcome): void {
    const first = (submission.outcome ??= outcome);
    if (first.verdict !== outcome.verdict || first.commitTimestamp !== outcome.commitTimestamp)
      this.problems.push(`${submission.correlationId} has two outcomes: ${JSON.stringify(first)} and ${JSON.stringify(outcome)}`);
  }

  /** What `If-Match` names. */
  async #version(aggregate: Aggregate, condition: Condition, rng: Rng): Promise<string | undefined> {
    // One that no row ever had.
    const none = '2001-01-01T00:00:00Z';
    switch (condition) {
      case 'none':
        return undefined;
      case 'any':
        return '*';
      case 'stale':
        return aggregate.versions.length === 0 ? none : rng.pick(aggregate.versions);
      case 'current': {
        const last = aggregate.history.at(-1);
        if (last) await this.outcome(last);
        return (await this.#read(aggregate)) ?? none;
      }
    }
  }

  /** The order as it is now that its last write has its outcome; and its version. */
  async #read(aggregate: Aggregate): Promise<string | undefined> {
    const { tenant, orderId } = aggregate;
    const { status, body, etag } = await this.#client.call({ tenant, method: 'GET', path: `/v1/orders/${orderId}` });
    if (status !== 200 && status !== 404) throw new Error(`${tenant}/${orderId}: a read was answered ${status} ${JSON.stringify(body)}`);
    const { orderId: _, ...order } = body;
    aggregate.reads.push({ after: aggregate.history.length, order: status === 200 ? order : undefined });
    if (status === 404) return undefined;
    if (etag !== order['updatedAt']) this.problems.push(`${tenant}/${orderId}: ETag ${etag ?? 'none'} of ${JSON.stringify(order)}`);
    if (etag !== undefined && aggregate.versions.at(-1) !== etag) aggregate.versions.push(etag);
    return etag;
  }
}

function requestOf(submission: Submission, waitSeconds: number): Request {
  const { aggregate, method, path, body, ifMatch, idempotencyKey, correlationId } = submission;
  return {
    tenant: aggregate.tenant,
    method,
    path,
    ...(body === undefined ? {} : { body }),
    headers: {
      'idempotency-key': `"${idempotencyKey}"`,
      'correlation-id': correlationId,
      ...(ifMatch === undefined ? {} : { 'if-match': ifMatch === '*' ? '*' : `"${ifMatch}"` }),
      ...(waitSeconds > 0 ? { prefer: `wait=${waitSeconds}` } : {}),
    },
  };
}
