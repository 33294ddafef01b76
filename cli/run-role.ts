/** The life of a process: start, run until told to stop, stop in order, exit with a code that says how it went. */
import type { Logger } from 'pino';
import type { Role } from './roles.ts';

/** Resolves when the process was told to stop and has stopped. A second signal ends it at once. */
export async function runUntilStopped(log: Logger, start: (onFatal: (error: unknown) => void) => Promise<Role>): Promise<void> {
  let failed = false;
  const told = Promise.withResolvers<string>();
  const onFatal = (err: unknown): void => {
    failed = true;
    log.fatal({ err }, 'a role failed; stopping, so that a restart takes up its work');
    told.resolve('failure');
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (stopping) process.exit(1);
      told.resolve(signal);
    });
  }
  let stopping = false;
  const role = await start(onFatal);
  const why = await told.promise;
  stopping = true;
  log.info({ why }, 'stopping');
  await role.stop();
  log.info('stopped');
  process.exitCode = failed ? 1 : 0;
}
