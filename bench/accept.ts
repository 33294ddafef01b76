/**
 * The gateway on SQS (fauxqs), against the route that people write by hand, Fastify and jose with a `SendMessage` for
 * each request, on the same SQS server; and against that route with no queue behind it at all. Each server is a process
 * of its own, the load generator another. Then, with the bridge at work too, how many requests SQS gets.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PurgeQueueCommand } from '@aws-sdk/client-sqs';
import type { JWK } from 'jose';
import { ownSecrets } from '../test/fixtures/real-adapters.ts';
import { Client, type Command, prepareRoles } from '../test/fixtures/stacks.ts';
import { queueDrained, sqsClient } from './parts/bridge-servers.ts';
import { inFolder } from './parts/folder.ts';
import { accepted, ready } from './parts/gateway.ts';
import { percentile, rate, ratioInTurns } from './parts/measure.ts';
import type { Results } from './run.ts';

const CONNECTIONS = 64;
const COUNTED_CONNECTIONS = 256;
/** Until V8 compiles no more of the gateway, which takes longer than for a single route. */
const WARM_UPS = 3;
const RUNS = 5;
const REQUESTS = { gateway: 12_000, noQueue: 12_000, handWritten: 3_000 };
const COUNTED = 20_000;
const COUNTED_CALLS = ['AmazonSQS.SendMessageBatch', 'AmazonSQS.ReceiveMessage', 'AmazonSQS.DeleteMessageBatch'];

type Server = keyof typeof REQUESTS;
const SERVERS = Object.keys(REQUESTS) as Server[];

export function bench(say: (line: string) => void): Promise<Results> {
  return inFolder((folder) => measure(say, folder));
}

async function measure(say: (line: string) => void, folder: string): Promise<Results> {
  const children: ChildProcess[] = [];
  const roles: Command[] = [];
  /** A part as a process; it sends its URL once it listens. */
  const child = async (name: string, ...args: string[]): Promise<string> => {
    const process = fork(fileURLToPath(new URL(`parts/${name}.ts`, import.meta.url)), args);
    children.push(process);
    const [url] = (await once(process, 'message')) as [string];
    return url;
  };
  try {
    const sqs = await child('counting-sqs');
    const queueUrl = `${sqs}/000000000000/accept.fifo`;
    const queue = `sqs:${queueUrl}?region=us-east-1&credentials=local`;
    const { url, start } = await prepareRoles(folder, { ...ownSecrets(), SPANWAY_QUEUE: queue, SPANWAY_LOG_LEVEL: 'warn' });
    for (const name of ['issuer', 'gateway'] as const) roles.push(start(name));
    const caller = new Client(url, folder);
    await ready(caller, roles);
    const { d: _private, ...key } = JSON.parse(await readFile(join(folder, 'development-issuer.json'), 'utf8')) as JWK;
    const client = sqsClient(queueUrl);
    const urls: Record<Server, string> = {
      gateway: url,
      noQueue: await child('accept-by-hand', JSON.stringify(key)),
      handWritten: await child('accept-by-hand', JSON.stringify(key), queueUrl),
    };
    const token = await caller.token();
    // Turn by turn, so that what else the machine does meets all of them.
    const perSecond: Record<Server, number[]> = { gateway: [], noQueue: [], handWritten: [] };
    for (let run = 1 - WARM_UPS; run <= RUNS; run += 1) {
      for (const server of SERVERS) {
        const measured = await rate(REQUESTS[server], () =>
          accepted(urls[server], { token, connections: CONNECTIONS, amount: REQUESTS[server] }),
        );
        if (run > 0) perSecond[server].push(measured);
        await client.send(new PurgeQueueCommand({ QueueUrl: queueUrl }));
      }
      if (run > 0) say(`run ${run}: ${SERVERS.map((s) => `${s} ${perSecond[s].at(-1)?.toFixed(0)}`).join(', ')} requests/s`);
    }
    const median = (server: Server): number => percentile(perSecond[server], 50);
    const against = (server: Server): number => ratioInTurns(perSecond.gateway, perSecond[server]);
    roles.push(start('bridge'));
    const before = await callsOf(sqs);
    await accepted(url, { token, connections: COUNTED_CONNECTIONS, amount: COUNTED });
    await queueDrained(queue);
    const after = await callsOf(sqs);
    const per1000 = COUNTED_CALLS.map((call) => ((after[call] ?? 0) - (before[call] ?? 0)) / (COUNTED / 1000));
    const sqsRequestsPer1000 = per1000.reduce((sum, calls) => sum + calls);
    say(`requests to SQS for 1,000 submissions: ${COUNTED_CALLS.map((call, i) => `${call} ${per1000[i]?.toFixed(1)}`).join(', ')}`);
    return {
      figures: { gateway: median('gateway'), noQueueRoute: median('noQueue'), handWrittenRoute: median('handWritten'), sqsRequestsPer1000 },
      ratios: { handWritten: against('handWritten'), noQueue: against('noQueue') },
    };
  } finally {
    for (const role of roles.reverse()) await role.stop();
    for (const process of children) process.kill();
  }
}

/** By `AmazonSQS.NAME`. */
async function callsOf(sqs: string): Promise<Record<string, number>> {
  return (await (await fetch(`${sqs}/calls`)).json()) as Record<string, number>;
}
