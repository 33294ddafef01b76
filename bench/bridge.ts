/**
 * The bridge on real local servers, fauxqs and Google's Pub/Sub emulator, against the one people write by hand, and
 * against the slower of its two halves done alone (receive and delete; ordered publish), which is its ceiling.
 *
 * fauxqs hands out one message of a group per receive, so here a publish holds one pack; `publishOneByOne` is that
 * alone. SQS hands out several, and then they share a publish.
 *
 * `--backlog N`: the bridge's memory while it works off a backlog of N envelopes.
 */
import type { QueueEntry } from '../ports/queue/port.ts';
import { measureBacklog } from './parts/bridge-backlog.ts';
import { bridging, byHand, orderedPublish, receiveAndDelete } from './parts/bridge-runs.ts';
import { onNewServers, packEntries, type Servers, singleEntries } from './parts/bridge-servers.ts';
import { percentile, rate } from './parts/measure.ts';
import type { Results } from './run.ts';

/** Envelopes of a pack, and how many packs are measured. */
const PACKS = new Map([
  [1, 12_000],
  [10, 8_000],
  [50, 3_000],
]);
/** Requests to the emulator before anything is measured: Java takes 1.4 ms of CPU for its first ones, and 0.2 ms after 20,000. */
const WARM_UP_PUBLISHES = 24_000;
/** Through each of the measured ways, so that no client is measured while it is compiled. */
const WARM_UP = 2_000;
const BY_HAND = 3_000;
const RUNS = 3;
const DEFAULT_BACKLOG = 1_000_000;

/** Envelopes a second. */
interface Measured {
  readonly bridge: number;
  readonly receive: number;
  readonly publish: number;
  readonly publishOneByOne: number;
}

export async function bench(say: (line: string) => void, args: readonly string[]): Promise<Results> {
  const [option, value] = args;
  if (option === '--backlog') return measureBacklog(say, Number(value ?? DEFAULT_BACKLOG));
  const hands: number[] = [];
  const measured = new Map<number, Measured[]>([...PACKS.keys()].map((size) => [size, []]));
  // Turn by turn, so that what else the machine does meets all of them.
  for (let run = 1; run <= RUNS; run += 1) {
    hands.push(await onNewServers(say, measureByHand));
    say(`run ${run}: by hand ${hands.at(-1)?.toFixed(0)} envelopes/s`);
    for (const [size, runs] of measured) {
      const result = await onNewServers(say, (servers) => measure(servers, size));
      runs.push(result);
      say(`run ${run}: packs of ${size}: ${describe(result)}`);
    }
  }
  const median = (size: number, of: (run: Measured) => number): number => percentile((measured.get(size) ?? []).map(of), 50);
  const hand = percentile(hands, 50);
  for (const size of PACKS.keys())
    say(
      `packs of ${size}: ${median(size, (m) => m.bridge).toFixed(0)} envelopes/s, ${median(size, ceilingShare).toFixed(2)} of the ceiling`,
    );
  return {
    figures: {
      envelopesPerSecond: median(10, (m) => m.bridge),
      pack1: median(1, (m) => m.bridge),
      pack50: median(50, (m) => m.bridge),
      byHand: hand,
      receiveAndDelete: median(10, (m) => m.receive),
      orderedPublish: median(10, (m) => m.publish),
      publishOneByOne: median(10, (m) => m.publishOneByOne),
    },
    ratios: {
      handWrittenPack1: median(1, (m) => m.bridge) / hand,
      handWritten: median(10, (m) => m.bridge) / hand,
      ceiling: median(10, ceilingShare),
      ceilingPack1: median(1, ceilingShare),
      ceilingPack50: median(50, ceilingShare),
    },
  };
}

function ceilingShare({ bridge, receive, publish }: Measured): number {
  return bridge / Math.min(receive, publish);
}

function describe({ bridge, receive, publish, publishOneByOne }: Measured): string {
  const [b, r, p, o] = [bridge, receive, publish, publishOneByOne].map((figure) => figure.toFixed(0));
  return `bridge ${b}, receive and delete ${r}, ordered publish ${p} (one by one ${o}) envelopes/s`;
}

async function measure(servers: Servers, size: number): Promise<Measured> {
  await warmUpEmulator(servers);
  const warm = packEntries(size, WARM_UP);
  await bridging(await servers.line(warm), warm.length);
  await receiveAndDelete(await servers.line(warm), warm.length);
  const entries = packEntries(size, PACKS.get(size) ?? 0);
  const envelopes = entries.length * size;
  const full = await servers.line(entries);
  const bridge = await rate(envelopes, () => bridging(full, entries.length));
  const again = await servers.line(entries);
  const receive = await rate(envelopes, () => receiveAndDelete(again, entries.length));
  const publishOneByOne = await rate(envelopes, () => orderedPublish(again, entries, 1));
  const publish = await rate(envelopes, () => orderedPublish(again, entries, 100));
  return { bridge, receive, publish, publishOneByOne };
}

async function measureByHand(servers: Servers): Promise<number> {
  await warmUpEmulator(servers);
  await byHand(await servers.line(singleEntries(WARM_UP / 4)), WARM_UP / 4);
  const line = await servers.line(singleEntries(BY_HAND));
  return rate(BY_HAND, () => byHand(line, BY_HAND));
}

async function warmUpEmulator(servers: Servers): Promise<void> {
  const line = await servers.line([]);
  const few: QueueEntry[] = packEntries(1, 1_600);
  const many = Array.from({ length: WARM_UP_PUBLISHES / few.length }, () => few).flat();
  await orderedPublish(line, many, 1);
}
