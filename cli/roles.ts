/** Each role with the adapters that the configuration names. */
import type { AddressInfo } from 'node:net';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { startApplier } from '../consumers/applier/applier.ts';
import { applyRecorded } from '../consumers/applier/rebuild.ts';
import { startBridge } from '../consumers/bridge/bridge.ts';
import type { Cache } from '../ports/cache/port.ts';
import { openEvents } from '../ports/events/index.ts';
import { openQueue } from '../ports/queue/index.ts';
import type { QueueSender } from '../ports/queue/port.ts';
import { openQueueSender } from '../ports/queue/sender.ts';
import { openSecrets } from '../ports/secrets/index.ts';
import { MissingSecretError, type Secrets } from '../ports/secrets/port.ts';
import { openStore } from '../ports/store/index.ts';
import type { Store } from '../ports/store/port.ts';
import { openTopic } from '../ports/topic/index.ts';
import { buildGateway } from '../producers/gateway/app.ts';
import type { Background } from '../producers/gateway/background.ts';
import { createIdentity, type Identity, type IssuerSettings } from '../producers/gateway/identity.ts';
import { startSealer } from '../producers/replay/seals/sealer.ts';
import { startReplayWorker } from '../producers/replay/worker.ts';
import { parseKeyRing } from '../schemas/envelope/key-ring.ts';
import type { ResourceSource } from '../schemas/resource/registry.ts';
import { type Config, ConfigError } from './config.ts';
import { openCacheOf, openJobsOf } from './installation.ts';
import { readIssuers } from './issuers.ts';
import { followKeys, followSigner, followVerifier, PACK_KEYS, RECEIPT_KEYS, SEAL_KEYS } from './keys.ts';
import { readRates } from './rates.ts';

export interface Role {
  /** Lets what is under way end, gives back the rest, closes its adapters. */
  stop(): Promise<void>;
}

export interface RoleContext {
  readonly config: Config;
  readonly log: Logger;
  /** Shared by the roles of one process, and closed by who opened it. Without it each role opens its own. */
  readonly cache?: Cache;
  /** Hears of a fault after which the role does nothing any more. */
  readonly onFatal: (error: unknown) => void;
}

/** Of a role that knows what it carries; the bridge does not. */
export interface ResourceRoleContext extends RoleContext {
  readonly resources: ResourceSource;
}

export interface Gateway {
  readonly app: FastifyInstance;
  /** Answers what it has, then closes the adapters. */
  readonly close: () => Promise<void>;
}

/** The gateway's application on its adapters, not listening. What it opened is closed again where it throws. */
export async function openGateway(
  { config, resources, log, cache: shared }: Omit<ResourceRoleContext, 'onFatal'>,
  {
    openSender,
    ...parts
  }: { readonly identity: Identity; readonly background?: Background; readonly openSender: (url: string) => Promise<QueueSender> },
): Promise<Gateway> {
  const opened: (() => unknown)[] = [];
  const close = async (): Promise<void> => {
    for (const closeOne of opened.reverse()) await closeOne();
  };
  try {
    const rates = await readRates(config);
    const secrets = await openSecrets(config.secrets);
    const packSigner = await followSigner(secrets, PACK_KEYS, config.packSignature, log);
    opened.push(() => packSigner.stop());
    const receiptKeys = await followKeys(secrets, RECEIPT_KEYS, parseKeyRing, log);
    opened.push(() => receiptKeys.stop());
    const queue = await openSender(config.queue);
    opened.push(() => queue.close());
    const store = await openStore(config.store);
    opened.push(() => store.close());
    const cache = shared ?? (await openCacheOf(config));
    if (!shared) opened.push(() => cache.close());
    const app = buildGateway({
      ...parts,
      queue,
      store,
      cache,
      resources,
      log,
      packSigner: packSigner.current,
      receiptKeys,
      settings: {
        ...config,
        receiptTtlMs: config.receiptTtlSeconds * 1000,
        rates,
      },
    });
    opened.push(() => app.close());
    await app.ready();
    return { app, close };
  } catch (error) {
    await close();
    throw error;
  }
}

export async function startGatewayRole(
  context: ResourceRoleContext,
  given?: readonly IssuerSettings[],
): Promise<Role & { readonly url: string }> {
  const { config } = context;
  const { app, close } = await openGateway(context, {
    identity: createIdentity(given ?? (await readIssuers(config))),
    openSender: openQueueSender,
  });
  return listen(app, { ...config, variable: 'PORT' }, close);
}

