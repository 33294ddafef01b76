/** What a `pubsub:` URL says, and what every call to Pub/Sub shares. */
import { setTimeout as sleep } from 'node:timers/promises';
import { PubSub, type v1 } from '@google-cloud/pubsub';
import { AdapterConfigError, PortUnavailableError } from '../errors.ts';

/** https://grpc.io/docs/guides/status-codes/ */
const PERMISSION_DENIED = 7;

export interface PubsubConfig {
  readonly projectId: string;
  /** Full names: `projects/PROJECT/topics/TOPIC`. */
  readonly topic: string;
  readonly subscription: string;
  readonly emulator: string | undefined;
  /** A lease is extended by this much at a time: what a killed process delays its messages by. */
  readonly leaseSeconds: number;
}

/** https://cloud.google.com/pubsub/docs/lease-management : 10 to 600. */
const DEFAULT_LEASE_SECONDS = 60;

/**
 * - subscription: default the topic's name and `-applier`.
 * - emulator: HOST:PORT of an emulator, which is asked without credentials, and pulled from by unary calls. Without it
 *   PUBSUB_EMULATOR_HOST applies, as everywhere in Google's clients, and else Google's own endpoint with the default
 *   credentials.
 * - leaseSeconds: for how long a message is the subscriber's without a sign of life; 10 to 600, default 60. What a
 *   killed process held comes again after it; a process that stalls for longer gets its messages twice.
 * @throws AdapterConfigError
 */
export function readPubsubUrl(url: URL): PubsubConfig {
  const projectId = url.hostname;
  const topic = url.pathname.slice(1);
  const subscription = url.searchParams.get('subscription') ?? `${topic}-applier`;
  const emulator = url.searchParams.get('emulator') ?? undefined;
  // https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names
  const name = /^(?!goog)[A-Za-z][A-Za-z0-9._~+%-]{2,254}$/;
  if (projectId === '' || !name.test(topic) || !name.test(subscription))
    throw new AdapterConfigError(
      `topic: ${JSON.stringify(url.href)} names no topic; expected pubsub://PROJECT/TOPIC, for example pubsub://my-project/spanway`,
    );
  if (emulator !== undefined && !/^[^:/]+:\d+$/.test(emulator))
    throw new AdapterConfigError(`topic: emulator=${emulator} in ${JSON.stringify(url.href)}; expected HOST:PORT`);
  const lease = url.searchParams.get('leaseSeconds');
  const leaseSeconds = lease === null ? DEFAULT_LEASE_SECONDS : Number(lease);
  if (!Number.isInteger(leaseSeconds) || leaseSeconds < 10 || leaseSeconds > 600)
    throw new AdapterConfigError(
      `topic: leaseSeconds=${lease ?? ''} in ${JSON.stringify(url.href)}; expected a whole number from 10 to 600`,
    );
  return {
    projectId,
    topic: `projects/${projectId}/topics/${topic}`,
    subscription: `projects/${projectId}/subscriptions/${subscription}`,
    emulator,
    leaseSeconds,
  };
}

export function connect({ projectId, emulator }: PubsubConfig): PubSub {
  if (emulator === undefined) return new PubSub({ projectId });
  return new PubSub({
    projectId,
    apiEndpoint: emulator,
    emulatorMode: true,
    // Else the client looks for credentials, only to learn their universe; off Google Cloud it waits for a metadata server.
    clientOptions: { universeDomain: 'googleapis.com' },
  });
}

/** A deadline, and no try but the first: whoever calls decides what a failure means and when to try again. */
export function once(timeoutMs: number): { timeout: number; retry: null } {
  return { timeout: timeoutMs, retry: null };
}

/** For a low-level client; the high-level class works out the endpoint and the emulator's credentials. */
export async function clientOptions(config: PubsubConfig): Promise<ConstructorParameters<typeof v1.PublisherClient>[0]> {
  return (await connect(config).getClientConfig()) as ConstructorParameters<typeof v1.PublisherClient>[0];
}

/** Resolves when the server answered; a role that may publish or pull only is not allowed to look, and need not be. */
export async function reached(call: Promise<unknown>): Promise<void> {
  try {
    await call;
  } catch (error) {
    if ((error as { code?: unknown }).code !== PERMISSION_DENIED) throw error;
  }
}

/** Resolves with `work`, or after `ms` without it. */
export async function within(ms: number, work: Promise<unknown>): Promise<void> {
  const timer = new AbortController();
  try {
    await Promise.race([work, sleep(Math.max(0, ms), undefined, { signal: timer.signal }).catch(() => {})]);
  } finally {
    timer.abort();
  }
}

export function unavailable(call: string, cause: unknown): PortUnavailableError {
  return new PortUnavailableError('topic', `${call} failed: ${(cause as Error).message}`, { cause });
}
