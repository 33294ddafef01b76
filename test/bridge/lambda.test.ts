/** The bridge as a Lambda function: events as AWS documents them, on the embedded topic and on Google's emulator. */
import { randomBytes, randomUUID } from 'node:crypto';
import { ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import type { SQSHandler, SQSRecord } from 'aws-lambda';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { type BridgeHandler, createBridgeHandler } from '../../consumers/bridge/lambda.ts';
import { PortUnavailableError } from '../../ports/errors.ts';
import { openQueue } from '../../ports/queue/index.ts';
import { type LambdaSqsRecord, readLambdaRecord } from '../../ports/queue/sqs-lambda.ts';
import { readReceipt } from '../../ports/queue/sqs-message.ts';
import { openTopic } from '../../ports/topic/index.ts';
import type { Publisher, Subscriber, Topic } from '../../ports/topic/port.ts';
import { KeyRing } from '../../schemas/envelope/key-ring.ts';
import { encodePack } from '../../schemas/envelope/pack.ts';
import { DOCUMENTED_FIFO_EVENT, fifoRecord } from '../fixtures/lambda-events.ts';
import { describeWithServer } from '../servers.ts';
import { makeTemporaryFolder } from '../temp.ts';

const ring = new KeyRing([{ id: 'k1', key: randomBytes(32) }]);
const log = pino({ level: 'silent' });
const backoff = { minMs: 1, maxMs: 5 };
const limits = { maxOutstandingMessages: 1000, maxOutstandingBytes: 1e8 };
const withTime = (ms: number) => ({ getRemainingTimeInMillis: () => ms });
const failures = (...ids: string[]) => ({ batchItemFailures: ids.map((itemIdentifier) => ({ itemIdentifier })) });

function packRecord(shard: number, text: string): SQSRecord {
  const pack = encodePack([JSON.stringify(text)], shard, ring);
  return fifoRecord(`${shard}-${text}`, String(shard), pack.body, { ...pack.attributes });
}

/** What a subscriber has been handed, by key, and a wait for so many of it. */
function collect(subscriber: Subscriber): { texts(key: string): unknown[]; until(count: number): Promise<void> } {
  const delivered: { key: string; text: unknown }[] = [];
  let arrived: (() => void) | undefined;
  subscriber.onError((error) => expect.unreachable(error.message));
  subscriber.start(({ key, data, ack }) => {
    delivered.push({ key, text: (JSON.parse(data.toString()) as unknown[])[0] });
    ack();
    arrived?.();
  }, limits);
  return {
    texts: (key) => delivered.filter((d) => d.key === key).map((d) => d.text),
    async until(count) {
      while (delivered.length < count) await new Promise<void>((resolve) => (arrived = resolve));
    },
  };
}

/** A publisher whose publishes of some keys do something else. */
function publisherWith(real: Publisher, publish: (key: string, count: number) => Promise<void> | undefined): Publisher {
  return {
    capabilities: real.capabilities,
    publish: (key, messages) => publish(key, messages.length) ?? real.publish(key, messages),
    ping: () => real.ping(),
    close: () => real.close(),
  };
}

describe('a record of an SQS event', () => {
  it('reads as the queue’s adapter would have received it', () => {
    const [record] = DOCUMENTED_FIFO_EVENT.Records as [SQSRecord];
    const message = readLambdaRecord(record);
    expect(message).toMatchObject({
      group: '1',
      body: 'Test message.',
      attributes: {},
      receiveCount: 1,
      sentAt: '2019-11-08T22:18:30.774Z',
    });
    expect(readReceipt(message)).toEqual({ id: '11d6ee51-4cc7-4302-9e22-7cd8afdaadf5', handle: 'AQEBBX8nesZEXmkhsmZeyIE8iQAMig7qw...' });
  });

  it('keeps its attributes, those of bytes as base64', () => {
    const record = fifoRecord('m1', '1', 'x', { shard: '7' });
    const { attributes } = readLambdaRecord({
      ...record,
      messageAttributes: { ...record.messageAttributes, raw: { binaryValue: 'AAE=', dataType: 'Binary' } },
    });
    expect(attributes).toEqual({ shard: '7', raw: 'AAE=' });
  });
});

describe('the bridge as a Lambda function', () => {
  let topic: Topic;
  let real: Publisher;
  let subscriber: Subscriber;
  let received: ReturnType<typeof collect>;
  let remove: () => Promise<void>;
  let parked: string[];

  beforeEach(async () => {
    const folder = await makeTemporaryFolder();
    remove = folder.remove;
    topic = await openTopic(`sqlite:${folder.path}/spanway.db`);
    real = topic.publisher();
    subscriber = topic.subscriber();
    received = collect(subscriber);
    parked = [];
  });
  afterEach(async () => {
    await subscriber.stop(1000);
    await real.close();
    await remove();
  });

  const handlerWith = (
    publisher: Publisher = real,
    deadLetter: (body: string, reason: string) => Promise<void> = async (body, reason) => {
      parked.push(`${body}: ${reason}`);
    },
  ): BridgeHandler<LambdaSqsRecord> =>
    createBridgeHandler({
      publisher,
      deadLetter: (message, reason) => deadLetter(message.body, reason),
      readRecord: readLambdaRecord,
      log,
      backoff,
    });

  it('is a handler as Lambda’s own types describe one', () => {
    const handler: SQSHandler = handlerWith();
    expect(handler).toBeTypeOf('function');
  });

  it('publishes every pack, each shard in order, and reports no failure', async () => {
    const Records = [packRecord(1, 'a'), packRecord(2, 'x'), packRecord(1, 'b'), packRecord(2, 'y'), packRecord(1, 'c')];
    expect(await handlerWith()({ Records }, withTime(60_000))).toEqual(failures());
    await received.until(5);
    expect(received.texts('1')).toEqual(['a', 'b', 'c']);
    expect(received.texts('2')).toEqual(['x', 'y']);
  });

  it('parks what is no pack with its reason, and goes on with its group', async () => {
    const Records = [packRecord(1, 'a'), ...DOCUMENTED_FIFO_EVENT.Records, packRecord(1, 'b')];
    expect(await handlerWith()({ Records }, withTime(60_000))).toEqual(failures());
    await received.until(2);
    expect(received.texts('1')).toEqual(['a', 'b']);
    expect(parked).toEqual([expect.stringMatching(/^Test message\.: contentType is undefined/)]);
  });

  it('parks a pack that no topic takes, and publishes the others of its run', async () => {
    const odd = packRecord(1, 'odd');
    odd.messageAttributes = { ...odd.messageAttributes, google: { stringValue: 'reserved', dataType: 'String' } };
    expect(await handlerWith()({ Records: [packRecord(1, 'a'), odd, packRecord(1, 'b')] }, withTime(60_000))).toEqual(failures());
    await received.until(2);
    expect(received.texts('1')).toEqual(['a', 'b']);
    expect(parked).toEqual([expect.stringContaining('"google" cannot be an attribute\'s name')]);
  });

  it('tries again in order while there is time', async () => {
    let failing = 3;
    const away = publisherWith(real, () => (failing-- > 0 ? Promise.reject(new PortUnavailableError('topic', 'away')) : undefined));
    expect(await handlerWith(away)({ Records: [packRecord(1, 'a'), packRecord(1, 'b')] }, withTime(60_000))).toEqual(failures());
    await received.until(2);
    expect(received.texts('1')).toEqual(['a', 'b']);
  });

  it('reports what failed and the rest of its group, in time, and no other group', async () => {
    const away = publisherWith(real, (key) => (key === '1' ? Promise.reject(new PortUnavailableError('topic', 'away')) : undefined));
    const Records = [packRecord(1, 'a'), packRecord(2, 'x'), packRecord(1, 'b'), packRecord(2, 'y')];
    expect(await handlerWith(away)({ Records }, withTime(1_100))).toEqual(failures('1-a', '1-b'));
    await received.until(2);
    expect(received.texts('2')).toEqual(['x', 'y']);
    expect(received.texts('1')).toEqual([]);
  });

  it('does not report what was published before the failure', async () => {
    // One message a request, so that the shard has several.
    const one = { ...publisherWith(real, (): undefined => undefined), capabilities: { ...real.capabilities, maxBatchCount: 1 } };
    let calls = 0;
    const publish: Publisher['publish'] = (key, messages) => {
      calls += 1;
      return calls === 2 ? new Promise(() => {}) : real.publish(key, messages);
    };
    const Records = [packRecord(1, 'a'), packRecord(1, 'b'), packRecord(1, 'c')];
    expect(await handlerWith({ ...one, publish })({ Records }, withTime(1_100))).toEqual(failures('1-b', '1-c'));
    await received.until(1);
    expect(received.texts('1')).toEqual(['a']);
  });

  it('answers in time where a publish hangs', async () => {
    const hanging = publisherWith(real, () => new Promise(() => {}));
    const started = performance.now();
    expect(await handlerWith(hanging)({ Records: [packRecord(1, 'a')] }, withTime(1_100))).toEqual(failures('1-a'));
    expect(performance.now() - started).toBeLessThan(1_100);
  });

  it('fails a misfit and what comes behind it while the dead-letter queue is away', async () => {
    const handler = handlerWith(real, () => Promise.reject(new PortUnavailableError('queue', 'away')));
    const Records = [packRecord(1, 'a'), ...DOCUMENTED_FIFO_EVENT.Records, packRecord(1, 'b'), packRecord(2, 'x')];
    const [documented] = DOCUMENTED_FIFO_EVENT.Records;
    expect(await handler({ Records }, withTime(1_100))).toEqual(failures(documented?.messageId ?? '', '1-b'));
    await received.until(2);
    expect(received.texts('1')).toEqual(['a']);
  });

  it('refuses the events of a standard queue instead of parking them', async () => {
    const record = packRecord(1, 'a');
    delete record.attributes.MessageGroupId;
    await expect(handlerWith()({ Records: [record] }, withTime(60_000))).rejects.toThrow('the event source must be the FIFO queue');
    expect(parked).toEqual([]);
  });
});

describeWithServer(['sqs', 'pubsub'], 'the bridge as a Lambda function on the real brokers', ({ sqs, pubsub }) => {
  it('publishes to Pub/Sub, and parks on SQS with the receipt that Lambda got', async () => {
    const name = `q${randomUUID().slice(0, 8)}`;
    const queue = await openQueue(`sqs:${sqs.endpoint}/000000000000/${name}.fifo?region=us-east-1&credentials=local`);
    const topic = await openTopic(`pubsub://test-${randomUUID()}/spanway?emulator=${pubsub.host}`);
    const client = new SQSClient({
      endpoint: sqs.endpoint,
      region: 'us-east-1',
      credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    });
    await Promise.all([queue.provision(), topic.provision()]);
    const publisher = topic.publisher();
    const subscriber = topic.subscriber();
    const received = collect(subscriber);
    onTestFinished(async () => {
      await Promise.all([publisher.close(), subscriber.stop(5_000), queue.close()]);
      client.destroy();
    });
    const take = async (queueName: string) => {
      const QueueUrl = `${sqs.endpoint}/000000000000/${queueName}`;
      const request = { QueueUrl, MaxNumberOfMessages: 10, MessageAttributeNames: ['All'], WaitTimeSeconds: 1 };
      return (await client.send(new ReceiveMessageCommand(request))).Messages ?? [];
    };

    await queue.send([{ group: '1', deduplicationId: 'odd', body: 'hello', attributes: { contentType: 'text/plain' } }]);
    const [misfit] = await take(`${name}.fifo`);
    const Records = [
      packRecord(1, 'a'),
      fifoRecord(misfit?.MessageId ?? '', '1', 'hello', { contentType: 'text/plain' }, misfit?.ReceiptHandle),
      packRecord(1, 'b'),
      packRecord(2, 'x'),
    ];
    const handler = createBridgeHandler({
      publisher,
      deadLetter: (message, reason) => queue.deadLetter(message, reason),
      readRecord: readLambdaRecord,
      log,
      backoff,
    });
    expect(await handler({ Records }, withTime(60_000))).toEqual(failures());
    await received.until(3);
    expect(received.texts('1')).toEqual(['a', 'b']);
    expect(received.texts('2')).toEqual(['x']);
    const [parked] = await take(`${name}-dlq.fifo`);
    expect(parked?.Body).toBe('hello');
    expect(parked?.MessageAttributes?.['spanwayReason']?.StringValue).toMatch(/^contentType is "text\/plain"/);
    expect(await take(`${name}.fifo`)).toEqual([]);
  });
});
