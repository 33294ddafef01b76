/** From validated mutations to a receipt: ids, the envelope, the queue's acknowledgement, and the outcome if it is waited for. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { checkEnvelope, ENVELOPE_TYPE, type Envelope, type Mutation } from '../../schemas/envelope/envelope.ts';
import { aggregateId, payloadHash, randomSubmissionId, receiptId, shardOf, submissionIdFor } from '../../schemas/envelope/ids.ts';
import { HOLD_COST } from '../../schemas/envelope/holds.ts';
import { LEDGER_COST } from '../../schemas/envelope/ledger.ts';
import { envelopeText } from '../../schemas/envelope/pack.ts';
import { rowName, timestampOf } from '../../schemas/resource/cells.ts';
import { mutationCost } from '../../schemas/resource/cost.ts';
import type { RegisteredResource } from '../../schemas/resource/registry.ts';
import { logAllowed } from './decisions.ts';
import { RequestError } from './errors.ts';
import { idempotencyKeyOf, preferredWaitSeconds, traceOf } from './headers.ts';
import type { PackSender } from './pack-sender.ts';
import type { ReceiptKeys } from './receipt-keys.ts';
import { shownKey, type Receipt, type Receipts } from './receipts.ts';
import type { Statuses } from './statuses.ts';

export interface SubmissionSettings {
  readonly shardCount: number;
  /** One envelope, in bytes. */
  readonly maxEnvelopeBytes: number;
  /** Of one submission, as the database counts them. */
  readonly maxCommitMutations: number;
  readonly maxWaitSeconds: number;
}

/** A write whose mutations the route makes once it has the submission's id. */
export interface Write {
  /** Names the route for the Idempotency-Key: the same key on another route is another submission. */
  readonly route: string;
  readonly mutations: (submissionId: string) => readonly { readonly resource: RegisteredResource; readonly mutation: Mutation }[];
  readonly ifMatch?: string;
}

export class Submissions {
  readonly #sender: PackSender;
  readonly #receipts: Receipts;
  readonly #statuses: Statuses;
  readonly #receiptKeys: ReceiptKeys;
  readonly #settings: SubmissionSettings;

  constructor(parts: {
    sender: PackSender;
    receipts: Receipts;
    statuses: Statuses;
    receiptKeys: ReceiptKeys;
    settings: SubmissionSettings;
  }) {
    this.#sender = parts.sender;
    this.#receipts = parts.receipts;
    this.#statuses = parts.statuses;
    this.#receiptKeys = parts.receiptKeys;
    this.#settings = parts.settings;
  }

