/** `spanway issuer`: the development issuer as a process of its own, for a local stack of separate roles. */
import type { Config } from '../config.ts';
import { startDevelopmentIssuer } from '../dev-issuer.ts';
import { createLog } from '../log.ts';
import { runUntilStopped } from '../run-role.ts';

export async function issuer(config: Config): Promise<void> {
  const log = createLog(config, 'issuer');
  await runUntilStopped(log, async () => {
    const started = await startDevelopmentIssuer(config, config);
    log.info({ issuer: started.issuer, jwksUrl: started.jwksUrl }, 'started');
    return started;
  });
}
