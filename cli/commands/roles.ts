/** `spanway gateway`, `bridge`, `applier`, `replay-worker`: one role, one process, as in production. */
import type { Config } from '../config.ts';
import { createLog } from '../log.ts';
import { ResourceFolder } from '../resource-folder.ts';
import { type Role, type RoleContext, startApplierRole, startBridgeRole, startGatewayRole, startReplayWorkerRole } from '../roles.ts';
import { runUntilStopped } from '../run-role.ts';

const STARTERS = {
  gateway: async (context: RoleContext) => startGatewayRole({ ...context, resources: await ResourceFolder.open(context.config.schemas) }),
  bridge: startBridgeRole,
  applier: async (context: RoleContext) => startApplierRole({ ...context, resources: await ResourceFolder.open(context.config.schemas) }),
  'replay-worker': async (context: RoleContext) =>
    startReplayWorkerRole({ ...context, resources: await ResourceFolder.open(context.config.schemas) }),
} satisfies Record<string, (context: RoleContext) => Promise<Role>>;

type RoleName = keyof typeof STARTERS;

export async function role(name: RoleName, config: Config): Promise<void> {
  const log = createLog(config, name);
  if (config.cache.startsWith('memory:') && (name === 'gateway' || name === 'applier')) {
    log.warn('SPANWAY_CACHE is memory: no signal of an outcome reaches another process; who waits for one looks for it from time to time');
  }
  await runUntilStopped(log, async (onFatal) => {
    const started = await STARTERS[name]({ config, log, onFatal });
    log.info('url' in started ? { url: started.url } : {}, 'started');
    return started;
  });
}
