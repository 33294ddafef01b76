/**
 * SQS's JSON protocol without most of the SDK's way to it, for the calls a bridge makes all the time. The SDK takes
 * four times the processor time of the request itself for each call (0.66 ms of 0.80 measured with 3.1175), most of it
 * in walking schemas and middleware. Credentials, signing, connections, time-outs and the retry budget are the SDK's.
 * https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-making-api-requests-json.html
 */
import { hash } from 'node:crypto';
import type { Readable } from 'node:stream';
import type {
  DeleteMessageBatchCommandInput,
  DeleteMessageBatchResult,
  Message,
  ReceiveMessageCommandInput,
  SQSClient,
} from '@aws-sdk/client-sqs';

type RetryStrategy = Awaited<ReturnType<SQSClient['config']['retryStrategy']>>;
/** What every strategy of the SDK is by now; the type still has the one before it. */
type CurrentRetryStrategy = Extract<RetryStrategy, { recordSuccess: unknown }>;

interface HttpRequest {
  readonly method: string;
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number;
  readonly path: string;
  readonly query: Record<string, string>;
  readonly headers: Record<string, string>;
  readonly body: string;
}

/** The SDK's handler, whose own type says `any`. */
interface HttpHandler {
  handle(
    request: HttpRequest,
    options: WireOptions,
  ): Promise<{ response: { statusCode: number; headers: Record<string, string>; body: Readable } }>;
}

export interface WireOptions {
  readonly requestTimeout?: number;
  readonly abortSignal?: AbortSignal;
}

interface Operations {
  ReceiveMessage: { input: ReceiveMessageCommandInput; output: { Messages?: WireMessage[] } };
  DeleteMessageBatch: { input: DeleteMessageBatchCommandInput; output: DeleteMessageBatchResult };
}

/** On the wire, bytes are base64. */
type WireMessage = Omit<Message, 'MessageAttributes'> & {
  MessageAttributes?: Record<string, { DataType?: string; StringValue?: string; BinaryValue?: string }>;
};

/** SQS said no; or its answer was not the one to this call. The fields are those of the SDK's errors. */
class SqsAnswerError extends Error {
  override readonly name: string;
  readonly $metadata: { readonly httpStatusCode: number; attempts: number };
  constructor(name: string, message: string, httpStatusCode: number) {
    super(message);
    this.name = name;
    this.$metadata = { httpStatusCode, attempts: 1 };
  }
}

/** https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html */
const THROTTLED = /Throttl|TooManyRequests|SlowDown/;
/** What AWS answers to a signature whose time is not its own. */
const SKEWED = /RequestTimeTooSkewed|RequestExpired|InvalidSignature|SignatureDoesNotMatch|RequestInTheFuture/;
/** The smallest difference of the clocks that is worth a new signature; a signature holds for 15 minutes. */
const SKEW_MS = 4 * 60 * 1000;

export class SqsWire {
  readonly #client: SQSClient;
  readonly #endpoint: { readonly protocol: string; readonly hostname: string; readonly port?: number };
  #clockOffsetMs = 0;

  constructor(client: SQSClient, queueUrl: string) {
    const { protocol, hostname, port } = new URL(queueUrl);
    this.#client = client;
    this.#endpoint = { protocol, hostname, ...(port === '' ? {} : { port: Number(port) }) };
  }

  async receive(input: ReceiveMessageCommandInput, options: WireOptions): Promise<Message[]> {
    const { Messages = [] } = await this.#call('ReceiveMessage', input, options);
    return Messages.map(fromWire);
  }

  deleteBatch(input: DeleteMessageBatchCommandInput): Promise<DeleteMessageBatchResult> {
    return this.#call('DeleteMessageBatch', input, {});
  }

