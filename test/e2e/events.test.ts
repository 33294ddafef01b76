/** An outcome whose event was not sent before a crash: the process is killed, and the one after it sends the event. */
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openSqliteEvents } from '../../ports/events/sqlite.ts';
import { submissionIdOf } from '../../schemas/envelope/ids.ts';
import { Proxy } from '../chaos/proxy.ts';
import { Bus } from '../fixtures/bus.ts';
import { type Stack, startDev } from '../fixtures/stacks.ts';
import { describeWithServer } from '../servers.ts';
import { temporaryFolder } from '../temp.ts';

const NOT_SENT = /cannot send outcome events/;

/** Writes while no event passes, and kills the process when the outcome stands. Answers the submission's id. */
async function writeAndKill(stack: Stack): Promise<string> {
  const answer = await stack.client.call('PUT', '/v1/orders/o1', {
    body: { customer: 'c', status: 'open' },
    headers: { prefer: 'wait=30' },
  });
  expect(answer.body['status']).toBe('applied');
  await stack.commands[0]?.printed(NOT_SENT);
  await stack.stop('SIGKILL');
  return submissionIdOf(String(answer.body['id'])) ?? '';
}

describe('an outcome that is not told when the process is killed', () => {
  it('is told by the next one, on the embedded adapter', async () => {
    const folder = await temporaryFolder();
    const file = join(folder, 'events.db');
    const env = { SPANWAY_EVENTS: `sqlite:${file}` };
    const stack = await startDev(folder, [], env);
    const reader = openSqliteEvents(new URL(env.SPANWAY_EVENTS));
    // Holds the file, so that nothing can be written to it.
    const holder = new DatabaseSync(file);
    holder.exec('BEGIN IMMEDIATE');
    const id = await writeAndKill(stack);
    expect(await reader.list({ limit: 10 })).toEqual([]);
    holder.close();

    const next = await startDev(folder, [], env);
    try {
      const told = async () => (await reader.list({ limit: 10 })).map(({ event }) => [event.submissionId, event.outcome]);
      await expect.poll(told, { timeout: 60_000 }).toEqual([[id, 'applied']]);
    } finally {
      await reader.close();
      await next.stop();
    }
  }, 120_000);
});

describeWithServer('eventbridge', 'an outcome that is not told when the process is killed', ({ eventbridge }) => {
  it('is told by the next one, on EventBridge', async () => {
    const folder = await temporaryFolder();
    const bus = new Bus(eventbridge.endpoint);
    onTestFinished(() => bus.close());
    const proxy = await Proxy.start('eventbridge', Number(new URL(eventbridge.endpoint).port));
    const stack = await startDev(folder, [], { SPANWAY_EVENTS: bus.urlAt(`http://127.0.0.1:${proxy.port}`) });
    const subscription = await bus.subscribe({ source: ['spanway'] });
    await proxy.stop();
    const id = await writeAndKill(stack);
    expect(subscription.seen).toEqual([]);

    const next = await startDev(folder, [], { SPANWAY_EVENTS: bus.urlAt(eventbridge.endpoint) });
    try {
      await subscription.receive((seen) => seen.length > 0);
      expect(subscription.seen.map(({ detail }) => [detail.submissionId, detail.outcome])).toEqual([[id, 'applied']]);
    } finally {
      await next.stop();
    }
  }, 120_000);
});
