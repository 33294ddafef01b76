import { hash, randomBytes } from 'node:crypto';
import { CloudEvent } from 'cloudevents';
import { describe, expect, it } from 'vitest';
import { checkEnvelope, ENVELOPE_TYPE, type Envelope } from '../../schemas/envelope/envelope.ts';
import { aggregateId, payloadHash, readReceiptId, receiptId, shardOf, submissionIdFor } from '../../schemas/envelope/ids.ts';
import { newEd25519Lines, parseEd25519Signer, parseEd25519Verifier } from '../../schemas/envelope/ed25519.ts';
import { KeyRing, parseKeyRing } from '../../schemas/envelope/key-ring.ts';
import { correlationIdsIn, encodePack, envelopeText, openPack } from '../../schemas/envelope/pack.ts';
import { PackError, SpanwayError } from '../../schemas/errors.ts';
import { anEnvelope } from '../fixtures/envelopes.ts';

const key = { id: 'k1', key: randomBytes(32) };
const ring = new KeyRing([key]);

const codeOf = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    if (error instanceof PackError) return error.code;
    throw error;
  }
  return 'opened';
};

describe('an envelope', () => {
  it('is a CloudEvents 1.0 event', () => {
    const event = new CloudEvent(anEnvelope() as unknown as Record<string, unknown>);
    expect(event.validate()).toBe(true);
    expect(event.type).toBe(ENVELOPE_TYPE);
  });

  it.each([
    null,
    {},
    [],
    { ...anEnvelope(), specversion: '0.3' },
    { ...anEnvelope(), data: {} },
    { ...anEnvelope(), type: 'other' },
    anEnvelope({ id: 'a' }),
  ])('is told from %#', (value) => {
    expect(codeOf(() => checkEnvelope(value))).toBe('not_an_envelope');
  });
});

describe('a pack', () => {
  const envelopes = [anEnvelope(), anEnvelope({ note: 'ünï \ufffe\uffff \u0007 😀' })];
  const pack = encodePack(envelopes.map(envelopeText), 3, ring);
  const body = Buffer.from(pack.body);

  it('opens to the same envelopes in order', () => {
    expect(openPack(body, { ...pack.attributes }, ring)).toEqual(envelopes);
  });

  it("holds XML's characters only, as SQS demands", () => {
    expect(pack.body).toMatch(/^[\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]*$/u);
  });

  it('shows its correlation ids unparsed', () => {
    expect(correlationIdsIn(pack.body)).toEqual(envelopes.map((e: Envelope) => e.correlationid));
  });

  it('is refused when anything under its signature was changed', () => {
    const attributes = { ...pack.attributes };
    const changed = Buffer.from(pack.body.replace('orders', 'ordrrs'));
    expect(codeOf(() => openPack(changed, attributes, ring))).toBe('signature_invalid');
    expect(codeOf(() => openPack(body, { ...attributes, shard: '4' }, ring))).toBe('signature_invalid');
    expect(codeOf(() => openPack(body, { ...attributes, count: '3' }, ring))).toBe('signature_invalid');
    expect(codeOf(() => openPack(body, { ...attributes, signature: attributes.signature.replace('k1', 'k2') }, ring))).toBe('unknown_key');
    expect(codeOf(() => openPack(body, { ...attributes, signature: attributes.signature.replace('hmac-sha256', 'none') }, ring))).toBe(
      'signature_invalid',
    );
    expect(codeOf(() => openPack(body, { ...attributes, signature: attributes.signature.slice(0, -4) }, ring))).toBe('signature_invalid');
    expect(codeOf(() => openPack(body, attributes, new KeyRing([{ id: 'k1', key: randomBytes(32) }])))).toBe('signature_invalid');
  });

  it('is told from other messages', () => {
    expect(codeOf(() => openPack(body, {}, ring))).toBe('not_a_pack');
    const { signature: _, ...unsigned } = pack.attributes;
    expect(codeOf(() => openPack(body, unsigned, ring))).toBe('not_a_pack');
    const garbage = encodePack(['{'], 1, ring);
    expect(codeOf(() => openPack(Buffer.from(garbage.body), { ...garbage.attributes }, ring))).toBe('not_a_pack');
  });

  it('opens with an older key of the ring while a newer one signs', () => {
    const rotated = new KeyRing([{ id: 'k2', key: randomBytes(32) }, key]);
    expect(openPack(body, { ...pack.attributes }, rotated)).toHaveLength(2);
    expect(encodePack(['{}'], 0, rotated).attributes.signature).toContain(';k2;');
  });
});

