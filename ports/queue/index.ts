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
 * For a process that sends and has more to do: what a send takes of a thread, serializing and signing for SQS or waiting
 * for the disk, is done in another one.
 * @throws AdapterConfigError
 */
export const openQueueSender: (url: string) => Promise<QueueSender> = openQueueThread;
