/** Someone who can write to the queue and to the topic, but has no signing key, against a running Spanway. */
import { generateKeyPairSync, hash, randomBytes, randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type PackAttributes, encodePack, envelopeText, type Pack } from '../../schemas/envelope/pack.ts';
import { aggregateId, shardOf } from '../../schemas/envelope/ids.ts';
import { KeyRing, parseKeyRing } from '../../schemas/envelope/key-ring.ts';
import { PARKED } from '../../schemas/envelope/ledger.ts';
import { openQueue } from '../../ports/queue/index.ts';
import type { Provisionable } from '../../ports/adapter.ts';
import type { Queue } from '../../ports/queue/port.ts';
import { openStore } from '../../ports/store/index.ts';
import type { Store } from '../../ports/store/port.ts';
import { openTopic } from '../../ports/topic/index.ts';
import type { Topic } from '../../ports/topic/port.ts';
import { envelopeOf, orderUpsert } from '../fixtures/envelopes.ts';
import { type Stack, startDev } from '../fixtures/stacks.ts';
import { makeTemporaryFolder } from '../temp.ts';

const SHARDS = 10;

describe('a forged pack', () => {
  let stack: Stack;
  let queue: Queue & Provisionable;
  let topic: Topic;
  let store: Store;
  let genuine: KeyRing;
  let remove: () => Promise<void>;
  let orders = 0;

  beforeAll(async () => {
    const folder = await makeTemporaryFolder();
    remove = folder.remove;
    stack = await startDev(folder.path, [], { SPANWAY_KEY_PATIENCE_SECONDS: '0' });
    queue = await openQueue(`sqlite:${folder.path}/queue.db`);
    topic = await openTopic(`sqlite:${folder.path}/spanway.db`);
    store = await openStore(`sqlite:${folder.path}/spanway.db`);
    genuine = parseKeyRing('pack-signing-keys', await readFile(join(folder.path, 'secrets', 'pack-signing-keys'), 'utf8'));
  });
  afterAll(async () => {
    await stack.stop();
    await Promise.all([queue.close(), store.close()]);
    await remove();
  });

  /** A pack of one order of this tenant, as the gateway makes it but for the signer. */
  function packOf(orderId: string, signer = genuine, tenant = 't1'): Pack & { readonly shard: number } {
    const shard = shardOf(aggregateId(tenant, 'orders', [orderId]), SHARDS);
    return { ...encodePack([envelopeText(envelopeOf([orderUpsert(orderId)], { tenant }))], shard, signer), shard };
  }
  const ways = {
    async queue(shard: number, { body, attributes }: Pack): Promise<void> {
      const [sent] = await queue.send([{ group: String(shard), deduplicationId: randomUUID(), body, attributes: { ...attributes } }]);
      expect(sent?.status).toBe('ok');
    },
    async topic(shard: number, { body, attributes }: Pack): Promise<void> {
      await topic.publisher().publish(String(shard), [{ data: Buffer.from(body), attributes: { ...attributes } }]);
    },
  };
  async function parked({ body, attributes }: Pack): Promise<unknown> {
    const id = hash('sha256', `${JSON.stringify(attributes)}\n${Buffer.from(body).toString('base64')}`);
    for (;;) {
      const [row] = await store.read(PARKED, [[id]], ['reason']);
      if (row) return row[0];
      await sleep(20);
    }
  }

  const signature = (pack: Pack, change: (parts: [string, string, string]) => string[]): PackAttributes => ({
    ...pack.attributes,
    signature: change(pack.attributes.signature.split(';') as [string, string, string]).join(';'),
  });
  const forgeries: Record<string, { readonly reason: string; readonly forge: (orderId: string) => Pack }> = {
    'signed with a key of its own under a known name': {
      reason: 'signature_invalid',
      forge: (orderId) => packOf(orderId, new KeyRing([{ id: genuine.current.id, key: randomBytes(32) }])),
    },
    'signed with a key of its own under its own name': {
      reason: 'unknown_key',
      forge: (orderId) => packOf(orderId, new KeyRing([{ id: 'mine', key: randomBytes(32) }])),
    },
    'genuine but for its tenant': {
      reason: 'signature_invalid',
      forge(orderId) {
        const pack = packOf(orderId, genuine, 't2');
        return { ...pack, body: pack.body.replaceAll('"t2"', '"t1"') };
      },
    },
    'genuine but for its scopes': {
      reason: 'signature_invalid',
      forge(orderId) {
        const pack = packOf(orderId);
        return { ...pack, body: pack.body.replace('"orders:write"', '"orders:write","admin"') };
      },
    },
    'with the signature of another pack': {
      reason: 'signature_invalid',
      forge: (orderId) => ({ ...packOf(orderId), attributes: packOf('another').attributes }),
    },
    'with one envelope more than was signed': {
      reason: 'signature_invalid',
      forge(orderId) {
        const pack = packOf(orderId);
        const attributes = { ...pack.attributes, count: '2' };
        return { body: `${pack.body.slice(0, -1)},${packOf(orderId).body.slice(1)}`, attributes };
      },
    },
    'whose algorithm is none': {
      reason: 'signature_invalid',
      forge(orderId) {
        const pack = packOf(orderId);
        return { ...pack, attributes: signature(pack, ([, key]) => ['none', key, '']) };
      },
    },
    'whose algorithm is another than the one in use': {
      reason: 'signature_invalid',
      forge(orderId) {
        const pack = packOf(orderId);
        const { publicKey } = generateKeyPairSync('ed25519');
        const text = publicKey.export({ type: 'spki', format: 'der' }).toString('base64url');
        return { ...pack, attributes: signature(pack, ([, key]) => ['ed25519', key, text]) };
      },
    },
    'with a signature cut short': {
      reason: 'signature_invalid',
      forge(orderId) {
        const pack = packOf(orderId);
        return { ...pack, attributes: signature(pack, ([algorithm, key, text]) => [algorithm, key, text.slice(0, 8)]) };
      },
    },
  };

  for (const way of ['queue', 'topic'] as const) {
    for (const [name, { reason, forge }] of Object.entries(forgeries)) {
      it(`${name}, put on the ${way}, is parked, touches no table and holds nothing up`, async () => {
        const orderId = `forged-${(orders += 1)}`;
        const { shard } = packOf(orderId);
        const pack = forge(orderId);
        await ways[way](Number(pack.attributes.shard), pack);
        expect(await parked(pack)).toBe(reason);
        expect(await stack.client.row(`/v1/orders/${orderId}`)).toBeUndefined();
        await ways[way](shard, packOf(orderId));
        while (!(await stack.client.row(`/v1/orders/${orderId}`))) await sleep(20);
      });
    }
  }

  it('is one that was genuine once, sent again: it changes nothing', async () => {
    expect(await stack.client.write('PUT', '/v1/orders/again', { customer: 'c1', status: 'open' })).toBe('applied');
    const old = packOf('again');
    await ways.queue(old.shard, old);
    while ((await stack.client.row('/v1/orders/again'))?.['total'] !== '12.5') await sleep(20);
    expect(await stack.client.write('PUT', '/v1/orders/again', { customer: 'c1', status: 'paid' })).toBe('applied');
    for (const way of ['queue', 'topic'] as const) await ways[way](old.shard, old);
    // A write of the same shard is behind both.
    expect(await stack.client.write('PATCH', '/v1/orders/again', { note: 'behind' })).toBe('applied');
    expect(await stack.client.row('/v1/orders/again')).toMatchObject({ status: 'paid', note: 'behind' });
  });
});