describe('a pack signed with Ed25519', () => {
  const [old, current] = [newEd25519Lines('old'), newEd25519Lines('current')];
  const signer = parseEd25519Signer('s', `${current.signing}\n${old.signing}`);
  const verifier = parseEd25519Verifier('v', `${old.verification}\n${current.verification}`);
  const envelopes = [anEnvelope()];
  const pack = encodePack(envelopes.map(envelopeText), 3, signer);
  const body = Buffer.from(pack.body);

  it('opens with the public key of whichever private key signed it', () => {
    expect(pack.attributes.signature).toMatch(/^ed25519;current;/);
    expect(openPack(body, { ...pack.attributes }, verifier)).toEqual(envelopes);
    const signedBefore = encodePack(['{}'], 0, parseEd25519Signer('s', old.signing));
    expect(codeOf(() => openPack(Buffer.from(signedBefore.body), { ...signedBefore.attributes }, verifier))).toBe('not_an_envelope');
  });

  it('is refused when it was changed, signed by another key of the same name, or by HMAC with the public key', () => {
    expect(codeOf(() => openPack(Buffer.from(pack.body.replace('orders', 'ordrrs')), { ...pack.attributes }, verifier))).toBe(
      'signature_invalid',
    );
    const other = encodePack(envelopes.map(envelopeText), 3, parseEd25519Signer('s', newEd25519Lines('current').signing));
    expect(codeOf(() => openPack(body, { ...other.attributes }, verifier))).toBe('signature_invalid');
    const publicKey = Buffer.from(current.verification.split(' ')[1] ?? '', 'base64');
    const confused = encodePack(envelopes.map(envelopeText), 3, new KeyRing([{ id: 'current', key: publicKey }]));
    expect(codeOf(() => openPack(body, { ...confused.attributes }, verifier))).toBe('signature_invalid');
    expect(
      codeOf(() => openPack(body, { ...pack.attributes, signature: pack.attributes.signature.replace('current', 'newer') }, verifier)),
    ).toBe('unknown_key');
  });

  it('takes no key of another kind, and shows none', () => {
    expect(() => parseEd25519Signer('s', `k ${randomBytes(48).toString('base64')}`)).toThrow(
      /line 1: expected "ID BASE64" with an Ed25519 private key/,
    );
    expect(() => parseEd25519Verifier('s', current.signing)).toThrow(/public key/);
  });
});

describe('a key ring', () => {
  it('reads one key a line, the first signs', () => {
    const text = `new ${randomBytes(32).toString('base64')}\nold ${randomBytes(32).toString('base64')}\n`;
    expect(parseKeyRing('s', text).current.id).toBe('new');
  });

  it.each(['', 'k1', 'k1 c2hvcnQ=', `k1 ${'A'.repeat(44)} more`])('refuses %j without showing the key', (text) => {
    expect(() => parseKeyRing('s', text)).toThrow(SpanwayError);
    expect(() => parseKeyRing('s', text)).not.toThrow(/AAAA|c2hvcnQ/);
  });
});

describe('ids', () => {
  it('make a retry the same submission, and nothing else', () => {
    const id = submissionIdFor('t1', 'PUT orders', 'k');
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(submissionIdFor('t1', 'PUT orders', 'k')).toBe(id);
    expect(submissionIdFor('t2', 'PUT orders', 'k')).not.toBe(id);
    expect(submissionIdFor('t1', 'PATCH orders', 'k')).not.toBe(id);
    // The parts cannot run into each other.
    expect(submissionIdFor('t1","PUT', 'orders', 'k')).not.toBe(submissionIdFor('t1', 'PUT","orders', 'k'));
  });

  it('name the payload, so another payload under the same key has another receipt', () => {
    const mutation = { op: 'upsert', resource: 'orders', key: ['o1'], value: { note: 'a' } } as const;
    expect(payloadHash([mutation], undefined)).not.toBe(payloadHash([{ ...mutation, value: { note: 'b' } }], undefined));
    const withNull = { ...mutation, value: { ...mutation.value, added: null } };
    expect(payloadHash([withNull], undefined)).toBe(payloadHash([mutation], undefined));
    expect(payloadHash([{ ...withNull, op: 'update' }], undefined)).not.toBe(payloadHash([{ ...mutation, op: 'update' }], undefined));
    expect(payloadHash([mutation], 'v1')).not.toBe(payloadHash([mutation], undefined));
  });

  it('are the first 128 bits of a hash', () => {
    for (let i = 0; i < 100; i += 1) {
      const bits = hash('sha256', JSON.stringify(['t1', 'orders', [`o${i}`]]), 'buffer').subarray(0, 16);
      expect(aggregateId('t1', 'orders', [`o${i}`])).toBe(bits.toString('base64url'));
    }
  });

  it('give a receipt that only its tenant can read, and nobody can forge', () => {
    const other = new KeyRing([{ id: 'o', key: randomBytes(32) }]).current.key;
    const receipt = { submissionId: submissionIdFor('t1', 'r', 'k'), payloadHash: payloadHash([], undefined) };
    const id = receiptId(receipt, 't1', ring.current.key);
    expect(id).toMatch(/^[A-Za-z0-9_-]{64}$/);
    expect(readReceiptId(id, 't1', [ring.current.key])).toEqual(receipt);
    expect(readReceiptId(id, 't1', [other, ring.current.key])).toEqual(receipt);
    expect(readReceiptId(id, 't2', [ring.current.key])).toBeUndefined();
    expect(readReceiptId(id, 't1', [other])).toBeUndefined();
    for (let i = 0; i < id.length; i += 1) {
      const forged = `${id.slice(0, i)}${id[i] === 'A' ? 'B' : 'A'}${id.slice(i + 1)}`;
      expect(readReceiptId(forged, 't1', [ring.current.key])).toBeUndefined();
    }
    expect(readReceiptId('', 't1', [ring.current.key])).toBeUndefined();
  });

  it('spread aggregates over all shards, each always on the same one', () => {
    const counts = new Array<number>(16).fill(0);
    for (let i = 0; i < 4000; i += 1) {
      const aggregate = aggregateId('t1', 'orders', [`o${i}`]);
      const shard = shardOf(aggregate, 16);
      expect(shardOf(aggregate, 16)).toBe(shard);
      counts[shard] = (counts[shard] ?? 0) + 1;
    }
    expect(Math.min(...counts)).toBeGreaterThan(150);
  });
});
