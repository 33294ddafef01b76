/** Opens the queue that a URL names: `sqs:QUEUE_URL` or `sqlite:PATH`. */
import { openAdapter, type AdapterTable, type Provisionable } from '../adapter.ts';
import type { HoldsDeadLetters, Queue } from './port.ts';

export const queueAdapters: AdapterTable<Queue & Provisionable & HoldsDeadLetters> = {
  sqs: { options: ['region', 'credentials'], open: async (url) => (await import('./sqs.ts')).open(url) },
  sqlite: { options: ['faults'], open: async (url) => (await import('./sqlite.ts')).open(url) },
};

/** @throws AdapterConfigError */
export function openQueue(url: string): Promise<Queue & Provisionable & HoldsDeadLetters> {
  return openAdapter('queue', queueAdapters, url);
}
