/** What moto cannot be made to do: entries that fail, and a bus that answers wrongly, late or never. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { EventBridgeClient } from '@aws-sdk/client-eventbridge';
import { afterEach, describe, expect, it } from 'vitest';
import { AdapterConfigError, PortUnavailableError } from '../../ports/errors.ts';
import { chunksOf, entryBytes, EventBridgeEvents } from '../../ports/events/eventbridge.ts';
import { readEventBridgeUrl } from '../../ports/events/eventbridge-config.ts';
import { openEvents } from '../../ports/events/index.ts';
import { outcomeEvent } from '../conformance/events.ts';

interface Entry {
  readonly EventBusName: string;
  readonly Source: string;
  readonly DetailType: string;
  readonly Detail: string;
  readonly Resources: string[];
  readonly Time: number;
}

type Result = { EventId: string } | { ErrorCode: string; ErrorMessage: string };
type Answer = { Entries: Result[] } | { status: number; type: string };

let server: Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
  server = undefined;
});

/** A bus that answers each PutEvents as told. `requests` are those it got. */
async function bus(answer: (entries: Entry[], request: number) => Answer): Promise<{ events: EventBridgeEvents; requests: Entry[][] }> {
  const requests: Entry[][] = [];
  server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      const { Entries } = JSON.parse(body) as { Entries: Entry[] };
      requests.push(Entries);
      const given = answer(Entries, requests.length);
      const failed = 'status' in given;
      response.writeHead(failed ? given.status : 200, { 'content-type': 'application/x-amz-json-1.1' });
      response.end(JSON.stringify(failed ? { __type: given.type, message: 'as told' } : given));
    });
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server?.once('listening', resolve));
  const client = new EventBridgeClient({
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    region: 'us-east-1',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    maxAttempts: 1,
  });
  return { events: new EventBridgeEvents(client, 'outcomes', { minMs: 1, maxMs: 5 }), requests };
}

const idOf = (entry: Entry): string => (JSON.parse(entry.Detail) as { id: string }).id;
const ok = { EventId: 'e' };
const failed = (ErrorCode: string) => ({ ErrorCode, ErrorMessage: 'as told' });

describe('EventBridge', () => {
  it('gets source, detail type, detail and the time of the commit', async () => {
    const { events, requests } = await bus((entries) => ({ Entries: entries.map(() => ok) }));
    const event = outcomeEvent({ outcome: 'dead_lettered', commitTimestamp: '2026-11-24T10:00:00.500000Z' });
    await events.send([event]);
    expect(requests).toEqual([
      [
        {
          EventBusName: 'outcomes',
          Source: 'spanway',
          DetailType: 'submission.dead_lettered',
          Detail: JSON.stringify(event),
          Resources: [],
          Time: Date.parse('2026-11-24T10:00:00.500Z') / 1000,
        },
      ],
    ]);
  });

  it('gets only those entries again that failed', async () => {
    const sent = ['a', 'b', 'c', 'd'].map((id) => outcomeEvent({ id }));
    const { events, requests } = await bus((entries, request) => ({
      Entries: entries.map((entry) => (request === 1 && 'bd'.includes(idOf(entry)) ? failed('ThrottlingException') : ok)),
    }));
    await events.send(sent);
    expect(requests.map((entries) => entries.map(idOf))).toEqual([
      ['a', 'b', 'c', 'd'],
      ['b', 'd'],
    ]);
  });

  it('gets all entries again when it did not answer the request', async () => {
    const sent = ['a', 'b'].map((id) => outcomeEvent({ id }));
    const { events, requests } = await bus((entries, request) =>
      request === 1 ? { status: 500, type: 'InternalException' } : { Entries: entries.map(() => ok) },
    );
    await events.send(sent);
    expect(requests.map((entries) => entries.map(idOf))).toEqual([
      ['a', 'b'],
      ['a', 'b'],
    ]);
  });

  it('takes an entry without an answer for one that was not accepted', async () => {
    const { events, requests } = await bus((entries, request) => ({ Entries: request === 1 ? [ok] : entries.map(() => ok) }));
    await events.send(['a', 'b'].map((id) => outcomeEvent({ id })));
    expect(requests.map((entries) => entries.map(idOf))).toEqual([['a', 'b'], ['b']]);
  });

  it('is given up on after a bounded number of tries, with the number of events that are left', async () => {
    const sent = Array.from({ length: 25 }, (_, i) => outcomeEvent({ id: i % 5 === 0 ? `bad-${i}` : `good-${i}` }));
    const { events, requests } = await bus((entries) => ({
      Entries: entries.map((entry) => (idOf(entry).startsWith('bad') ? failed('InternalFailure') : ok)),
    }));
    const error = await events.send(sent).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(PortUnavailableError);
    expect(error).toMatchObject({ message: expect.stringContaining('5 of 25') as string, context: { bus: 'outcomes', left: 5 } });
    expect(requests.length).toBe(3 * 6);
    expect(requests.flat().filter((entry) => idOf(entry).startsWith('good')).length).toBe(20);
  });

  it.each(['AccessDeniedException', 'ResourceNotFoundException'])(
    'is not asked again after %s, which no repetition mends',
    async (type) => {
      const { events, requests } = await bus(() => ({ status: 400, type }));
      await expect(events.send([outcomeEvent()])).rejects.toThrow(PortUnavailableError);
      expect(requests.length).toBe(1);
    },
  );

  it('is not asked again when all entries are malformed', async () => {
    const { events, requests } = await bus((entries) => ({ Entries: entries.map(() => failed('MalformedDetail')) }));
    await expect(events.send([outcomeEvent()])).rejects.toThrow(/1 of 1.*MalformedDetail/);
    expect(requests.length).toBe(1);
  });

  it('makes send, ping and provision throw PortUnavailableError when nobody listens', async () => {
    const events = await openEvents('eventbridge:outcomes?region=us-east-1&endpoint=http://127.0.0.1:9&credentials=local');
    await expect(events.ping()).rejects.toThrow(PortUnavailableError);
    await expect(events.provision()).rejects.toThrow(PortUnavailableError);
    await expect(events.send([outcomeEvent()])).rejects.toThrow(PortUnavailableError);
    await events.close();
  });
});

