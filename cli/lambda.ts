/** The bridge as a Lambda function, with the settings of `spanway bridge`. */
import { type BridgeHandler, createBridgeHandler } from '../consumers/bridge/lambda.ts';
import { openQueue } from '../ports/queue/index.ts';
import { type LambdaSqsRecord, readLambdaRecord } from '../ports/queue/sqs-lambda.ts';
import { openTopic } from '../ports/topic/index.ts';
import { ConfigError, readConfig } from './config.ts';
import { createLog } from './log.ts';

/**
 * Reads the environment, once, and opens the adapters; Lambda keeps both for the calls that follow.
 * @throws ConfigError, AdapterConfigError
 */
export async function bridgeHandlerFromEnvironment(): Promise<BridgeHandler<LambdaSqsRecord>> {
  const config = readConfig();
  if (!config.queue.startsWith('sqs:'))
    throw new ConfigError(`SPANWAY_QUEUE is ${JSON.stringify(config.queue)}; a Lambda function needs sqs:QUEUE_URL`);
  const queue = await openQueue(config.queue);
  const topic = await openTopic(config.topic);
  return createBridgeHandler({
    publisher: topic.publisher(),
    deadLetter: (message, reason) => queue.deadLetter(message, reason),
    readRecord: readLambdaRecord,
    log: createLog(config, 'bridge'),
    backoff: { minMs: config.retryMinMs, maxMs: config.retryMaxMs },
  });
}