  async submit(request: FastifyRequest, reply: FastifyReply, write: Write): Promise<unknown> {
    const { caller } = request;
    const idempotencyKey = idempotencyKeyOf(request.headers);
    const submissionId = idempotencyKey === undefined ? randomSubmissionId() : submissionIdFor(caller.tenant, write.route, idempotencyKey);
    const parts = write.mutations(submissionId);
    const mutations = parts.map((p) => p.mutation);
    const hash = payloadHash(mutations, write.ifMatch);
    const id = receiptId({ submissionId, payloadHash: hash }, caller.tenant, this.#receiptKeys.current().current.key);
    const waitSeconds = preferredWaitSeconds(request.headers, this.#settings.maxWaitSeconds);

    const first = idempotencyKey === undefined ? undefined : await this.#firstReceipt(request, submissionId);
    if (first && first.payloadHash !== hash) {
      throw new RequestError('idempotency_key_reused', 'this Idempotency-Key was used before with another payload');
    }
    // The listener is there before the write leaves, so the signal of its outcome cannot be missed.
    const waiter = waitSeconds === undefined ? undefined : await this.#statuses.prepareWait(submissionId);
    try {
      const receipt = first ?? (await this.#accept(request, write, submissionId, parts, hash));
      if (waiter && waitSeconds !== undefined) {
        // It is accepted: a database that cannot be asked now makes it a 202, never an error that calls for another try.
        const status = await waiter
          .outcome(id, { submissionId, payloadHash: hash }, waitSeconds, first !== undefined, request.raw)
          .catch((err: unknown) => {
            request.log.warn({ err }, 'cannot look for the outcome of an accepted write');
            return undefined;
          });
        if (status) {
          void reply.header('preference-applied', 'wait').header('correlation-id', receipt.correlationId);
          return status;
        }
      }
      const statusUrl = `/v1/submissions/${id}`;
      void reply.code(202).header('location', statusUrl).header('correlation-id', receipt.correlationId);
      return { id, status: 'accepted', statusUrl, correlationId: receipt.correlationId, acceptedAt: receipt.acceptedAt };
    } finally {
      waiter?.close();
    }
  }

  async #accept(
    request: FastifyRequest,
    write: Write,
    submissionId: string,
    parts: ReturnType<Write['mutations']>,
    hash: string,
  ): Promise<Receipt> {
    const { caller } = request;
    const aggregate = aggregateOf(caller.tenant, parts);
    checkMutationCost(parts, this.#settings.maxCommitMutations);
    const lead = parts[0] as (typeof parts)[number];
    // As the ledger gives it back.
    const acceptedAt = timestampOf();
    const envelope: Envelope = {
      specversion: '1.0',
      id: submissionId,
      source: '/spanway/gateway',
      type: ENVELOPE_TYPE,
      subject: rowName(lead.resource.name, lead.mutation.key),
      time: acceptedAt,
      datacontenttype: 'application/json',
      correlationid: request.id,
      ...traceOf(request.headers),
      data: {
        mutations: parts.map((p) => p.mutation),
        payloadHash: hash,
        aggregate,
        caller,
        ...(write.ifMatch === undefined ? {} : { ifMatch: write.ifMatch }),
      },
    };
    // Nothing gets a 202 that the applier would not open.
    const text = envelopeText(checkEnvelope(envelope));
    const bytes = Buffer.byteLength(text);
    if (bytes > this.#settings.maxEnvelopeBytes) {
      throw new RequestError(
        'too_large',
        `the submission has ${bytes} bytes as it travels; at most ${this.#settings.maxEnvelopeBytes} are taken`,
      );
    }
    const shard = shardOf(aggregate, this.#settings.shardCount);
    await this.#sender.send(shard, text);
    logAllowed(request, { action: lead.mutation.op, resource: lead.resource.name, row: envelope.subject, submissionId, shard }, 'accepted');
    const receipt: Receipt = {
      payloadHash: hash,
      correlationId: request.id,
      acceptedAt,
      resource: lead.resource.name,
      key: shownKey(lead.resource, lead.mutation.key),
    };
    this.#receipts.remember(submissionId, receipt);
    return receipt;
  }

  /** The first receipt of an Idempotency-Key, while the cache has it. Without it the applier still finds out. */
  async #firstReceipt(request: FastifyRequest, submissionId: string): Promise<Receipt | undefined> {
    try {
      return await this.#receipts.find(submissionId);
    } catch (err) {
      request.log.warn({ err }, 'the cache cannot be asked for an earlier receipt');
      return undefined;
    }
  }
}

/** The one aggregate of all parts. */
function aggregateOf(tenant: string, parts: ReturnType<Write['mutations']>): string {
  const aggregates = new Set(
    parts.map(({ resource, mutation }) => aggregateId(tenant, resource.root.name, mutation.key.slice(0, resource.root.keyLength))),
  );
  if (aggregates.size !== 1)
    throw new RequestError('one_aggregate', `the mutations belong to ${aggregates.size} aggregates; all must share one root row`);
  return [...aggregates][0] as string;
}

function checkMutationCost(parts: ReturnType<Write['mutations']>, max: number): void {
  const cost = parts.reduce(
    (sum, { resource, mutation }) =>
      sum + mutationCost(resource.table, mutation.op === 'delete' ? 'delete' : { columns: resource.table.columns.length }),
    LEDGER_COST + (parts.some(({ resource }) => resource.root.waits) ? HOLD_COST : 0),
  );
  if (cost > max) {
    throw new RequestError(
      'too_large',
      `the submission counts up to ${cost} mutations with its indexes; the database takes at most ${max} in a commit`,
    );
  }
}
