/** Packs as the gateway makes them, prepared, and a subscriber that hands them out as fast as they are taken. */
import { randomBytes, randomUUID } from 'node:crypto';
import type { Delivery, Subscriber, SubscriberLimits } from '../ports/topic/port.ts';
import { ENVELOPE_TYPE, type Envelope } from '../schemas/envelope/envelope.ts';
import { aggregateId, payloadHash, shardOf } from '../schemas/envelope/ids.ts';
import { KeyRing } from '../schemas/envelope/key-ring.ts';
import { encodePack, envelopeText, type Pack } from '../schemas/envelope/pack.ts';

export const ring = new KeyRing([{ id: 'bench', key: randomBytes(32) }]);
export const SHARDS = 16;

/** An upsert of an order of its own, about 600 bytes as it travels. */
export function orderEnvelope(orderId: string = randomUUID()): Envelope {
  const mutations = [
    {
      op: 'upsert' as const,
      resource: 'orders',
      key: [orderId],
      value: { customer: 'customer-1', status: 'open', total: '12.5', note: null, metadata: null },
    },
  ];
  return {
    specversion: '1.0',
    id: randomUUID(),
    source: '/spanway/gateway',
    type: ENVELOPE_TYPE,
    subject: `orders/${orderId}`,
    time: '2026-11-24T12:00:00.000Z',
    datacontenttype: 'application/json',
    correlationid: randomUUID(),
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    data: {
      mutations,
      payloadHash: payloadHash(mutations, undefined),
      aggregate: aggregateId('t1', 'orders', [orderId]),
      caller: { issuer: 'urn:bench', subject: 'bench', tenant: 't1', scopes: ['orders:write'] },
    },
  };
}

/** Each pack of one shard, of at most `size` envelopes, in the order of the envelopes. */
export function packsOf(envelopes: readonly Envelope[], size: number): (Pack & { readonly shard: number })[] {
  const open = new Map<number, string[]>();
  const packs: (Pack & { readonly shard: number })[] = [];
  const close = (shard: number, texts: readonly string[]): void => {
    packs.push({ ...encodePack(texts, shard, ring), shard });
    open.delete(shard);
  };
  for (const envelope of envelopes) {
    const shard = shardOf(envelope.data.aggregate, SHARDS);
    const texts = open.get(shard) ?? [];
    open.set(shard, texts);
    texts.push(envelopeText(envelope));
    if (texts.length === size) close(shard, texts);
  }
  for (const [shard, texts] of [...open]) close(shard, texts);
  return packs;
}

/** Hands out prepared packs within the limits, one turn of the event loop at a time; `drained` resolves when all are acked. */
export class PreparedSubscriber implements Subscriber {
  readonly #packs: readonly Pack[];
  readonly #drained = Promise.withResolvers<undefined>();
  #next = 0;
  #acked = 0;
  #bytes = 0;

  constructor(packs: readonly Pack[]) {
    this.#packs = packs;
  }

  readonly drained: Promise<undefined> = this.#drained.promise;

  start(handler: (delivery: Delivery) => void, limits: SubscriberLimits): void {
    const pump = (): void => {
      while (
        this.#next < this.#packs.length &&
        this.#next - this.#acked < limits.maxOutstandingMessages &&
        this.#bytes < limits.maxOutstandingBytes
      ) {
        const pack = this.#packs[this.#next] as Pack;
        const data = Buffer.from(pack.body);
        this.#next += 1;
        this.#bytes += data.length;
        handler({
          key: pack.attributes.shard,
          data,
          attributes: { ...pack.attributes },
          attempt: 1,
          ack: () => {
            this.#acked += 1;
            this.#bytes -= data.length;
            if (this.#acked === this.#packs.length) this.#drained.resolve(undefined);
            else setImmediate(pump);
          },
          nack: () => this.#drained.reject(new Error('a prepared pack was nacked')),
        });
      }
    };
    pump();
  }

  onError(): void {}
  ping(): Promise<void> {
    return Promise.resolve();
  }
  stop(): Promise<void> {
    return Promise.resolve();
  }
}
