/** The ids of design: none is ordered by time, none comes from a broker. */
import { hash, randomUUID, timingSafeEqual } from 'node:crypto';
import type { Cell } from '../resource/table.ts';
import type { Envelope, Mutation } from './envelope.ts';
import type { HmacKey } from './hmac.ts';

/** A retry with the same key is the same submission, with no state at the edge. The parts cannot run into each other. */
export function submissionIdFor(tenant: string, route: string, idempotencyKey: string): string {
  return uuidFrom(JSON.stringify(['submission', tenant, route, idempotencyKey]));
}

export function randomSubmissionId(): string {
  return randomUUID();
}

/** The generated key of a row: as fixed as its submission's id, so that a retry names the same row. */
export function generatedKeyFor(submissionId: string): string {
  return uuidFrom(JSON.stringify(['key', submissionId]));
}

/** A UUID (RFC 9562) whose random bits are a hash. */
function uuidFrom(text: string): string {
  const bytes = hash('sha256', text, 'buffer').subarray(0, 16);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  return uuidText(bytes);
}

function uuidText(bytes: Buffer): string {
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

const ID_BYTES = 16;
const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/** 128 bits, base64url: 21 characters of the hash's own, and one of its next two bits. Without a buffer between, it takes half the time. */
function hash128(value: unknown): string {
  const text = hash('sha256', JSON.stringify(value), 'base64url');
  return `${text.slice(0, 21)}${'AQgw'.charAt(BASE64URL.indexOf(text.charAt(21)) >> 4)}`;
}

/** 128 bits, base64url. Cells and field order are canonical, so equal payloads have equal hashes. */
export function payloadHash(mutations: readonly Mutation[], ifMatch: string | undefined): string {
  return hash128([mutations.map(withoutNulls), ifMatch ?? null]);
}

/** Of a whole row, an absent field is null: a retry is the same when the resource has one more field by then. */
function withoutNulls(mutation: Mutation): Mutation {
  const { op, value } = mutation;
  if (!value || op === 'update') return mutation;
  const given: Record<string, Cell> = {};
  for (const name in value) {
    const cell = value[name] ?? null;
    if (cell !== null) given[name] = cell;
  }
  return { ...mutation, value: given };
}

/** The aggregate as a hash: of the tenant, the root resource and the root's key. 128 bits, base64url. */
export function aggregateId(tenant: string, rootResource: string, rootKey: readonly Cell[]): string {
  return hash128([tenant, rootResource, rootKey]);
}

/** By which a correlation id is found in history: 66 bits of a hash, base64url. Two ids may share one. */
export function correlationMark(correlationId: string): string {
  return hash('sha256', correlationId, 'base64url').slice(0, 11);
}

/** The id of the event of an outcome, the same however often it is sent. An outcome that took another's place is another event: `attempt`, from 2. */
export function eventIdOf({ id, data }: Envelope, attempt: number | undefined): string {
  return `${id}.${data.payloadHash}${attempt === undefined ? '' : `.${attempt}`}`;
}

/** The unit of order on both brokers, 0 to `shardCount` − 1. */
export function shardOf(aggregate: string, shardCount: number): number {
  return Buffer.from(aggregate, 'base64url').readUInt32BE(0) % shardCount;
}

/** What a receipt's id says. */
export interface ReceiptId {
  readonly submissionId: string;
  readonly payloadHash: string;
}

const MAC_BYTES = 16;

/**
 * The public id of a submission, 64 characters: its id, its payload's hash, and a MAC over both and the tenant.
 * The status route can tell "not applied yet" from "never existed" by it alone, and no other tenant can use it.
 */
export function receiptId(id: ReceiptId, tenant: string, key: HmacKey): string {
  const bytes = Buffer.allocUnsafe(2 * ID_BYTES + MAC_BYTES);
  bytes.write(id.submissionId.replaceAll('-', ''), 0, 'hex');
  bytes.write(id.payloadHash, ID_BYTES, 'base64url');
  const head = bytes.subarray(0, 2 * ID_BYTES);
  bytes.set(receiptMac(head, tenant, key), head.length);
  return bytes.toString('base64url');
}

/** Whether it has the form of one. Who made it, its MAC says. */
export function isReceiptId(text: string): boolean {
  return /^[A-Za-z0-9_-]{64}$/.test(text);
}

/** Undefined for what no gateway with one of these keys made for this tenant. */
export function readReceiptId(text: string, tenant: string, keys: readonly HmacKey[]): ReceiptId | undefined {
  if (!isReceiptId(text)) return undefined;
  const bytes = Buffer.from(text, 'base64url');
  const head = bytes.subarray(0, 2 * ID_BYTES);
  const mac = bytes.subarray(2 * ID_BYTES);
  if (!keys.some((key) => timingSafeEqual(mac, receiptMac(head, tenant, key)))) return undefined;
  return {
    submissionId: uuidText(head.subarray(0, ID_BYTES)),
    payloadHash: head.subarray(ID_BYTES).toString('base64url'),
  };
}

/** The submission that a receipt id or a submission id names, its MAC unchecked: for operators. Undefined for other texts. */
export function submissionIdOf(text: string): string | undefined {
  if (/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text)) return text;
  return isReceiptId(text) ? uuidText(Buffer.from(text, 'base64url').subarray(0, ID_BYTES)) : undefined;
}

function receiptMac(head: Buffer, tenant: string, key: HmacKey): Buffer {
  return key.mac('spanway receipt\0', head, tenant).subarray(0, MAC_BYTES);
}
