/** `spanway dev`: every role in one process of three threads, on the embedded adapters or on real local servers. */
import { join } from 'node:path';
import type { Logger } from 'pino';
import { hasBoard } from '../../ports/jobs/index.ts';
import { holdExclusive } from '../../ports/sqlite/lock.ts';
import { startBoard } from '../board/start.ts';
import { type Config, ConfigError, secretsFolder, withAdapters } from '../config.ts';
import { startConsumers } from '../consumers.ts';
import { startDevelopmentIssuer } from '../dev-issuer.ts';
import { openCacheOf } from '../installation.ts';
import { issuerOf } from '../issuers.ts';
import { ensureDevelopmentKeys } from '../keys.ts';
import { type LocalServers, type RunningServers, startLocalServers } from '../local-servers/index.ts';
import { createLog } from '../log.ts';
import { ResourceFolder } from '../resource-folder.ts';
import { applySchema, provision } from '../provision.ts';
import { type Role, type ResourceRoleContext, startGatewayRole } from '../roles.ts';
import { runUntilStopped } from '../run-role.ts';

export async function dev(config: Config, options: { readonly real: boolean }): Promise<void> {
  if (config.production) throw new ConfigError('spanway dev does not work with NODE_ENV=production: run each role by itself');
  const release = holdExclusive(join(config.dataDir, 'lock.db'));
  const log = createLog(config);
  try {
    await runUntilStopped(log, (onFatal) => start(config, options, log, onFatal));
  } finally {
    release();
  }
}

async function start(given: Config, { real }: { readonly real: boolean }, log: Logger, onFatal: (error: unknown) => void): Promise<Role> {
  // Ended in the opposite order: who brings work stops before who does it.
  const running: Role[] = [];
  const stop = async (): Promise<void> => {
    while (running.length > 0) await running.pop()?.stop();
  };
  let board: (Role & { readonly url: string }) | undefined;
  try {
    const secrets = secretsFolder(given);
    await ensureDevelopmentKeys(secrets, given.packSignature);
    const servers = real ? await startLocalServers({ log: say }) : undefined;
    if (servers) running.push(servers);
    const config = { ...(servers ? onLocalServers(given, servers) : given), secrets: `file:${secrets}` };
    const resources = await ResourceFolder.open(config.schemas);
    await provision(config);
    const { differences } = await applySchema(config, resources.current);
    warnOf(log, differences);
    const cache = await openCacheOf(config);
    running.push({ stop: () => cache.close() });
    const context: ResourceRoleContext = { config, resources, log, onFatal, cache };
    const issuer = await startDevelopmentIssuer(config, { host: '127.0.0.1', port: 0 });
    running.push(issuer);
    const consumers = await startConsumers(config, onFatal);
    running.push(consumers);
    const gateway = await startGatewayRole({ ...context, log: log.child({ role: 'gateway' }) }, [issuerOf(config, issuer)]);
    running.push(gateway);
    if (hasBoard(config.jobs)) {
      const port = config.port === 0 ? 0 : config.boardPort;
      board = await startBoard(config, { issuers: [issuerOf(config, issuer)], port, log: log.child({ role: 'board' }) });
      running.push(board);
    }
    const unfollow = resources.follow(
      async (next) => {
        const { applied, differences } = await applySchema(config, next);
        warnOf(log, differences);
        // Before the gateway takes the first write of a new resource.
        await consumers.reload();
        log.info({ resources: next.all().map((r) => r.name), statements: applied.length }, 'resources read again');
      },
      (err) => log.error({ err }, 'the resource files cannot be used; the ones read before stay in use'),
    );
    running.push({ stop: () => Promise.resolve(unfollow()) });
    greet(gateway.url, config, servers, board?.url);
    return { stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The adapters of the servers that run; what is missing stays embedded. */
function onLocalServers(config: Config, { servers }: RunningServers): Config {
  const { sqs, pubsub, spanner, redis, eventbridge }: LocalServers = servers;
  const local = 'region=us-east-1&credentials=local';
  return withAdapters(config, {
    ...(sqs ? { queue: `sqs:${sqs.endpoint}/000000000000/spanway.fifo?${local}` } : {}),
    ...(pubsub ? { topic: `pubsub://spanway-dev/spanway?emulator=${pubsub.host}` } : {}),
    ...(spanner ? { store: `spanner://spanway-dev/spanway/spanway?emulator=${spanner.host}` } : {}),
    ...(redis ? { cache: redis.url, jobs: redis.url } : {}),
    ...(eventbridge ? { events: `eventbridge:spanway?${local}&endpoint=${encodeURIComponent(eventbridge.endpoint)}` } : {}),
  });
}

function warnOf(log: Logger, differences: readonly string[]): void {
  for (const difference of differences) log.warn(`the database differs from the resources: ${difference}`);
}

/** In a checkout of Spanway its own script, in another project the installed command. */
const TOKEN_COMMAND = import.meta.url.endsWith('.ts') ? 'npm run -s token --' : 'npx spanway token';

function greet(url: string, config: Config, servers: RunningServers | undefined, board: string | undefined): void {
  const folder = config.dataDir === '.spanway' ? '' : `SPANWAY_DATA_DIR=${config.dataDir} `;
  if (servers) {
    const names = Object.entries(servers.servers).map(([name, address]) => `${name} at ${Object.values(address as object).join(' ')}`);
    say(`Real servers: ${names.join(', ') || 'none'}.`);
    for (const [name, why] of Object.entries(servers.missing)) say(`Embedded in place of ${name}: ${why}`);
  }
  say(`Spanway is listening on ${url} (data in ${config.dataDir}). A first write:

  TOKEN=$(${folder}${TOKEN_COMMAND} --tenant t1 --subject me)
  curl -sX PUT ${url}/v1/orders/o1 -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -H 'Prefer: wait=5' -d '{"customer":"c1","status":"open","total":"12.50"}'
  curl -s ${url}/v1/orders/o1 -H "Authorization: Bearer $TOKEN"
`);
  if (board !== undefined)
    say(
      `Replay jobs are shown at ${board}, to who has the token of ${folder}${TOKEN_COMMAND} --tenant ops --subject me --scope ${config.boardScope}`,
    );
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
