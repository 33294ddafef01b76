/** The bridge alone in a process, until the queue is empty. */
import { openQueue } from '../../ports/queue/index.ts';
import { openTopic } from '../../ports/topic/index.ts';
import { bridging } from './bridge-runs.ts';
import { working } from './memory.ts';

const [queueAddress = '', topicAddress = '', packs = ''] = process.argv.slice(2);
const queue = await openQueue(queueAddress);
const topic = await openTopic(topicAddress);
// Connected, so that the start is not the size of a process that has nothing loaded yet.
await queue.ping();
let left = Number(packs);
await working(
  () => left,
  () => bridging({ queue, topic }, left, (now) => (left = now)),
);
