/**
 * The bridge's memory: fills a queue first, then lets a process of its own work the backlog off, which reports its
 * resident size as it goes. It must depend on what the settings keep in flight, not on what waits.
 */
import { randomUUID } from 'node:crypto';
import type { QueueEntry } from '../../ports/queue/port.ts';
import { memoryOf } from './memory.ts';
import { fill, onNewServers, packEntries } from './bridge-servers.ts';
import type { Results } from '../run.ts';

const ENVELOPES_A_PACK = 100;
/** Made once and sent again and again, each time as a new message: a million signed envelopes would take minutes to make. */
const DISTINCT_PACKS = 320;
const SENT_AT_ONCE = 640;

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
    const child = new URL('bridge-child.ts', import.meta.url);
    const memory = await memoryOf(child, [line.queueAddress, line.topicAddress, String(packs)], packs, say);
    const seconds = (performance.now() - started) / 1000;
    const figures = { envelopes: packs * ENVELOPES_A_PACK, envelopesPerSecond: (packs * ENVELOPES_A_PACK) / seconds, ...memory };
    return { figures, ratios: { peakToFirstHalf: figures.peakMiB / figures.peakOfFirstHalfMiB } };
  });
}