  async #call<Name extends keyof Operations>(
    name: Name,
    input: Operations[Name]['input'],
    options: WireOptions,
  ): Promise<Operations[Name]['output']> {
    const strategy = (await this.#client.config.retryStrategy()) as CurrentRetryStrategy;
    let token = await strategy.acquireInitialRetryToken(name);
    const body = JSON.stringify(input);
    for (let attempts = 1; ; attempts += 1) {
      try {
        const output = (await this.#once(name, body, options)) as Operations[Name]['output'];
        strategy.recordSuccess(token);
        return output;
      } catch (cause) {
        const error = cause as Error;
        if (error instanceof SqsAnswerError) error.$metadata.attempts = attempts;
        const errorType = retryable(error);
        if (errorType === undefined || options.abortSignal?.aborted === true) throw error;
        try {
          token = await strategy.refreshRetryTokenForRetry(token, { errorType });
        } catch {
          // The tries or the budget are used up.
          throw error;
        }
        await new Promise((resolve) => setTimeout(resolve, token.getRetryDelay()));
      }
    }
  }

  async #once(name: keyof Operations, body: string, options: WireOptions): Promise<unknown> {
    const { config } = this.#client;
    const { hostname, port } = this.#endpoint;
    const request: HttpRequest = {
      ...this.#endpoint,
      method: 'POST',
      path: '/',
      query: {},
      headers: {
        host: port === undefined ? hostname : `${hostname}:${port}`,
        'content-type': 'application/x-amz-json-1.0',
        'content-length': String(Buffer.byteLength(body)),
        'x-amz-target': `AmazonSQS.${name}`,
      },
      body,
    };
    const signer = await config.signer();
    const signed = (await signer.sign(request, {
      signingDate: new Date(Date.now() + this.#clockOffsetMs),
    })) as unknown as HttpRequest;
    const { response } = await (config.requestHandler as HttpHandler).handle(signed, options);
    const text = await readText(response.body);
    if (response.statusCode < 300) return JSON.parse(text);
    const error = refusalOf(text, response.statusCode);
    this.#followClock(error, response.headers['date']);
    throw error;
  }

  /** A machine whose clock is off is told by AWS what time it is; the next try is signed with that. */
  #followClock(error: SqsAnswerError, date: string | undefined): void {
    if (date === undefined || !SKEWED.test(error.name)) return;
    const offsetMs = Date.parse(date) - Date.now();
    if (Math.abs(offsetMs - this.#clockOffsetMs) >= SKEW_MS) this.#clockOffsetMs = offsetMs;
  }
}

/** In the SDK's words, of which it takes these two for worth another try; a lost connection and a 5xx are TRANSIENT to it. */
function retryable(error: Error): 'TRANSIENT' | 'THROTTLING' | undefined {
  if (!(error instanceof SqsAnswerError)) return 'TRANSIENT';
  const status = error.$metadata.httpStatusCode;
  if (status === 429 || THROTTLED.test(error.name)) return 'THROTTLING';
  return status < 300 || status === 408 || status >= 500 || SKEWED.test(error.name) ? 'TRANSIENT' : undefined;
}

function refusalOf(text: string, status: number): SqsAnswerError {
  try {
    const { __type: type = '', message, Message } = JSON.parse(text) as { __type?: string; message?: string; Message?: string };
    return new SqsAnswerError(type.slice(type.indexOf('#') + 1) || 'SqsError', message ?? Message ?? text, status);
  } catch {
    return new SqsAnswerError('SqsError', `status ${status}: ${text.slice(0, 200)}`, status);
  }
}

async function readText(body: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk as Buffer);
  return chunks.length === 1 ? (chunks[0] as Buffer).toString() : Buffer.concat(chunks).toString();
}

/** Checks the body as the SDK does. */
function fromWire(message: WireMessage): Message {
  const { MessageAttributes: attributes = {}, ...rest } = message;
  if (message.MD5OfBody !== undefined && hash('md5', message.Body ?? '') !== message.MD5OfBody)
    throw new SqsAnswerError('InvalidChecksum', `the body of message ${message.MessageId ?? ''} is not what SQS sent`, 200);
  return {
    ...rest,
    MessageAttributes: Object.fromEntries(
      Object.entries(attributes).map(([name, { DataType, StringValue, BinaryValue }]) => [
        name,
        { DataType, StringValue, ...(BinaryValue === undefined ? {} : { BinaryValue: Buffer.from(BinaryValue, 'base64') }) },
      ]),
    ),
  };
}
