/** What the bridge's own way to SQS does where it stands in for the SDK: checks, retries, and a clock that is off. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { PortUnavailableError } from '../../ports/errors.ts';
import { openQueue } from '../../ports/queue/index.ts';
import type { Queue } from '../../ports/queue/port.ts';

interface Answer {
  readonly status: number;
  readonly body: unknown;
  readonly headers?: Record<string, string>;
}

const options = { maxCount: 10, waitMs: 0, visibilityMs: 30_000 };

async function stubSqs(
  answers: readonly Answer[],
): Promise<{ queue: Queue; headers: IncomingHttpHeaders[]; bodies: Record<string, unknown>[] }> {
  const headers: IncomingHttpHeaders[] = [];
  const bodies: Record<string, unknown>[] = [];
  const server = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk) => (text += String(chunk)));
    request.on('end', () => {
      headers.push(request.headers);
      bodies.push(JSON.parse(text));
      const answer = answers[headers.length - 1] ?? { status: 200, body: {} };
      response
        .writeHead(answer.status, { 'content-type': 'application/x-amz-json-1.0', ...answer.headers })
        .end(JSON.stringify(answer.body));
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const queue = await openQueue(`sqs:http://127.0.0.1:${port}/000000000000/spanway.fifo?region=us-east-1&credentials=local`);
  onTestFinished(async () => {
    await queue.close();
    server.closeAllConnections();
    server.close();
  });
  return { queue, headers, bodies };
}

const messageOf = (body: string, md5OfBody: string) => ({
  MessageId: 'm1',
  ReceiptHandle: 'h1',
  Body: body,
  MD5OfBody: md5OfBody,
  Attributes: { MessageGroupId: '1', ApproximateReceiveCount: '2' },
  MessageAttributes: { shard: { StringValue: '1', DataType: 'String' }, raw: { BinaryValue: 'AAE=', DataType: 'Binary' } },
});
const md5 = (text: string): string => createHash('md5').update(text).digest('hex');

describe('a receive from SQS', () => {
  it('is signed for SQS and reads what came', async () => {
    const { queue, headers } = await stubSqs([{ status: 200, body: { Messages: [messageOf('é', md5('é'))] } }]);
    expect(await queue.receive(options)).toEqual([
      { group: '1', body: 'é', attributes: { shard: '1', raw: 'AAE=' }, receiveCount: 2, receipt: 'm1 h1' },
    ]);
    expect(headers[0]).toMatchObject({
      'x-amz-target': 'AmazonSQS.ReceiveMessage',
      'content-type': 'application/x-amz-json-1.0',
      authorization: expect.stringMatching(
        /^AWS4-HMAC-SHA256 Credential=local\/\d{8}\/us-east-1\/sqs\/aws4_request, SignedHeaders=.*host.*, /,
      ),
    });
  });

  it('takes no body that is not the one SQS sent, and asks for it again under the same attempt id', async () => {
    const { queue, bodies } = await stubSqs([
      { status: 200, body: { Messages: [messageOf('changed', md5('sent'))] } },
      { status: 200, body: { Messages: [messageOf('sent', md5('sent'))] } },
    ]);
    await expect(queue.receive(options)).rejects.toThrow(PortUnavailableError);
    expect((await queue.receive(options)).map((message) => message.body)).toEqual(['sent']);
    expect(bodies[1]?.['ReceiveRequestAttemptId']).toBe(bodies[0]?.['ReceiveRequestAttemptId']);
  });

  it('is tried again when SQS is throttling or fails, and not when it refuses', async () => {
    const throttled = { status: 400, body: { __type: 'com.amazonaws.sqs#RequestThrottled', message: 'slow down' } };
    const failed = { status: 500, body: { __type: 'InternalFailure' } };
    const refused = { status: 403, body: { __type: 'AccessDeniedException', message: 'no' } };
    const { queue, bodies } = await stubSqs([throttled, failed, { status: 200, body: {} }, refused]);
    expect(await queue.receive(options)).toEqual([]);
    expect(bodies).toHaveLength(3);
    await expect(queue.receive(options)).rejects.toThrow('AccessDeniedException: no');
    expect(bodies).toHaveLength(4);
  });

  it('signs with the time that AWS tells when the own clock is off', async () => {
    const later = new Date(Date.now() + 3_600_000);
    const { queue, headers } = await stubSqs([
      { status: 403, body: { __type: 'InvalidSignatureException', message: 'expired' }, headers: { date: later.toUTCString() } },
      { status: 200, body: {} },
    ]);
    expect(await queue.receive(options)).toEqual([]);
    const signedAt = String(headers[1]?.['x-amz-date']).replace(/^(....)(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z');
    expect(Math.abs(Date.parse(signedAt) - later.getTime())).toBeLessThan(60_000);
  });
});
