/** Opens the place for outcome events that a URL names: `eventbridge:BUS` or `sqlite:PATH`. */
import { type AdapterTable, openAdapter, type Provisionable } from '../adapter.ts';
import type { Events } from './port.ts';

export const eventsAdapters: AdapterTable<Events & Provisionable> = {
  eventbridge: {
    options: ['region', 'endpoint', 'credentials'],
    open: async (url) => (await import('./eventbridge.ts')).openEventBridge(url),
  },
  sqlite: { options: [], open: async (url) => (await import('./sqlite.ts')).openSqliteEvents(url) },
};

/** @throws AdapterConfigError */
export function openEvents(url: string): Promise<Events & Provisionable> {
  return openAdapter('events', eventsAdapters, url);
}
