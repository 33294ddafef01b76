/** Envelopes to the queue as the gateway sends them: packs by shard, signed, each shard in its order. */
import { randomUUID } from 'node:crypto';
import { type BackoffSettings, untilPasses } from '../../ports/backoff.ts';
import { PortMisuseError } from '../../ports/errors.ts';
import type { QueueEntry, QueueSender } from '../../ports/queue/port.ts';
import type { Envelope } from '../../schemas/envelope/envelope.ts';
import { shardOf } from '../../schemas/envelope/ids.ts';
import type { Signer } from '../../schemas/envelope/key-ring.ts';
import { ATTRIBUTES_BYTES, encodePack, envelopeText } from '../../schemas/envelope/pack.ts';

export interface SenderSettings {
  readonly shardCount: number;
  /** Envelopes of one pack. */
  readonly maxPackEnvelopes: number;
  /** Body of one pack, in bytes; an envelope that is larger goes alone. */
  readonly maxPackBytes: number;
  /** Waits between tries of a send that failed. */
  readonly backoff: BackoffSettings;
}

export interface SenderParts {
  readonly queue: Pick<QueueSender, 'capabilities' | 'send'>;
  readonly signer: () => Signer;
  readonly settings: SenderSettings;
  readonly signal: AbortSignal;
  readonly onFailure: (error: Error, attempt: number) => void;
}

/** Of a message that holds this envelope alone. */
export function messageBytes(envelope: Envelope): number {
  return Buffer.byteLength(envelopeText(envelope)) + 2 + ATTRIBUTES_BYTES;
}

/**
 * Resolves when the queue has acknowledged all of them. One send of a shard is under way at a time, and a failed one is
 * repeated before anything later of its shard, without end.
 * @throws the signal's reason when it aborts: then some are sent, in order, and the others not.
 */
export async function sendEnvelopes(parts: SenderParts, envelopes: readonly Envelope[]): Promise<void> {
  const { settings, queue } = parts;
  const waiting = new Map<number, string[]>();
  for (const envelope of envelopes) {
    const shard = shardOf(envelope.data.aggregate, settings.shardCount);
    const texts = waiting.get(shard);
    if (texts) texts.push(envelopeText(envelope));
    else waiting.set(shard, [envelopeText(envelope)]);
  }
  while (waiting.size > 0) {
    const entries: QueueEntry[] = [];
    let room = queue.capabilities.maxBatchBytes;
    for (const [shard, texts] of waiting) {
      if (entries.length === queue.capabilities.maxBatchCount) break;
      const count = countThatFit(texts, settings, room - ATTRIBUTES_BYTES);
      if (count === 0 && entries.length > 0) break;
      const pack = encodePack(texts.splice(0, Math.max(count, 1)), shard, parts.signer());
      room -= Buffer.byteLength(pack.body) + ATTRIBUTES_BYTES;
      entries.push({ group: String(shard), deduplicationId: randomUUID(), body: pack.body, attributes: { ...pack.attributes } });
      if (texts.length === 0) waiting.delete(shard);
    }
    await sendEntries(parts, entries);
  }
}

function countThatFit(texts: readonly string[], { maxPackEnvelopes, maxPackBytes }: SenderSettings, room: number): number {
  let bytes = 2;
  let count = 0;
  for (const text of texts) {
    bytes += Buffer.byteLength(text) + 1;
    if (count === maxPackEnvelopes || bytes > room || (count > 0 && bytes > maxPackBytes)) break;
    count += 1;
  }
  return count;
}

/** Entries of different shards. Those not acknowledged are sent again under their deduplication ids. */
async function sendEntries({ queue, settings, signal, onFailure }: SenderParts, entries: readonly QueueEntry[]): Promise<void> {
  let left = entries;
  const send = async (): Promise<void> => {
    const results = await queue.send(left);
    left = left.filter((_, i) => results[i]?.status !== 'ok');
    const failed = results.find((result) => result.status !== 'ok');
    if (failed) throw failed.error;
  };
  // A message that breaks a limit of the queue is not mended by another try.
  const when = (error: Error): boolean => !(error instanceof PortMisuseError);
  await untilPasses(send, { signal, backoff: settings.backoff, when, onFailure });
}
