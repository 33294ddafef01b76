/** A queue whose sends are in a thread: what a sender's process hears of what goes wrong there. */
import { once } from 'node:events';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { expect, it, onTestFinished } from 'vitest';
import { AdapterConfigError, PortUnavailableError } from '../../ports/errors.ts';
import { openQueue } from '../../ports/queue/index.ts';
import { openQueueSender } from '../../ports/queue/sender.ts';
import { temporaryFolder } from '../temp.ts';

const entry = (body: string) => ({ group: 'g', deduplicationId: body, body, attributes: {} });

it('refuses a URL as its adapter does', async () => {
  await expect(openQueueSender('sqs:http://127.0.0.1/1/spanway')).rejects.toThrow(AdapterConfigError);
  await expect(openQueueSender('sqs:http://127.0.0.1/1/spanway')).rejects.toThrow('names no FIFO queue');
  await expect(openQueueSender('kafka:x')).rejects.toThrow('names no adapter');
});

it('does not know what became of entries that the queue did not answer, and says why', async () => {
  const sender = await openQueueSender('sqs:http://127.0.0.1:1/000000000000/none.fifo?region=us-east-1&credentials=local');
  onTestFinished(() => sender.close());
  const results = await sender.send([entry('a'), entry('b')]);
  expect(results.map(({ status }) => status)).toEqual(['unknown', 'unknown']);
  const [first] = results;
  expect(first).toMatchObject({
    error: { code: 'port_unavailable', message: expect.stringMatching(/^queue: send failed: .*ECONNREFUSED/) },
  });
  await expect(sender.ping()).rejects.toThrow(/^queue: ping failed: /);
  await expect(sender.ping()).rejects.toThrow(PortUnavailableError);
});

it('takes the calls under way along when it dies, and another thread takes the next', async () => {
  const folder = await temporaryFolder();
  const url = `sqlite:${join(folder, 'queue.db')}`;
  const threads: Worker[] = [];
  const remember = (thread: Worker): void => void threads.push(thread);
  process.on('worker', remember);
  onTestFinished(() => void process.off('worker', remember));
  const sender = await openQueueSender(url);
  onTestFinished(() => sender.close());
  expect(await sender.send([entry('a')])).toEqual([{ status: 'ok' }]);
  const [thread] = threads as [Worker];
  // Sent while it ends: no answer comes.
  const ended = once(thread, 'exit');
  const terminated = thread.terminate();
  const lost = sender.send([entry('b')]);
  await expect(lost).rejects.toThrow('queue: the thread that sends is gone');
  await terminated;
  await ended;
  expect(await sender.send([entry('c')])).toEqual([{ status: 'ok' }]);
  expect(threads).toHaveLength(2);
  await sender.close();
  await expect(sender.send([entry('d')])).rejects.toThrow('queue: it is closed');
  expect(threads).toHaveLength(2);
  const queue = await openQueue(url);
  onTestFinished(() => queue.close());
  const received = await queue.receive({ maxCount: 10, waitMs: 0, visibilityMs: 1_000 });
  expect(received.map(({ body }) => body)).toEqual(['a', 'c']);
});
