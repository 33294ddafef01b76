/** What a new installation needs before its roles start: the adapters' queue, topic, bus and database, and the tables. */
import { openEvents } from '../ports/events/index.ts';
import { openQueue } from '../ports/queue/index.ts';
import { openStore } from '../ports/store/index.ts';
import { openTopic } from '../ports/topic/index.ts';
import { SYSTEM_TABLES } from '../schemas/envelope/tables.ts';
import type { ResourceSet } from '../schemas/resource/registry.ts';
import type { Config } from './config.ts';

/** Makes what is missing behind the URLs: queue, topic, bus, database. In production, infrastructure code does it. */
export async function provision(config: Config): Promise<void> {
  const [queue, topic, events, store] = await Promise.all([
    openQueue(config.queue),
    openTopic(config.topic),
    openEvents(config.events),
    openStore(config.store),
  ]);
  try {
    await Promise.all([queue.provision(), topic.provision(), events.provision(), store.provision()]);
  } finally {
    await Promise.all([queue.close(), events.close(), store.close()]);
  }
}

/** Makes the tables and indexes that are missing; returns the statements it ran and what differs beyond that. */
export async function applySchema(
  config: Config,
  resources: ResourceSet,
): Promise<{ readonly applied: readonly string[]; readonly differences: readonly string[] }> {
  const store = await openStore(config.store);
  try {
    const { missing, differences } = await store.compare([...SYSTEM_TABLES, ...resources.tables()]);
    if (missing.length > 0) await store.apply(missing);
    return { applied: missing, differences };
  } finally {
    await store.close();
  }
}
