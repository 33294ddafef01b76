/** The topic on Google Cloud Pub/Sub: `pubsub://PROJECT/TOPIC`. */
import { v1 } from '@google-cloud/pubsub';
import { checkPublish, PUBSUB_CAPABILITIES } from './limits.ts';
import type { Publisher, Subscriber, Topic, TopicMessage } from './port.ts';
import { clientOptions, connect, once, reached, readPubsubUrl, unavailable, within, type PubsubConfig } from './pubsub-client.ts';
import { PubsubPuller } from './pubsub-puller.ts';
import { PubsubSubscriber } from './pubsub-subscriber.ts';

/** Of one publish, and of each call of ping and provision. */
const PUBLISH_TIMEOUT_MS = 10_000;
const ADMIN_TIMEOUT_MS = 10_000;
/** How long a publisher's close waits for publishes under way. */
const CLOSE_TIMEOUT_MS = 15_000;

/** Of a subscription made by `provision`; figures: https://cloud.google.com/pubsub/docs/subscription-properties */
const RETENTION_SECONDS = 7 * 24 * 60 * 60; // at most 31 days

/** gRPC's status codes: https://grpc.io/docs/guides/status-codes/ */
const NOT_FOUND = 5;
const ALREADY_EXISTS = 6;

export async function open(url: URL): Promise<Topic> {
  const config = readPubsubUrl(url);
  return {
    publisher: (): Publisher => new PubsubPublisher(config),
    subscriber: () => subscriber(config),
    provision: () => provision(config),
  };
}

/** Streaming pull; unary pulls on an emulator, also where PUBSUB_EMULATOR_HOST names it. */
function subscriber(config: PubsubConfig): Subscriber {
  const pubsub = connect(config);
  return pubsub.isEmulator ? new PubsubPuller(config) : new PubsubSubscriber(pubsub, config);
}

class PubsubPublisher implements Publisher {
  readonly capabilities = PUBSUB_CAPABILITIES;
  readonly #config: PubsubConfig;
  readonly #client: Promise<v1.PublisherClient>;
  readonly #underWay = new Set<Promise<unknown>>();

  constructor(config: PubsubConfig) {
    this.#config = config;
    this.#client = clientOptions(config).then((options) => new v1.PublisherClient(options));
    // Each call says so.
    this.#client.catch(() => {});
  }

  /**
   * One request of the low-level client. The high-level publisher gathers messages by itself, and after a failure sends
   * later messages of the key ahead of the failed ones (seen with 6.3.0).
   */
  async publish(key: string, messages: readonly TopicMessage[]): Promise<void> {
    checkPublish(key, messages, this.capabilities);
    if (messages.length === 0) return;
    const request = {
      topic: this.#config.topic,
      messages: messages.map(({ data, attributes }) => ({ data, attributes, orderingKey: key })),
    };
    await this.#call('publish', async (client) => {
      const [answer] = await client.publish(request, once(PUBLISH_TIMEOUT_MS));
      const ids = answer.messageIds?.length ?? 0;
      if (ids !== messages.length) throw new Error(`${ids} of ${messages.length} messages were confirmed`);
    });
  }

  async ping(): Promise<void> {
    await this.#call('ping', async (client) => {
      await reached(client.getTopic({ topic: this.#config.topic }, once(ADMIN_TIMEOUT_MS)));
    });
  }

  async #call(name: string, work: (client: v1.PublisherClient) => Promise<void>): Promise<void> {
    const call = this.#client.then(work).catch((cause: unknown) => {
      throw unavailable(name, cause);
    });
    this.#underWay.add(call);
    try {
      await call;
    } finally {
      this.#underWay.delete(call);
    }
  }

  async close(): Promise<void> {
    await within(CLOSE_TIMEOUT_MS, Promise.allSettled(this.#underWay));
    await this.#client.then(
      (client) => client.close(),
      () => {},
    );
  }
}

async function provision(config: PubsubConfig): Promise<void> {
  const options = await clientOptions(config);
  const publisher = new v1.PublisherClient(options);
  const subscriber = new v1.SubscriberClient(options);
  try {
    await make(publisher.getTopic({ topic: config.topic }, once(ADMIN_TIMEOUT_MS)), () =>
      publisher.createTopic({ name: config.topic }, once(ADMIN_TIMEOUT_MS)),
    );
    await make(subscriber.getSubscription({ subscription: config.subscription }, once(ADMIN_TIMEOUT_MS)), () =>
      subscriber.createSubscription(
        {
          name: config.subscription,
          topic: config.topic,
          enableMessageOrdering: true,
          ackDeadlineSeconds: config.leaseSeconds,
          messageRetentionDuration: { seconds: RETENTION_SECONDS },
          // No ttl: else Pub/Sub deletes a subscription that nobody pulled for 31 days, with what waits in it.
          expirationPolicy: {},
        },
        once(ADMIN_TIMEOUT_MS),
      ),
    );
  } catch (cause) {
    throw unavailable('provision', cause);
  } finally {
    await Promise.all([publisher.close(), subscriber.close()]);
  }
}

async function make(found: Promise<unknown>, create: () => Promise<unknown>): Promise<void> {
  try {
    await found;
  } catch (error) {
    if ((error as { code?: unknown }).code !== NOT_FOUND) throw error;
    await create().catch((raced: unknown) => {
      if ((raced as { code?: unknown }).code !== ALREADY_EXISTS) throw raced;
    });
  }
}