describe('requests', () => {
  const entry = (detail: string) => ({ Source: 'spanway', DetailType: 'type', Detail: detail, Resources: [], Time: new Date(0) });

  it('count bytes as EventBridge does', () => {
    expect(entryBytes(entry('é'))).toBe(14 + 7 + 4 + 2);
    expect(entryBytes({ ...entry(''), Resources: ['abc', 'd'] })).toBe(14 + 7 + 4 + 4);
  });

  it('hold at most ten entries, in order', () => {
    const chunks = chunksOf(Array.from({ length: 21 }, (_, i) => entry(String(i))));
    expect(chunks.map((chunk) => chunk.length)).toEqual([10, 10, 1]);
    expect(chunks.flat().map((one) => one.Detail)).toEqual(Array.from({ length: 21 }, (_, i) => String(i)));
  });

  it('hold at most the limit of bytes, and an entry over it alone', () => {
    const limits = { maxBatchCount: 10, maxBatchBytes: 100 };
    const chunks = chunksOf(
      [25, 25, 26, 200, 25].map((length) => entry('x'.repeat(length))),
      limits,
    );
    expect(chunks.map((chunk) => chunk.map((one) => one.Detail?.length))).toEqual([[25, 25], [26], [200], [25]]);
  });
});

describe('an eventbridge: URL', () => {
  const read = (text: string) => readEventBridgeUrl(new URL(text));

  it('may hold a name or an ARN, which gives the region', () => {
    expect(read('eventbridge:outcomes')).toEqual({ bus: 'outcomes', client: {} });
    expect(read('eventbridge:arn:aws:events:eu-west-1:123456789012:event-bus/outcomes')).toEqual({
      bus: 'arn:aws:events:eu-west-1:123456789012:event-bus/outcomes',
      client: { region: 'eu-west-1' },
    });
  });

  it.each([
    'eventbridge:',
    'eventbridge:a%20b',
    'eventbridge:a?endpoint=localhost',
    'eventbridge:a?endpoint=http://127.0.0.1:1&credentials=mine',
    'eventbridge:a?credentials=local',
  ])('%s is refused', (text) => {
    expect(() => read(text)).toThrow(AdapterConfigError);
  });
});
