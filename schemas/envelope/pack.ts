/**
 * A pack: one broker message, 1..n envelopes of one shard in order, in CloudEvents' JSON batch format, under one
 * signature. Attributes carry what a hop needs, so that the bridge forwards it unread.
 */
import { PackError } from '../errors.ts';
import { readSignature, type Signer, type Verifier, signatureOf, type SignedParts } from './key-ring.ts';
import { checkEnvelope, type Envelope } from './envelope.ts';

/** https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md#4-json-batch-format */
const PACK_CONTENT_TYPE = 'application/cloudevents-batch+json';

/** Names that SQS and Pub/Sub both take. */
export interface PackAttributes {
  readonly contentType: string;
  readonly shard: string;
  readonly count: string;
  /** `ALGORITHM;KEY_ID;BASE64URL` */
  readonly signature: string;
}

/** Room for a pack's attributes beside its body, in bytes: names, types and values, with a key id of 64. */
export const ATTRIBUTES_BYTES = 512;

export interface Pack {
  readonly body: string;
  readonly attributes: PackAttributes;
}

/**
 * The attribute by which the bridge passes on when the queue took a pack: the broker's word, beside the signature. It
 * is for people who look for a delay; nothing is decided by it.
 */
export const QUEUED_AT = 'queuedAt';

/** When a pack passed the brokers, by their clocks: RFC 3339 in UTC. */
export interface Carried {
  readonly queuedAt?: string;
  readonly bridgedAt?: string;
}

const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z$/;

/** What is no time is left out: anyone who may publish can write anything there. */
export function carriedOf(queuedAt: string | undefined, bridgedAt: string | undefined): Carried {
  return {
    ...(queuedAt !== undefined && INSTANT.test(queuedAt) ? { queuedAt } : {}),
    ...(bridgedAt !== undefined && INSTANT.test(bridgedAt) ? { bridgedAt } : {}),
  };
}

/**
 * An envelope's text inside a pack. SQS bodies may hold XML's characters only, so U+FFFE and U+FFFF are escaped; so
 * are characters above U+FFFF, which SQS takes and some local servers in its place refuse.
 */
export function envelopeText(envelope: Envelope): string {
  return JSON.stringify(envelope).replace(/[\ud800-\udfff\ufffe\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16)}`);
}

/** A pack of envelopes already written by `envelopeText`. */
export function encodePack(texts: readonly string[], shard: number, signer: Signer): Pack {
  const body = `[${texts.join(',')}]`;
  const unsigned = { contentType: PACK_CONTENT_TYPE, shard: String(shard), count: String(texts.length) };
  return { body, attributes: { ...unsigned, signature: signatureOf(signedParts(body, unsigned), signer) } };
}

/** Whether a message says of itself that it is a pack: all that the bridge asks. The reason where it does not. */
export function readPackAttributes(attributes: Readonly<Record<string, string>>): PackAttributes | string {
  const { contentType, shard, count, signature } = attributes;
  if (contentType !== PACK_CONTENT_TYPE) return `contentType is ${JSON.stringify(contentType)}, not ${PACK_CONTENT_TYPE}`;
  if (shard === undefined || !/^\d{1,9}$/.test(shard)) return `shard is ${JSON.stringify(shard)}, not a number`;
  if (count === undefined || !/^[1-9]\d{0,8}$/.test(count)) return `count is ${JSON.stringify(count)}, not a number`;
  if (signature === undefined) return 'there is no signature';
  return { contentType, shard, count, signature };
}

/** @throws PackError when the signature fails, the body does not parse, or it is not what its attributes say. */
export function openPack(body: Buffer, attributes: Readonly<Record<string, string>>, verifier: Verifier): Envelope[] {
  const read = readPackAttributes(attributes);
  if (typeof read === 'string') throw new PackError('not_a_pack', `not a pack: ${read}`);
  const { algorithm, keyId, signature } = readSignature(read.signature);
  if (algorithm !== verifier.algorithm) {
    throw new PackError(
      'signature_invalid',
      `signature algorithm ${algorithm} is not ${verifier.algorithm}, which SPANWAY_PACK_SIGNATURE says`,
    );
  }
  switch (verifier.verify(keyId, signedParts(body, read), signature)) {
    case undefined:
      throw new PackError('unknown_key', `signed with key ${keyId}, which is not among the keys: add it to the secret`);
    case false:
      throw new PackError('signature_invalid', 'the signature does not match the pack');
    case true:
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(body.toString('utf8'));
  } catch {
    // The parser's own words quote the body.
    throw new PackError('not_a_pack', 'the body is not JSON');
  }
  if (!Array.isArray(parsed) || parsed.length !== Number(read.count))
    throw new PackError('not_a_pack', `the body is not a batch of ${read.count}`);
  return parsed.map(checkEnvelope);
}

/** The correlation ids in a pack, for a log line, without parsing it. */
export function correlationIdsIn(body: string): string[] {
  return [...body.matchAll(/"correlationid":"([^"\\]*)"/g)].map((m) => m[1] ?? '');
}

function signedParts(body: string | Buffer, attributes: Omit<PackAttributes, 'signature'>): SignedParts {
  return [`spanway pack 1\n${attributes.contentType}\n${attributes.shard}\n${attributes.count}\n`, body];
}
