import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { freePort } from '../../cli/local-servers/child.ts';
import type { Story } from '../../producers/replay/trace.ts';
import { realAdapters } from '../fixtures/real-adapters.ts';
import { type Client, Command, startDev, startRoles } from '../fixtures/stacks.ts';
import { describeWithServer } from '../servers.ts';
import { makeTemporaryFolder, temporaryFolder } from '../temp.ts';
import { endToEnd } from './contract.ts';

const ALL = ['sqs', 'pubsub', 'spanner', 'redis', 'eventbridge'] as const;

describeWithServer(ALL, 'end to end on the real servers, each role a process', (servers) => {
  let env: Record<string, string>;
  let client: Client;
  endToEnd(async () => {
    const folder = await makeTemporaryFolder();
    env = { SPANWAY_DATA_DIR: folder.path, SPANWAY_SCHEMAS: join(folder.path, 'schemas'), ...realAdapters(servers) };
    const stack = await startRoles(folder.path, env);
    ({ client } = stack);
    return {
      ...stack,
      stop: async (signal) => {
        const statuses = await stack.stop(signal);
        expect(statuses).toEqual([0, 0, 0, 0]);
        await folder.remove();
        return statuses;
      },
    };
  });

  it('tells when the queue and the topic had a write, by their own clocks', async () => {
    const correlationId = `trace-${randomUUID()}`;
    const before = Date.now();
    expect(
      await client.write('PUT', `/v1/orders/${randomUUID()}`, { customer: 'c', status: 'open' }, { 'correlation-id': correlationId }),
    ).toBe('applied');
    const command = new Command(['trace', correlationId, '--json'], env);
    expect(await command.exited).toBe(0);
    const story = JSON.parse(command.output.split('\n').find((line) => line.startsWith('{')) ?? '{}') as Story;
    expect(story.steps.map((step) => step.what)).toEqual(['accepted', 'queued', 'bridged', 'applied', 'event']);
    const times = story.steps.slice(0, 4).map(({ at }) => Date.parse(at ?? ''));
    // The servers are on this machine; some cut their time to whole seconds.
    for (const time of times) {
      expect(time).toBeGreaterThanOrEqual(before - 1000);
      expect(time).toBeLessThanOrEqual(Date.now());
    }
  });

  it('says how a database differs from the resources, and makes what is missing once', async () => {
    const env = { SPANWAY_DATA_DIR: await temporaryFolder(), ...realAdapters(servers) };
    const run = async (...args: string[]): Promise<[status: unknown, output: string]> => {
      const command = new Command(['schema', ...args], env);
      return [await command.exited, command.output];
    };
    expect((await run('apply', '--provision'))[0]).toBe(0);
    expect(await run('check')).toEqual([0, 'The database fits the resources.\n']);
    expect(await run('apply')).toEqual([0, 'Nothing is missing.\n']);
    const [status, printed] = await run('print');
    expect(status).toBe(0);
    expect(printed).toContain('CREATE TABLE `order_lines`');
  });
});

/** The demo, against the Spanway there. */
function startDemo(url: string, dataDir: string): Command {
  return new Command(['--url', url], { SPANWAY_DATA_DIR: dataDir }, 'demo/webhooks.ts');
}

/** How it ended, and the last line it printed. */
async function demo(url: string, dataDir: string): Promise<{ readonly status: unknown; readonly last: string }> {
  const command = startDemo(url, dataDir);
  const [status] = await Promise.all([command.exited, once(command.process, 'close')]);
  return { status, last: command.output.trim().split('\n').at(-1) ?? '' };
}

/** 329 examples, every fifth of them twice. */
const DEMO = 'submitted 395, applied 329, duplicates that changed nothing 66, rejected 0, mismatches 0';

describe('the webhook demo', () => {
  it('ends without a mismatch on the embedded stack', async () => {
    const folder = await temporaryFolder();
    const stack = await startDev(folder);
    try {
      expect(await demo(stack.url, folder)).toEqual({ status: 0, last: DEMO });
    } finally {
      await stack.stop();
    }
  }, 120_000);

  it('says at once why it waits', async () => {
    const demo = startDemo(`http://127.0.0.1:${await freePort()}`, await temporaryFolder());
    await demo.printed(/no answer from http:\/\/127\.0\.0\.1:\d+: start Spanway with npm start/);
    await demo.stop();
  });

  it('says in one line that its token is not taken, and what to do', async () => {
    const stack = await startDev(await temporaryFolder());
    try {
      const demo = startDemo(stack.url, await temporaryFolder());
      await once(demo.process, 'close');
      expect(await demo.exited).toBe(1);
      expect(demo.output).toMatch(/^demo: .* does not take the token of .*: set SPANWAY_DATA_DIR .*\(401\)$/m);
      expect(demo.output).not.toMatch(/^ +at /m);
    } finally {
      await stack.stop();
    }
  });
});

describeWithServer(ALL, 'spanway dev --real', () => {
  it('runs every role on real servers of its own, and the webhook demo ends without a mismatch on it', async () => {
    const folder = await temporaryFolder();
    const stack = await startDev(folder, ['--real']);
    try {
      expect(stack.commands[0]?.output).toMatch(/Real servers: /);
      expect(stack.commands[0]?.output).not.toMatch(/Embedded in place/);
      expect(await demo(stack.url, folder)).toEqual({ status: 0, last: DEMO });
    } finally {
      expect(await stack.stop()).toEqual([0]);
    }
  }, 180_000);
});
