/** Opens the topic and subscription that a URL names: `pubsub://PROJECT/TOPIC` or `sqlite:PATH`. */
import { openAdapter, type AdapterTable } from '../adapter.ts';
import type { Topic } from './port.ts';

export const topicAdapters: AdapterTable<Topic> = {
  pubsub: { options: ['subscription', 'emulator', 'leaseSeconds'], open: async (url) => (await import('./pubsub.ts')).open(url) },
  sqlite: { options: ['topic', 'subscription', 'faults'], open: async (url) => (await import('./sqlite.ts')).open(url) },
};

/** @throws AdapterConfigError */
export function openTopic(url: string): Promise<Topic> {
  return openAdapter('topic', topicAdapters, url);
}
