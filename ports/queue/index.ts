/** Opens the queue that a URL names: `sqs:QUEUE_URL` or `sqlite:PATH`. */
import { openAdapter, type AdapterTable } from '../adapter.ts';
import type { HoldsDeadLetters, Provisionable, Queue, QueueSender } from './port.ts';
import { openQueueThread } from './thread.ts';

export const queueAdapters: AdapterTable<Queue & Provisionable & HoldsDeadLetters> = {
  sqs: async (url) => (await import('./sqs.ts')).open(url),
  sqlite: async (url) => (await import('./sqlite.ts')).open(url),
};

/** @throws AdapterConfigError */
export function openQueue(url: string): Promise<Queue & Provisionable & HoldsDeadLetters> {
  return openAdapter('queue', queueAdapters, url);
}

/**
 * For a process that sends and has more to do: to serialize, sign and write a send to SQS takes its thread as long as
 * all that the gateway does for the writes in it, so that is done in another thread.
 * @throws AdapterConfigError
 */
export function openQueueSender(url: string): Promise<QueueSender> {
  return url.startsWith('sqs:') ? openQueueThread(url) : openQueue(url);
}
