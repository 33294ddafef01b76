/** The thread of sender.ts: opens the queue of a URL, and does what it is asked. */
import { parentPort, workerData } from 'node:worker_threads';
import { openQueue } from './index.ts';
import type { Answer, Ask, Failure, Sent } from './sender.ts';

const opening = openQueue(workerData as string);
// Whoever asks hears of it.
opening.catch(() => {});

async function answerTo(ask: Ask): Promise<unknown> {
  const queue = await opening;
  switch (ask.call) {
    case 'capabilities':
      return queue.capabilities;
    case 'send': {
      const results = await queue.send(ask.entries);
      return results.map((result): Sent => (result.status === 'ok' ? result : { status: result.status, error: toFailure(result.error) }));
    }
    case 'ping':
      return queue.ping();
    case 'close':
      return queue.close();
  }
}

function toFailure({ name, message }: Error): Failure {
  return { name, message };
}

parentPort?.on('message', (ask: Ask) => {
  answerTo(ask).then(
    (value) => parentPort?.postMessage({ id: ask.id, value } satisfies Answer),
    (error: unknown) => parentPort?.postMessage({ id: ask.id, error: toFailure(error as Error) } satisfies Answer),
  );
});
