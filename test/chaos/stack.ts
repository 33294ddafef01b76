/** The two stacks under test, each behind proxies: gateway, bridge and applier a process each on real local servers, and all roles in one, embedded. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { readConfig } from '../../cli/config.ts';
import { freePort } from '../../cli/local-servers/child.ts';
import type { LocalServers } from '../../cli/local-servers/index.ts';
import { Command } from '../fixtures/stacks.ts';
import { RoleProcess } from './processes.ts';
import { Proxy } from './proxy.ts';

export interface ChaosStack {
  readonly name: string;
  /** The gateway through its proxy, for writers; and without it, for the checks. */
  readonly url: string;
  readonly directUrl: string;
  readonly dataDir: string;
  /** What may be killed. */
  readonly roles: readonly RoleProcess[];
  readonly proxies: readonly Proxy[];
  /** Without proxies. */
  readonly adapters: { readonly queue: string; readonly topic: string; readonly store: string };
  stop(): Promise<void>;
}

export const SHARDS = 16;

/** Short times, so that a run waits less: what a killed process held is free sooner, and retries come sooner. */
const SETTINGS = { SPANWAY_SHARDS: String(SHARDS), SPANWAY_VISIBILITY_SECONDS: '3', SPANWAY_RETRY_MAX_MS: '1000' };

/** `spanway dev`. Only the client's connections can be cut: there are no others. */
export async function startEmbedded(folder: string): Promise<ChaosStack> {
  const port = await freePort();
  const dataDir = join(folder, 'data');
  const env = { ...SETTINGS, SPANWAY_DATA_DIR: dataDir, PORT: String(port) };
  const role = new RoleProcess('dev', ['dev'], env, folder);
  await role.start();
  const { queue, topic, store } = readConfig(env);
  const proxy = await Proxy.start('gateway', port);
  return {
    name: 'embedded',
    url: `http://127.0.0.1:${proxy.port}`,
    directUrl: `http://127.0.0.1:${port}`,
    dataDir,
    roles: [role],
    proxies: [proxy],
    adapters: { queue, topic, store },
    stop: async () => {
      await role.stop();
      await proxy.stop();
    },
  };
}

export async function startReal(folder: string, servers: Required<LocalServers>): Promise<ChaosStack> {
  const dataDir = join(folder, 'data');
  const [port, issuerPort] = [await freePort(), await freePort()];
  const proxies = {
    gateway: await Proxy.start('gateway', port),
    sqs: await Proxy.start('sqs', portOf(servers.sqs.endpoint)),
    publish: await Proxy.start('publish', portOf(`http://${servers.pubsub.host}`)),
    pull: await Proxy.start('pull', portOf(`http://${servers.pubsub.host}`)),
    spanner: await Proxy.start('spanner', portOf(`http://${servers.spanner.host}`)),
    redis: await Proxy.start('redis', portOf(servers.redis.url)),
    eventbridge: await Proxy.start('eventbridge', portOf(servers.eventbridge.endpoint)),
  };
  const name = `chaos-${randomBytes(6).toString('hex')}`;
  const direct = adapters(servers, name);
  const shared = {
    ...SETTINGS,
    SPANWAY_DATA_DIR: dataDir,
    SPANWAY_SECRETS: 'env:',
    SPANWAY_SECRET_PACK_SIGNING_KEYS: `k1 ${randomBytes(32).toString('base64')}`,
    SPANWAY_SECRET_RECEIPT_KEYS: `r1 ${randomBytes(32).toString('base64')}`,
    SPANWAY_OIDC_ISSUER: 'urn:spanway:development',
    SPANWAY_OIDC_JWKS_URL: `http://127.0.0.1:${issuerPort}/jwks.json`,
  };
  const provision = new Command(['schema', 'apply', '--provision'], { ...shared, ...direct });
  if ((await provision.exited) !== 0) throw new Error(provision.output);

  const host = (proxy: Proxy): string => `127.0.0.1:${proxy.port}`;
  const proxied = (pubsub: Proxy): Record<string, string> => ({
    ...shared,
    ...adapters(
      {
        sqs: { endpoint: `http://${host(proxies.sqs)}` },
        pubsub: { host: host(pubsub) },
        spanner: { host: host(proxies.spanner) },
        redis: { url: `redis://${host(proxies.redis)}` },
        eventbridge: { endpoint: `http://${host(proxies.eventbridge)}` },
      },
      name,
    ),
  });
  const env = proxied(proxies.publish);
  // It stands for somebody else's identity provider, so it is not among those that are killed.
  const issuer = new RoleProcess('issuer', ['issuer'], { ...env, PORT: String(issuerPort) }, folder);
  const roles = [
    new RoleProcess('applier', ['applier'], proxied(proxies.pull), folder),
    new RoleProcess('bridge', ['bridge'], env, folder),
    new RoleProcess('gateway', ['gateway'], { ...env, PORT: String(port) }, folder),
  ];
  await Promise.all([issuer, ...roles].map((role) => role.start()));
  return {
    name: 'real',
    url: `http://127.0.0.1:${proxies.gateway.port}`,
    directUrl: `http://127.0.0.1:${port}`,
    dataDir,
    roles,
    proxies: Object.values(proxies),
    adapters: { queue: direct['SPANWAY_QUEUE'] ?? '', topic: direct['SPANWAY_TOPIC'] ?? '', store: direct['SPANWAY_STORE'] ?? '' },
    stop: async () => {
      for (const role of [...roles].reverse()) await role.stop();
      await issuer.stop();
      await Promise.all(Object.values(proxies).map((proxy) => proxy.stop()));
    },
  };
}

function adapters(servers: Required<LocalServers>, name: string): Record<string, string> {
  const local = 'region=us-east-1&credentials=local';
  return {
    SPANWAY_QUEUE: `sqs:${servers.sqs.endpoint}/000000000000/${name}.fifo?${local}`,
    SPANWAY_TOPIC: `pubsub://spanway-test/${name}?emulator=${servers.pubsub.host}&leaseSeconds=10`,
    SPANWAY_STORE: `spanner://spanway-test/spanway-test/${name}?emulator=${servers.spanner.host}`,
    SPANWAY_CACHE: servers.redis.url,
    SPANWAY_EVENTS: `eventbridge:${name}?${local}&endpoint=${encodeURIComponent(servers.eventbridge.endpoint)}`,
  };
}

function portOf(url: string): number {
  return Number(new URL(url).port);
}
