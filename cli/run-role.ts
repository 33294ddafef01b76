/** The life of a process: start, run until told to stop, stop in order, exit with a code that says how it went. */
import type { Logger } from 'pino';
import type { Role } from './roles.ts';

const FAILURE = 'failure';

/** Resolves when the process was told to stop and has stopped. A second signal ends it at once. */
export async function runUntilStopped(log: Logger, start: (onFatal: (error: unknown) => void) => Promise<Role>): Promise<void> {
  const told = Promise.withResolvers<string>();
  const onFatal = (err: unknown): void => {
    log.fatal({ err }, 'a role failed; stopping, so that a restart takes up its work');
    told.resolve(FAILURE);
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      told.resolve(signal);
      process.once(signal, () => process.exit(1));
    });
  }
  const role = await start(onFatal);
  const why = await told.promise;
  log.info({ why }, 'stopping');
  await role.stop();
  log.info('stopped');
  process.exitCode = why === FAILURE ? 1 : 0;
}
