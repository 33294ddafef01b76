/** How many requests are taken: from each tenant, each caller, and each agent that acts for one, by token buckets. */
import { hash } from 'node:crypto';
import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from 'fastify';
import type { Bucket, BucketLevel, Cache } from '../../ports/cache/port.ts';
import type { Caller } from '../../schemas/envelope/envelope.ts';
import { RateLimitedError } from './errors.ts';
import { isWrite } from './headers.ts';

/** Each is a bucket of its own. */
export const RATE_NAMES = ['tenantWrites', 'tenantReads', 'callerWrites', 'callerReads', 'agentWrites', 'agentReads'] as const;
export type RateName = (typeof RATE_NAMES)[number];

export type Rate = Pick<Bucket, 'perSecond' | 'burst'>;

/** What has none is not limited. */
export type Rates = Readonly<Partial<Record<RateName, Rate | undefined>>>;

interface Policy extends Bucket {
  /** In headers and problems: `tenant-writes`. */
  readonly name: string;
}

export class RateLimiter {
  readonly #cache: Cache;
  readonly #rates: (tenant: string) => Rates;
  readonly #log: FastifyBaseLogger;
  #alone = false;

  constructor(cache: Cache, rates: (tenant: string) => Rates, log: FastifyBaseLogger) {
    this.#cache = cache;
    this.#rates = rates;
    this.#log = log;
  }

  /** Whether the reads of this caller are counted. */
  limitsReads({ tenant, actor }: Caller): boolean {
    const { tenantReads, callerReads, agentReads } = this.#rates(tenant);
    return (tenantReads ?? callerReads ?? (actor === undefined ? undefined : agentReads)) !== undefined;
  }

  /**
   * Takes the request from all of its buckets, and says in the answer's headers what they hold.
   * https://www.ietf.org/archive/id/draft-ietf-httpapi-ratelimit-headers-11.txt
   * @throws RateLimitedError
   */
  async take(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const policies = policiesOf(request.caller, isWrite(request) ? 'writes' : 'reads', this.#rates(request.caller.tenant));
    if (policies.length === 0) return;
    const { taken, levels, fallback } = await this.#cache.take(policies);
    this.#noteFallback(fallback);
    const limits = policies.map((policy, i) => ({ ...policy, ...(levels[i] as BucketLevel) }));
    void reply
      .header(
        'ratelimit-policy',
        limits.map(({ name, burst, perSecond }) => `"${name}";q=${burst};w=${Math.ceil(burst / perSecond)}`).join(', '),
      )
      .header('ratelimit', limits.map(({ name, left, nextMs }) => `"${name}";r=${left};t=${seconds(nextMs)}`).join(', '));
    if (taken) return;
    const empty = limits.filter(({ left }) => left === 0);
    throw new RateLimitedError(
      empty.map(({ name }) => name),
      Math.max(1, ...empty.map(({ nextMs }) => seconds(nextMs))),
    );
  }

  /** Once for each change, however many requests see it. */
  #noteFallback(why: Error | undefined): void {
    if ((why !== undefined) === this.#alone) return;
    this.#alone = why !== undefined;
    if (why) this.#log.warn({ err: why, rateLimits: 'process' }, 'the cache is away; this process counts its requests alone');
    else this.#log.info({ rateLimits: 'shared' }, 'the cache is back; requests are counted for all processes');
  }
}

function policiesOf({ tenant, issuer, subject, actor }: Caller, kind: 'writes' | 'reads', rates: Rates): Policy[] {
  const suffix = kind === 'writes' ? 'Writes' : 'Reads';
  // Encoded, so that no tenant's name runs into what follows it.
  const prefix = `rate:${encodeURIComponent(tenant)}`;
  const policy = (who: 'tenant' | 'caller' | 'agent', ...names: readonly string[]): Policy[] => {
    const rate = rates[`${who}${suffix}`];
    if (!rate) return [];
    const id = names.length === 0 ? '' : `:${hash('sha256', JSON.stringify(names), 'base64url')}`;
    return [{ name: `${who}-${kind}`, key: `${prefix}:${who}:${kind}${id}`, ...rate }];
  };
  return [...policy('tenant'), ...policy('caller', issuer, subject), ...(actor === undefined ? [] : policy('agent', issuer, actor))];
}

function seconds(ms: number): number {
  return Math.ceil(ms / 1000);
}
