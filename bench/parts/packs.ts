/** Packs as the gateway makes them, prepared, and a subscriber that hands them out as fast as they are taken. */
import { randomBytes, randomUUID } from 'node:crypto';
import type { Delivery, Subscriber, SubscriberLimits } from '../../ports/topic/port.ts';
import type { Envelope } from '../../schemas/envelope/envelope.ts';
import { shardOf } from '../../schemas/envelope/ids.ts';
import { KeyRing } from '../../schemas/envelope/key-ring.ts';
import { encodePack, envelopeText, type Pack, QUEUED_AT } from '../../schemas/envelope/pack.ts';
import { defineResource, field, Type } from '../../index.ts';
import { ResourceSet } from '../../schemas/resource/registry.ts';
import { envelopeOf, orderUpsert } from '../../test/fixtures/envelopes.ts';
import { defaults } from './settings.ts';

export const ring = new KeyRing([{ id: 'bench', key: randomBytes(32) }]);
/** What the brokers say of every pack. */
const CARRIED_AT = '2026-11-24T12:00:00.000Z';

/** A small row without indexes, so that a bench measures the pipeline and not a table. */
export const items = defineResource({
  name: 'bench-items',
  key: ['id'],
  schema: Type.Object({
    id: Type.String({ maxLength: 36 }),
    counter: field.int64({ minimum: 0, maximum: 1_000_000_000 }),
    note: Type.Optional(Type.String({ maxLength: 200 })),
  }),
  access: [{ actions: ['read', 'insert', 'update', 'upsert', 'delete'], scope: 'bench' }],
});

export const benchResources = new ResourceSet([items]);

/** An upsert of an item of its own, about 550 bytes as it travels. */
export function itemEnvelope(): Envelope {
  return envelopeOf([
    { op: 'upsert', resource: items.name, key: [randomUUID()], value: { counter: '1', note: 'as small as a row may be' } },
  ]);
}

/** An upsert of an order of its own, about 600 bytes as it travels. */
export function orderEnvelope(): Envelope {
  return envelopeOf([orderUpsert(randomUUID())]);
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
    const shard = shardOf(envelope.data.aggregate, defaults.shardCount);
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
    // One pack a turn, as they come from a network: what is under way elsewhere goes on in between.
    const pump = (): void => {
      if (this.#next === this.#packs.length) return;
      setImmediate(pump);
      if (this.#next - this.#acked >= limits.maxOutstandingMessages || this.#bytes >= limits.maxOutstandingBytes) return;
      const pack = this.#packs[this.#next] as Pack;
      const data = Buffer.from(pack.body);
      this.#next += 1;
      this.#bytes += data.length;
      handler({
        key: pack.attributes.shard,
        data,
        attributes: { ...pack.attributes, [QUEUED_AT]: CARRIED_AT },
        attempt: 1,
        publishedAt: CARRIED_AT,
        ack: () => {
          this.#acked += 1;
          this.#bytes -= data.length;
          if (this.#acked === this.#packs.length) this.#drained.resolve(undefined);
        },
        nack: () => this.#drained.reject(new Error('a prepared pack was nacked')),
      });
    };
    pump();
  }

  onError(): void {}
  pause(): void {}
  resume(): void {}
  ping(): Promise<void> {
    return Promise.resolve();
  }
  stop(): Promise<void> {
    return Promise.resolve();
  }
}
