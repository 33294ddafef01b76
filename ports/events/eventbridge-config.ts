/** What an `eventbridge:` URL says, and the client made from it. */
import { EventBridgeClient, type EventBridgeClientConfig } from '@aws-sdk/client-eventbridge';
import { LOCAL_CREDENTIALS, requestHandler } from '../aws.ts';
import { AdapterConfigError } from '../errors.ts';

/** Requests under way at once, of all sends. */
const MAX_SOCKETS = 50;

export interface EventBridgeConfig {
  /** A name or an ARN. */
  readonly bus: string;
  readonly client: EventBridgeClientConfig;
}

/**
 * `eventbridge:BUS[?region=REGION][&endpoint=URL][&credentials=local]`. BUS is a name or an ARN.
 * - region: default from the ARN, else as the SDK resolves it (AWS_REGION, the profile).
 * - endpoint: a local server instead of AWS.
 * - credentials: `local` signs with made-up credentials, for a local server, which checks none. Without it the SDK's
 *   default chain applies.
 * @throws AdapterConfigError
 */
export function readEventBridgeUrl(url: URL): EventBridgeConfig {
  const refuse = (why: string) => new AdapterConfigError(`events: ${JSON.stringify(url.href)} ${why}`);
  // https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsRequestEntry.html
  const bus = decodeURIComponent(url.pathname);
  if (!/^(arn:aws[\w-]*:events:[a-z\d-]+:\d{12}:event-bus\/)?[/.\w-]{1,256}$/.test(bus))
    throw refuse('names no event bus; expected eventbridge:BUS, for example eventbridge:spanway?region=eu-west-1');

  const endpoint = url.searchParams.get('endpoint');
  if (endpoint !== null && !/^https?:$/.test(URL.parse(endpoint)?.protocol ?? ''))
    throw refuse('has an endpoint that is no http: or https: URL');
  const credentials = url.searchParams.get('credentials');
  if (credentials !== null && credentials !== 'local') throw refuse(`has credentials=${credentials}; expected local, or none`);
  if (credentials === 'local' && endpoint === null) throw refuse('is AWS itself: it needs real credentials');

  const region = url.searchParams.get('region') ?? /^arn:[^:]+:events:([^:]+):/.exec(bus)?.[1];
  return {
    bus,
    client: {
      ...(region === undefined ? {} : { region }),
      ...(endpoint === null ? {} : { endpoint }),
      ...(credentials === 'local' ? { credentials: LOCAL_CREDENTIALS } : {}),
    },
  };
}

export function makeClient(config: EventBridgeConfig): EventBridgeClient {
  return new EventBridgeClient({
    ...config.client,
    // Retries are the adapter's: it sends failed entries alone, which the SDK cannot.
    maxAttempts: 1,
    requestHandler: requestHandler(MAX_SOCKETS),
  });
}
