/**
 * The bridge's memory: fills a queue first, then lets a process of its own work the backlog off, which reports its
 * resident size as it goes. It must depend on what the settings keep in flight, not on what waits.
 */
import { fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import type { QueueEntry } from '../../ports/queue/port.ts';
import { fill, onNewServers, packEntries } from './bridge-servers.ts';
import type { Results } from '../run.ts';

const ENVELOPES_A_PACK = 100;
/** Made once and sent again and again, each time as a new message: a million signed envelopes would take minutes to make. */
const DISTINCT_PACKS = 320;
const SENT_AT_ONCE = 640;
const MEBIBYTE = 1024 * 1024;

/** What the child tells. */
export interface Sample {
  readonly left: number;
  readonly rssBytes: number;
  /** Of the first and the last one: after a garbage collection, what is still held. */
  readonly liveBytes?: number;
}

export async function measureBacklog(say: (line: string) => void, envelopes: number): Promise<Results> {
  if (!(envelopes >= ENVELOPES_A_PACK)) throw new Error(`--backlog needs a number of at least ${ENVELOPES_A_PACK}`);
  const packs = Math.floor(envelopes / ENVELOPES_A_PACK);
  return onNewServers(say, async (servers) => {
    const line = await servers.line([]);
    const distinct = packEntries(ENVELOPES_A_PACK, DISTINCT_PACKS);
    for (let sent = 0; sent < packs; sent += SENT_AT_ONCE)
      await fill(
        line.queue,
        Array.from({ length: Math.min(SENT_AT_ONCE, packs - sent) }, (_, index) => ({
          ...(distinct[(sent + index) % distinct.length] as QueueEntry),
          deduplicationId: randomUUID(),
        })),
      );
    await line.queue.close();
    say(`queued ${packs * ENVELOPES_A_PACK} envelopes, as ${packs} packs of ${ENVELOPES_A_PACK}`);
    const started = performance.now();
    const samples = await bridgeInChild([line.queueAddress, line.topicAddress, String(packs)], say, packs);
    const seconds = (performance.now() - started) / 1000;
    const mib = (of: readonly Sample[]): number => Math.max(...of.map((sample) => sample.rssBytes)) / MEBIBYTE;
    const firstHalf = samples.filter((sample) => sample.left > packs / 2);
    const live = samples.flatMap(({ liveBytes }) => (liveBytes === undefined ? [] : [liveBytes / MEBIBYTE]));
    const figures = {
      envelopes: packs * ENVELOPES_A_PACK,
      envelopesPerSecond: (packs * ENVELOPES_A_PACK) / seconds,
      startMiB: mib(samples.slice(0, 1)),
      peakOfFirstHalfMiB: mib(firstHalf),
      peakMiB: mib(samples),
      endMiB: mib(samples.slice(-1)),
      liveAtStartMiB: live.at(0) ?? Number.NaN,
      liveAtEndMiB: live.at(-1) ?? Number.NaN,
    };
    say(
      `resident size: ${figures.startMiB.toFixed(0)} MiB at the start, at most ${figures.peakOfFirstHalfMiB.toFixed(0)} in the first half, ` +
        `at most ${figures.peakMiB.toFixed(0)} over all, ${figures.endMiB.toFixed(0)} at the end; ` +
        `held after a garbage collection: ${figures.liveAtStartMiB.toFixed(0)} MiB at the start, ${figures.liveAtEndMiB.toFixed(0)} at the end`,
    );
    return { figures, ratios: { peakToFirstHalf: figures.peakMiB / figures.peakOfFirstHalfMiB } };
  });
}

function bridgeInChild(args: readonly string[], say: (line: string) => void, packs: number): Promise<readonly Sample[]> {
  const samples: Sample[] = [];
  let told = 10;
  const child = fork(fileURLToPath(new URL('bridge-child.ts', import.meta.url)), [...args], { execArgv: ['--expose-gc'] });
  child.on('message', (sample: Sample) => {
    samples.push(sample);
    const percent = 100 - (sample.left / packs) * 100;
    if (percent < told) return;
    say(`${percent.toFixed(0)}%: ${(sample.rssBytes / MEBIBYTE).toFixed(0)} MiB`);
    told = Math.floor(percent / 10) * 10 + 10;
  });
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => (code === 0 ? resolve(samples) : reject(new Error(`the bridge's process ended with ${code}`))));
  });
}
