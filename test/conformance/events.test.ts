/** The events suite on every adapter. */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { EventBridgeClient, PutRuleCommand, PutTargetsCommand } from '@aws-sdk/client-eventbridge';
import { CreateQueueCommand, GetQueueAttributesCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { openEvents } from '../../ports/events/index.ts';
import { EVENT_SOURCE, type OutcomeEvent } from '../../ports/events/port.ts';
import { openSqliteEvents } from '../../ports/events/sqlite.ts';
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
  const bus = `bus-${randomUUID()}`;
  const events = await openEvents(`eventbridge:${bus}?region=us-east-1&endpoint=${encodeURIComponent(endpoint)}&credentials=local`);
  await events.provision();

  const options = { endpoint, region: 'us-east-1', credentials: { accessKeyId: 'local', secretAccessKey: 'local' } };
  const [bridge, queues] = [new EventBridgeClient(options), new SQSClient(options)];
  const { QueueUrl } = await queues.send(new CreateQueueCommand({ QueueName: bus }));
  const { Attributes } = await queues.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['QueueArn'] }));
  const EventPattern = JSON.stringify({ source: [EVENT_SOURCE], 'detail-type': [{ prefix: 'submission.' }] });
  await bridge.send(new PutRuleCommand({ Name: 'all', EventBusName: bus, EventPattern }));
  await bridge.send(
    new PutTargetsCommand({ Rule: 'all', EventBusName: bus, Targets: [{ Id: 'queue', Arn: Attributes?.['QueueArn'] ?? '' }] }),
  );

  const seen: OutcomeEvent[] = [];
  return {
    events,
    async subscriberSees(count) {
      const deadline = performance.now() + 10_000;
      while (new Set(seen.map((event) => event.id)).size < count && performance.now() < deadline) {
        const { Messages } = await queues.send(new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 1 }));
        for (const message of Messages ?? []) seen.push((JSON.parse(message.Body ?? '') as { detail: OutcomeEvent }).detail);
      }
      return seen;
    },
    async remove() {
      await events.close();
      bridge.destroy();
      queues.destroy();
    },
  };
}