/** `variable`: what sets the port. `close` ends the application and what it stands on. */
export async function listen(
  app: FastifyInstance,
  at: { readonly host: string; readonly port: number; readonly variable: string; readonly stopSeconds: number },
  close: () => Promise<void>,
): Promise<Role & { readonly url: string }> {
  try {
    await app.listen({ host: at.host, port: at.port });
  } catch (cause) {
    await close();
    if ((cause as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw cause;
    throw new ConfigError(`port ${at.port} is in use; set ${at.variable} to a free one`);
  }
  const { port } = app.server.address() as AddressInfo;
  const host = at.host === '0.0.0.0' || at.host === '::' ? '127.0.0.1' : at.host;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    async stop() {
      // A request that does not arrive, or an answer that is not read, holds up no stop.
      const patience = setTimeout(() => app.server.closeAllConnections(), at.stopSeconds * 1000);
      await close();
      clearTimeout(patience);
    },
  };
}

export async function startBridgeRole({ config, log, onFatal }: RoleContext): Promise<Role> {
  const queue = await openQueue(config.queue);
  const topic = await openTopic(config.topic);
  const bridge = startBridge({
    queue,
    publisher: topic.publisher(),
    log,
    onFatal,
    settings: {
      receivers: config.bridgeReceivers,
      receiveWaitMs: config.receiveWaitSeconds * 1000,
      visibilityMs: config.visibilitySeconds * 1000,
      backoff: backoffOf(config),
    },
  });
  return {
    async stop() {
      await bridge.stop();
      await queue.close();
    },
  };
}

/** Where the store takes them and no setting says otherwise. */
const PARALLEL_COMMITS = 8;

export async function startApplierRole({ config, resources, log, onFatal, cache: shared }: ResourceRoleContext): Promise<Role> {
  const secrets = await openSecrets(config.secrets);
  const packKeys = await followVerifier(secrets, config.packSignature, log);
  const topic = await openTopic(config.topic);
  const store = await openStore(config.store);
  const events = await openEvents(config.events);
  const cache = shared ?? (await openCacheOf(config));
  const applier = startApplier({
    subscriber: topic.subscriber(),
    store,
    events,
    cache,
    resources,
    packKeys,
    log,
    onFatal,
    settings: {
      ...config,
      parallelism: config.parallelism ?? (store.capabilities.parallelCommits ? PARALLEL_COMMITS : 1),
      backoff: backoffOf(config),
      keyPatienceMs: config.keyPatienceSeconds * 1000,
      stopMs: config.stopSeconds * 1000,
    },
  });
  return {
    async stop() {
      await applier.stop();
      packKeys.stop();
      await Promise.all([store.close(), events.close(), shared ? undefined : cache.close()]);
    },
  };
}

/** How long a replay waits for the outcomes of one step before it goes on. */
const OUTCOME_MS = 60_000;

export async function startReplayWorkerRole({ config, resources, log }: ResourceRoleContext): Promise<Role> {
  const secrets = await openSecrets(config.secrets);
  const signer = await followSigner(secrets, PACK_KEYS, config.packSignature, log);
  const jobs = await openJobsOf(config);
  const store = await openStore(config.store);
  const queue = await openQueue(config.queue);
  const backoff = backoffOf(config);
  const worker = startReplayWorker({
    jobs,
    store,
    resources,
    log,
    sender: {
      queue,
      signer: signer.current,
      settings: { ...config, backoff },
      onFailure: (err, attempt) => log.warn({ err, attempt }, 'a replay cannot send to the queue; trying again in order'),
    },
    openTarget: async (url) => {
      const target = await openStore(url);
      return {
        write: (commits) => applyRecorded(target, commits, { resources: resources.current, maxMutations: config.maxBatchMutations }),
        close: () => target.close(),
      };
    },
    settings: { concurrency: config.replayConcurrency, outcomeMs: OUTCOME_MS, backoff },
  });
  const stopSealing = await startSealing({ config, log, secrets, store });
  return {
    async stop() {
      await Promise.all([worker.stop(), stopSealing()]);
      signer.stop();
      await Promise.all([jobs.close(), store.close(), queue.close()]);
    },
  };
}

interface SealingContext extends Pick<RoleContext, 'config' | 'log'> {
  readonly secrets: Secrets;
  readonly store: Store;
}

/** Without its secret a worker replays and does not seal. Answers what stops it. */
async function startSealing({ config, log, secrets, store }: SealingContext): Promise<() => Promise<void>> {
  try {
    const signer = await followSigner(secrets, SEAL_KEYS, config.packSignature, log);
    const sealer = startSealer({ store, signer: signer.current, log, everyMs: config.sealSeconds * 1000 });
    return async () => {
      await sealer.stop();
      signer.stop();
    };
  } catch (error) {
    if (!(error instanceof MissingSecretError)) throw error;
    log.warn(`the ledger is not sealed: ${error.message}. spanway key prints a line for it`);
    return () => Promise.resolve();
  }
}

function backoffOf(config: Config): { readonly minMs: number; readonly maxMs: number } {
  return { minMs: config.retryMinMs, maxMs: config.retryMaxMs };
}
