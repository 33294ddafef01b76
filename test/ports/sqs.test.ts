/** The SQS adapter where no local server can be made to fail: what it makes of lost answers and of refusals. */
import { hash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { AdapterConfigError, PortUnavailableError } from '../../ports/errors.ts';
import { openQueue } from '../../ports/queue/index.ts';
import type { HoldsDeadLetters, Queue, QueueEntry, QueueMessage } from '../../ports/queue/port.ts';
import { readSqsUrl } from '../../ports/queue/sqs-config.ts';
import { deadLetterAttributes } from '../../ports/queue/sqs-message.ts';
import { entryBytes, SQS_CAPABILITIES } from '../../ports/queue/limits.ts';

interface Request {
  readonly action: string;
  readonly body: Record<string, unknown>;
}

/** Answers a request: a status with a JSON body; or the connection is cut; or it is left waiting. */
type Answer = { readonly status: number; readonly body: unknown } | 'cut' | 'wait';

/** A server that speaks SQS's JSON protocol as far as told, and notes what it was asked. */
async function stubSqs(
  answer: (request: Request, count: number) => Answer,
): Promise<{ queue: Queue & HoldsDeadLetters; requests: Request[] }> {
  const requests: Request[] = [];
  const handle = async (incoming: IncomingMessage, response: ServerResponse) => {
    let text = '';
    for await (const chunk of incoming) text += String(chunk);
    const request = { action: String(incoming.headers['x-amz-target']).replace('AmazonSQS.', ''), body: JSON.parse(text) };
    requests.push(request);
    const given = answer(request, requests.length);
    if (given === 'wait') return undefined;
    if (given === 'cut') return incoming.socket.destroy();
    response.writeHead(given.status, { 'content-type': 'application/x-amz-json-1.0' }).end(JSON.stringify(given.body));
    return undefined;
  };
  const server = createServer((incoming, response) => void handle(incoming, response)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const queue = await openQueue(`sqs:http://127.0.0.1:${port}/000000000000/spanway.fifo?region=us-east-1&credentials=local`);
  onTestFinished(async () => {
    await queue.close();
    server.closeAllConnections();
    server.close();
  });
  return { queue, requests };
}

const entry = (body: string): QueueEntry => ({ group: 'g', deduplicationId: body, body, attributes: {} });
const received = (n: number): QueueMessage => ({ group: 'g', body: 'x', attributes: {}, receiveCount: 1, receipt: `id${n} handle${n}` });
const refusal = { status: 400, body: { __type: 'com.amazonaws.sqs#QueueDoesNotExist', message: 'no such queue' } };
const options = { maxCount: 10, waitMs: 0, visibilityMs: 30_000 };

describe('a send by the SQS adapter', () => {
  it('answers unknown for every entry when the connection is lost', async () => {
    const { queue, requests } = await stubSqs(() => 'cut');
    const results = await queue.send([entry('one'), entry('two')]);
    expect(results.map((result) => result.status)).toEqual(['unknown', 'unknown']);
    expect(results[0]).toHaveProperty('error', expect.any(PortUnavailableError));
    // Each try with the same deduplication ids.
    for (const request of requests) expect(request.body).toEqual(requests[0]?.body);
  });

  it('answers unknown for every entry when SQS fails', async () => {
    const { queue } = await stubSqs(() => ({ status: 500, body: { __type: 'InternalFailure' } }));
    expect((await queue.send([entry('one')]))[0]?.status).toBe('unknown');
  });

  it('answers failed for every entry when SQS refuses the call', async () => {
    const { queue } = await stubSqs(() => refusal);
    expect((await queue.send([entry('one'), entry('two')])).map((result) => result.status)).toEqual(['failed', 'failed']);
  });

  it('answers unknown when a refusal follows a try whose answer was lost', async () => {
    const { queue } = await stubSqs((_, count) => (count === 1 ? 'cut' : refusal));
    expect((await queue.send([entry('one')]))[0]?.status).toBe('unknown');
  });

  it("tells each entry's own failure: failed for a sender's fault, unknown for SQS's", async () => {
    const md5OfTwo = 'b8a9f715dbb64fd5c56e7783c6820a61';
    const { queue } = await stubSqs(() => ({
      status: 200,
      body: {
        Successful: [{ Id: '1', MessageId: 'm', MD5OfMessageBody: md5OfTwo }],
        Failed: [
          { Id: '0', Code: 'InvalidMessageContents', SenderFault: true },
          { Id: '2', Code: 'InternalError', SenderFault: false },
        ],
      },
    }));
    const results = await queue.send([entry('one'), entry('two'), entry('three'), entry('unanswered')]);
    expect(results.map((result) => result.status)).toEqual(['failed', 'ok', 'unknown', 'unknown']);
  });
});

describe('a receive by the SQS adapter', () => {
  it('repeats its attempt id after a lost answer, in the next receive too, and then takes a fresh one', async () => {
    const { queue, requests } = await stubSqs((_, count) => (count <= 3 ? 'cut' : { status: 200, body: {} }));
    await expect(queue.receive(options)).rejects.toBeInstanceOf(PortUnavailableError);
    expect(await queue.receive(options)).toEqual([]);
    expect(await queue.receive(options)).toEqual([]);
    const ids = requests.map((request) => request.body['ReceiveRequestAttemptId']);
    expect(ids).toHaveLength(5);
    expect(new Set(ids.slice(0, 4)).size).toBe(1);
    expect(ids[4]).not.toBe(ids[0]);
  });

  it('is not sent again when the queue closes under it, to take messages that nobody would handle', async () => {
    const { queue, requests } = await stubSqs(() => 'wait');
    const receive = queue.receive({ ...options, waitMs: 20_000 });
    while (requests.length === 0) await sleep(5);
    await queue.close();
    expect(await receive).toEqual([]);
    // Longer than the SDK waits before its second try.
    await sleep(500);
    expect(requests).toHaveLength(1);
  });

  it('takes a fresh attempt id after a refusal', async () => {
    const { queue, requests } = await stubSqs(() => refusal);
    await expect(queue.receive(options)).rejects.toBeInstanceOf(PortUnavailableError);
    await expect(queue.receive(options)).rejects.toBeInstanceOf(PortUnavailableError);
    expect(requests[0]?.body['ReceiveRequestAttemptId']).not.toBe(requests[1]?.body['ReceiveRequestAttemptId']);
  });
});

describe('a visit of dead letters by the SQS adapter', () => {
  const message = (id: string, handle: string) => ({ MessageId: id, ReceiptHandle: handle, Body: id, MD5OfBody: hash('md5', id) });
  const ok = { status: 200, body: { Successful: [], Failed: [] } };
  /** Answers receives with these, then with nothing; and anything else with success. */
  const receiving =
    (...answers: (readonly unknown[])[]) =>
    ({ action }: Request): Answer =>
      action === 'ReceiveMessage' ? { status: 200, body: { Messages: answers.shift() ?? [] } } : ok;
  const extensionsOf = (requests: readonly Request[]) =>
    requests
      .filter(({ action }) => action === 'ChangeMessageVisibilityBatch')
      .map(({ body }) =>
        (body['Entries'] as { ReceiptHandle: string; VisibilityTimeout: number }[]).map((e) => [e.ReceiptHandle, e.VisibilityTimeout]),
      );

  it('shows each once, though the time for which it is hidden ends meanwhile, and gives back what stays', async () => {
    const answers = receiving(
      [message('m1', 'h1'), message('m2', 'h2')],
      [message('m1', 'h3'), message('m3', 'h4')],
      [message('m1', 'h5')],
    );
    const { queue, requests } = await stubSqs(answers);
    const shown: string[][] = [];
    await queue.visitDeadLetters((letters) => {
      shown.push(letters.map(({ id }) => id));
      return Promise.resolve(letters.map(({ id }) => id === 'm2'));
    });
    expect(shown).toEqual([['m1', 'm2'], ['m3']]);
    expect(requests.filter(({ action }) => action === 'DeleteMessageBatch').map(({ body }) => body['Entries'])).toEqual([
      [{ Id: '0', ReceiptHandle: 'h2' }],
    ]);
    expect(extensionsOf(requests)).toEqual([
      [
        ['h5', 0],
        ['h4', 0],
      ],
    ]);
  });

  it('keeps hidden what was shown, for as long as it lasts', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    onTestFinished(() => void vi.useRealTimers());
    const { queue, requests } = await stubSqs(receiving([message('m1', 'h1')], [message('m2', 'h2')]));
    const extended: number[] = [];
    await queue.visitDeadLetters(async (letters) => {
      vi.advanceTimersByTime(60_000);
      await expect.poll(() => extensionsOf(requests).length).toBeGreaterThan(extended.length);
      extended.push(extensionsOf(requests).at(-1)?.length ?? 0);
      return letters.map(() => false);
    });
    expect(extended).toEqual([1, 2]);
    expect(extensionsOf(requests).at(-2)).toEqual([
      ['h1', 120],
      ['h2', 120],
    ]);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('a delete by the SQS adapter', () => {
  it('tries again for the entries that failed, and for those alone', async () => {
    const { queue, requests } = await stubSqs((_, count) => ({
      status: 200,
      body: { Successful: [], Failed: count === 1 ? [{ Id: '1', Code: 'InternalError', SenderFault: false }] : [] },
    }));
    await queue.delete([received(1), received(2), received(3)]);
    expect(requests.map((request) => request.body['Entries'])).toEqual([
      [
        { Id: '0', ReceiptHandle: 'handle1' },
        { Id: '1', ReceiptHandle: 'handle2' },
        { Id: '2', ReceiptHandle: 'handle3' },
      ],
      [{ Id: '0', ReceiptHandle: 'handle2' }],
    ]);
  });

  it('throws when it could remove none, and not when it could remove some', async () => {
    const { queue } = await stubSqs(({ body }) => ({
      status: 200,
      body: {
        Failed: (body['Entries'] as { Id: string; ReceiptHandle: string }[])
          .filter(({ ReceiptHandle: handle }) => handle === 'handle1')
          .map(({ Id }) => ({ Id, Code: 'InternalError', SenderFault: false })),
      },
    }));
    await expect(queue.delete([received(1), received(2)])).resolves.toBeUndefined();
    await expect(queue.delete([received(1)])).rejects.toBeInstanceOf(PortUnavailableError);
  });
});

describe('a ping by the SQS adapter', () => {
  it('fails when nobody listens', async () => {
    const queue = await openQueue('sqs:http://127.0.0.1:1/000000000000/spanway.fifo?region=us-east-1&credentials=local');
    onTestFinished(() => queue.close());
    await expect(queue.ping()).rejects.toBeInstanceOf(PortUnavailableError);
  });
});

describe('a sqs: URL', () => {
  it.each([
    ['sqs:https://sqs.eu-west-1.amazonaws.com/123456789012/spanway.fifo', 'eu-west-1'],
    ['sqs:https://sqs-fips.us-gov-west-1.amazonaws.com/123456789012/spanway.fifo', 'us-gov-west-1'],
    ['sqs:https://eu-west-1.queue.amazonaws.com/123456789012/spanway.fifo', 'eu-west-1'],
    ['sqs:https://vpce-0a.sqs.eu-west-1.vpce.amazonaws.com/123456789012/spanway.fifo', 'eu-west-1'],
    ['sqs:https://sqs.eu-west-1.api.aws/123456789012/spanway.fifo', 'eu-west-1'],
    ['sqs:http://127.0.0.1:4566/000000000000/spanway.fifo?region=us-east-2', 'us-east-2'],
    ['sqs:http://127.0.0.1:4566/000000000000/spanway.fifo', undefined],
  ])('%s is in region %s', (url, region) => {
    expect(readSqsUrl(new URL(url)).client.region).toBe(region);
  });

  it('names the queue, its endpoint, and the dead-letter queue beside it', () => {
    const config = readSqsUrl(new URL('sqs:https://sqs.eu-west-1.amazonaws.com/123456789012/spanway.fifo'));
    expect(config).toEqual({
      queueUrl: 'https://sqs.eu-west-1.amazonaws.com/123456789012/spanway.fifo',
      queueName: 'spanway.fifo',
      deadLetterUrl: 'https://sqs.eu-west-1.amazonaws.com/123456789012/spanway-dlq.fifo',
      deadLetterName: 'spanway-dlq.fifo',
      client: { endpoint: 'https://sqs.eu-west-1.amazonaws.com', region: 'eu-west-1' },
    });
  });

  it.each([
    'sqs:spanway.fifo',
    'sqs:https://sqs.eu-west-1.amazonaws.com/123456789012/spanway',
    'sqs:http://sqs.eu-west-1.amazonaws.com/123456789012/spanway.fifo',
    'sqs:https://sqs.eu-west-1.amazonaws.com/123456789012/spanway.fifo?credentials=local',
    'sqs:http://127.0.0.1:4566/000000000000/spanway.fifo?credentials=mine',
  ])('is refused: %s', async (url) => {
    await expect(openQueue(url)).rejects.toBeInstanceOf(AdapterConfigError);
  });
});

describe("a dead letter's attributes", () => {
  const message = (body: string, attributes: Record<string, string>): QueueMessage => ({ ...received(1), body, attributes });

  it('never are more than ten: those beyond are gathered into one', () => {
    const own = Object.fromEntries(Array.from({ length: 10 }, (_, n) => [`a${n}`, `v${n}`]));
    const attributes = deadLetterAttributes(message('x', own), 'why');
    expect(Object.keys(attributes)).toHaveLength(10);
    expect(attributes).toMatchObject({ a0: 'v0', a7: 'v7', spanwayReason: 'why', spanwayOtherAttributes: '{"a8":"v8","a9":"v9"}' });
  });

  it('give way to a body that fills the limit', () => {
    const body = 'x'.repeat(SQS_CAPABILITIES.maxMessageBytes - 29);
    const attributes = deadLetterAttributes(message(body, { a: 'v' }), 'why');
    expect(attributes).toEqual({ spanwayReason: 'why' });
    expect(entryBytes({ body, attributes })).toBeLessThanOrEqual(SQS_CAPABILITIES.maxMessageBytes);
    expect(deadLetterAttributes(message('x'.repeat(SQS_CAPABILITIES.maxMessageBytes), {}), 'why')).toEqual({});
  });
});
