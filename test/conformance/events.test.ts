/** The events suite on every adapter. */
import { join } from 'node:path';
import { openEvents } from '../../ports/events/index.ts';
import { EVENT_SOURCE, type OutcomeEvent } from '../../ports/events/port.ts';
import { openSqliteEvents } from '../../ports/events/sqlite.ts';
import { Bus } from '../fixtures/bus.ts';
import { describeWithServer } from '../servers.ts';
import { makeTemporaryFolder } from '../temp.ts';
import { eventsConformance, type EventsFixture } from './events.ts';

eventsConformance('sqlite', async () => {
  const folder = await makeTemporaryFolder();
  const url = `sqlite:${join(folder.path, 'events.db')}`;
  const events = await openEvents(url);
  const reader = openSqliteEvents(new URL(url));
  return {
    events,
    async subscriberSees() {
      const listed: OutcomeEvent[] = [];
      let after = 0;
      for (;;) {
        const page = await reader.list({ after, limit: 100 });
        listed.push(...page.map((entry) => entry.event));
        const last = page.at(-1);
        if (!last) return listed;
        after = last.position;
      }
    },
    async remove() {
      await Promise.all([events.close(), reader.close()]);
      await folder.remove();
    },
  };
});

describeWithServer('eventbridge', 'on moto', ({ eventbridge }) => {
  eventsConformance('eventbridge', () => openOnMoto(eventbridge.endpoint));
});

/** A bus of its own, and a queue behind a rule as its subscriber. */
async function openOnMoto(endpoint: string): Promise<EventsFixture> {
  const bus = new Bus(endpoint);
  const events = await openEvents(bus.urlAt(endpoint));
  await events.provision();
  const subscription = await bus.subscribe({ source: [EVENT_SOURCE], 'detail-type': [{ prefix: 'submission.' }] });
  return {
    events,
    async subscriberSees(count) {
      await subscription.receive((seen) => new Set(seen.map(({ detail }) => detail.id)).size >= count);
      return subscription.seen.map(({ detail }) => detail);
    },
    async remove() {
      await events.close();
      bus.close();
    },
  };
}
