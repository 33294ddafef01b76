/** Roles as Lambda functions, each with the settings of its command. */
import { type BridgeHandler, createBridgeHandler } from '../consumers/bridge/lambda.ts';
import { openQueue } from '../ports/queue/index.ts';
import { type LambdaSqsRecord, readLambdaRecord } from '../ports/queue/sqs-lambda.ts';
import { openTopic } from '../ports/topic/index.ts';
import { Background } from '../producers/gateway/background.ts';
import { createGatewayHandler, type GatewayHandler } from '../producers/gateway/lambda/handler.ts';
import { IDENTITY_SOURCES, type IdentitySource } from '../producers/gateway/lambda/identity.ts';
import { type Config, ConfigError, readConfig } from './config.ts';
import { createLog } from './log.ts';

/**
 * Reads the environment, once, and opens the adapters; Lambda keeps both for the calls that follow.
 * @throws ConfigError, AdapterConfigError
 */
export async function bridgeHandlerFromEnvironment(): Promise<BridgeHandler<LambdaSqsRecord>> {
  const config = readConfig();
  checkAdapter('SPANWAY_QUEUE', config.queue, 'sqs:QUEUE_URL');
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

/**
 * Reads the environment, once, and opens the adapters; what fails of that, but for a setting, is tried again with the
 * next request.
 * @throws ConfigError
 */
export async function gatewayHandlerFromEnvironment(): Promise<GatewayHandler> {
  // A process that is frozen between requests looks late to its own watch, and one request at a time makes none late.
  const config = { ...readConfig(), maxLoopDelayMs: 0 };
  checkAdapter('SPANWAY_QUEUE', config.queue, 'sqs:QUEUE_URL');
  checkAdapter('SPANWAY_STORE', config.store, 'spanner://PROJECT/INSTANCE/DATABASE');
  const sources = identitySources(config);
  const log = createLog(config, 'gateway');
  const background = new Background();
  return createGatewayHandler({
    background,
    log,
    basePath: config.lambdaBasePath?.replace(/^\/?(.*?)\/?$/, '/$1'),
    open: async () => {
      // Imported here, so that a resource file, which imports the package, does not wait for all of it.
      const [{ openGateway }, { identityFor }, { ResourceFolder }] = await Promise.all([
        import('./roles.ts'),
        import('./lambda-identity.ts'),
        import('./resource-folder.ts'),
      ]);
      const identity = await identityFor(config, sources, background);
      const resources = await ResourceFolder.open(config.schemas);
      return (await openGateway({ config, resources, log }, { identity, background, openSender: openQueue })).app;
    },
  });
}

/** A function's disk is its own, and goes with it. */
function checkAdapter(variable: string, value: string, form: string): void {
  const scheme = form.slice(0, form.indexOf(':') + 1);
  if (!value.startsWith(scheme)) throw new ConfigError(`${variable} is ${JSON.stringify(value)}; a Lambda function needs ${form}`);
}

function identitySources({ lambdaIdentity, lambdaPrincipals }: Config): readonly IdentitySource[] {
  const sources = lambdaIdentity.split(',').map((source) => source.trim());
  const wrong = sources.find((source) => !(IDENTITY_SOURCES as readonly string[]).includes(source));
  if (wrong !== undefined) {
    throw new ConfigError(`SPANWAY_LAMBDA_IDENTITY holds ${JSON.stringify(wrong)}, which is none of ${IDENTITY_SOURCES.join(', ')}`);
  }
  if (sources.includes('iam') !== (lambdaPrincipals !== undefined)) {
    throw new ConfigError('SPANWAY_LAMBDA_PRINCIPALS must be set where SPANWAY_LAMBDA_IDENTITY has iam, and only there');
  }
  return sources as IdentitySource[];
}
