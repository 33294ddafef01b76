/**
 * The bridge on real local servers, fauxqs and Google's Pub/Sub emulator, against the one people write by hand, and
 * against the slower of its two halves done alone (receive and delete; ordered publish), which is its ceiling.
 * `--backlog N`: its memory while it works off a backlog of N envelopes.
 */
import { randomUUID } from 'node:crypto';
import { pino } from 'pino';
import { startBridge } from '../consumers/bridge/bridge.ts';
import type { Queue, QueueEntry } from '../ports/queue/port.ts';
import { bound } from '../test/fixtures/queues.ts';
import { byHand, orderedPublish, receiveAndDelete } from './bridge-raw.ts';
import { type Line, onNewServers, type Servers } from './bridge-servers.ts';
import { percentile, rate } from './measure.ts';
import { orderEnvelope, packsOf } from './packs.ts';
import type { Results } from './run.ts';

const SIZES = [1, 10, 50] as const;
const PACKS = { 1: 10_000, 10: 6_000, 50: 3_000 } as const;
/** Through everything that is measured, so that no server and no client is measured while it is compiled. */
const WARM_UP = 3_000;
const BY_HAND = 2_000;
const RUNS = 3;

interface Measured {
  readonly bridge: number;
  readonly receive: number;
  readonly publish: number;
  readonly publishOne: number;
}

export async function bench(say: (text: string) => void, args: readonly string[]): Promise<Results> {
  const [option, count] = args;
  void count;
  if (option === '--backlog') throw new Error('not yet');
  const figures: Record<string, number> = {};
  const hands: number[] = [];
  const sizes = args[0] === undefined ? SIZES : SIZES.filter((s) => args.includes(String(s)));
  const runs = Number(process.env['NRUNS'] ?? RUNS);
  for (let run = 0; run < runs; run += 1) {
    hands.push(await onNewServers(say, measureByHand));
    say(`by hand: ${hands.at(-1)?.toFixed(0)}`);
  }
  for (const size of sizes) {
    const all: Measured[] = [];
    for (let run = 0; run < runs; run += 1) {
      const m = await onNewServers(say, (servers) => measure(servers, size));
      all.push(m);
      say(`packs of ${size}: ${JSON.stringify(m)} ${(m.bridge / Math.min(m.receive, m.publish)).toFixed(3)}`);
    }
    figures[`b${size}`] = percentile(
      all.map((m) => m.bridge),
      50,
    );
  }
  const hand = percentile(hands, 50);
  return { figures: { ...figures, hand }, ratios: Object.fromEntries(Object.entries(figures).map(([k, v]) => [k, v / hand])) };
}

async function measure(servers: Servers, size: (typeof SIZES)[number]): Promise<Measured> {
  const warm = packEntries(size, WARM_UP);
  await bridging(await servers.line(warm), warm.length);
  await receiveAndDelete(await servers.line(warm), warm.length, LOOPS);
  await orderedPublish(await servers.line([]), warm, 1);
  const entries = packEntries(size, PACKS[size]);
  const units = entries.length * size;
  const full = await servers.line(entries);
  const bridge = await rate(units, () => bridging(full, entries.length));
  const line = await servers.line(entries);
  const receive = await rate(units, () => receiveAndDelete(line, entries.length, LOOPS));
  const publishOne = await rate(units, () => orderedPublish(line, entries, 1));
  const publish = await rate(units, () => orderedPublish(line, entries, 50));
  return { bridge, receive, publish, publishOne };
}

const LOOPS = Number(process.env['LOOPS'] ?? 2);
const RECEIVERS = Number(process.env['RECEIVERS'] ?? 4);

async function bridging(line: Line, packs: number): Promise<void> {
  let left = packs;
  const drained = Promise.withResolvers<undefined>();
  const counted: Queue = {
    ...bound(line.queue),
    async delete(messages) {
      await line.queue.delete(messages);
      left -= messages.length;
      if (left === 0) drained.resolve(undefined);
    },
  };
  const bridge = startBridge({
    queue: counted,
    publisher: line.topic.publisher(),
    log: pino({ level: 'warn' }),
    settings: { receivers: RECEIVERS, receiveWaitMs: 20_000, visibilityMs: 30_000, backoff: { minMs: 50, maxMs: 10_000 } },
    onFatal: drained.reject,
  });
  await drained.promise;
  await bridge.stop();
  await line.queue.close();
}

async function measureByHand(servers: Servers): Promise<number> {
  const single = (count: number): QueueEntry[] =>
    Array.from({ length: count }, () => {
      const envelope = orderEnvelope();
      return {
        group: envelope.data.aggregate.slice(0, 100),
        deduplicationId: randomUUID(),
        body: JSON.stringify(envelope),
        attributes: {},
      };
    });
  await byHand(await servers.line(single(500)), 500);
  const line = await servers.line(single(BY_HAND));
  return rate(BY_HAND, () => byHand(line, BY_HAND));
}

function packEntries(size: number, count: number): QueueEntry[] {
  const envelopes = Array.from({ length: count * size }, () => orderEnvelope());
  return packsOf(envelopes, size)
    .filter((pack) => Number(pack.attributes.count) === size)
    .map((pack) => ({
      group: String(pack.shard),
      deduplicationId: randomUUID(),
      body: pack.body,
      attributes: { ...pack.attributes },
    }));
}
