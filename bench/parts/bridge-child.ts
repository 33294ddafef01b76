/** The bridge alone in a process, until the queue is empty; it tells its parent how large it is. */
import { setTimeout as sleep } from 'node:timers/promises';
import { openQueue } from '../../ports/queue/index.ts';
import { openTopic } from '../../ports/topic/index.ts';
import type { Sample } from './bridge-backlog.ts';
import { bridging } from './bridge-runs.ts';

const SAMPLE_MS = 100;

const [queueAddress = '', topicAddress = '', packs = ''] = process.argv.slice(2);
const queue = await openQueue(queueAddress);
const topic = await openTopic(topicAddress);
// Connected, so that the start is not the size of a process that has nothing loaded yet.
await queue.ping();
let left = Number(packs);
const tell = (sample: Partial<Sample> = {}): void => {
  process.send?.({ left, rssBytes: process.memoryUsage.rss(), ...sample } satisfies Sample);
};
/** What is held once the garbage is gone: the resident size also has what V8 and the C library keep for the next time. */
const live = (): number => {
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
};
tell({ liveBytes: live() });
const timer = setInterval(() => tell(), SAMPLE_MS);
await bridging({ queue, topic }, left, (now) => (left = now));
clearInterval(timer);
tell({ liveBytes: live() });
// For the pipe to the parent to be read.
await sleep(SAMPLE_MS);
process.exit(0);
