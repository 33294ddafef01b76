/** What a `sqs:` URL says, and the client made from it. */
import { SQSClient, type SQSClientConfig } from '@aws-sdk/client-sqs';
import { AwsJson1_0Protocol } from '@aws-sdk/core/protocols';
import { LOCAL_CREDENTIALS, requestHandler } from '../aws.ts';
import { AdapterConfigError } from '../errors.ts';

/** The SDK's own tries of one call, with backoff between them. A send is deduplicated, the other calls are idempotent. */
const MAX_ATTEMPTS = 3;
/** One per call under way: a waiting receive holds its own for up to 20 s. */
const MAX_SOCKETS = 200;

export interface SqsConfig {
  readonly queueUrl: string;
  readonly queueName: string;
  readonly deadLetterUrl: string;
  readonly deadLetterName: string;
  readonly client: SQSClientConfig;
}

/**
 * `sqs:QUEUE_URL[?region=REGION][&credentials=local]`.
 * - region: default from the host name, else as the SDK resolves it (AWS_REGION, the profile).
 * - credentials: `local` signs with made-up credentials. For local servers, which check none; refused for AWS itself.
 *   Without it the SDK's default chain applies.
 * @throws AdapterConfigError
 */
export function readSqsUrl(url: URL): SqsConfig {
  const expected = 'expected sqs:QUEUE_URL of a FIFO queue, for example sqs:https://sqs.eu-west-1.amazonaws.com/123456789012/spanway.fifo';
  if (!URL.canParse(url.pathname)) throw new AdapterConfigError(`queue: ${JSON.stringify(url.href)} holds no queue URL; ${expected}`);
  const queue = new URL(url.pathname);
  const queueName = queue.pathname.split('/').at(-1) ?? '';
  if (!/^https?:$/.test(queue.protocol) || !/^[A-Za-z0-9_-]{1,71}\.fifo$/.test(queueName))
    throw new AdapterConfigError(`queue: ${JSON.stringify(url.href)} names no FIFO queue; ${expected}`);
  const isAws = /(^|\.)(amazonaws\.com(\.cn)?|api\.aws)$/.test(queue.hostname);
  const credentials = url.searchParams.get('credentials');
  if (credentials !== null && credentials !== 'local')
    throw new AdapterConfigError(`queue: credentials=${credentials} in ${JSON.stringify(url.href)}; expected local, or none`);
  if (isAws && (credentials === 'local' || queue.protocol === 'http:'))
    throw new AdapterConfigError(`queue: ${JSON.stringify(url.href)} is AWS itself: it needs https: and real credentials`);

  const region = url.searchParams.get('region') ?? (isAws ? regionOf(queue.hostname) : undefined);
  const deadLetterName = queueName.replace(/\.fifo$/, '-dlq.fifo');
  return {
    queueUrl: queue.href,
    queueName,
    deadLetterUrl: new URL(deadLetterName, queue).href,
    deadLetterName,
    client: {
      endpoint: queue.origin,
      ...(region === undefined ? {} : { region }),
      ...(credentials === 'local' ? { credentials: LOCAL_CREDENTIALS } : {}),
    },
  };
}

/** `sqs.REGION.amazonaws.com`, `REGION.queue.amazonaws.com`, `vpce-….sqs.REGION.vpce.amazonaws.com`, `sqs.REGION.api.aws` */
function regionOf(host: string): string | undefined {
  return (/(?:^|\.)sqs(?:-fips)?\.([a-z0-9-]+)\./.exec(host) ?? /^([a-z0-9-]+)\.queue\./.exec(host))?.[1];
}

/** A request as its JSON text, which is right for one without bytes and dates: no request of the adapter has any. */
class RequestText {
  #text = '';

  write(_schema: unknown, input: unknown): void {
    this.#text = JSON.stringify(input);
  }

  flush(): string {
    return this.#text;
  }

  setSerdeContext(): void {
    // It needs none.
  }
}

/** The SDK's own serializer writes the text byte by byte in JavaScript; for a batch of full packs that is a third of the call. */
class SqsProtocol extends AwsJson1_0Protocol {
  protected override readonly serializer = new RequestText();
}

export function makeClient(config: SqsConfig): SQSClient {
  return new SQSClient({
    ...config.client,
    maxAttempts: MAX_ATTEMPTS,
    cacheMiddleware: true,
    protocol: SqsProtocol,
    requestHandler: requestHandler(MAX_SOCKETS),
  });
}
