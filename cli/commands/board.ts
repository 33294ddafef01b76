/** `spanway board`: replay jobs as web pages, for operators. */
import { type Config, ConfigError } from '../config.ts';
import { startBoard } from '../board/start.ts';
import { readIssuers } from '../issuers.ts';
import { createLog } from '../log.ts';
import { runUntilStopped } from '../run-role.ts';

export async function board(config: Config): Promise<void> {
  const isLocal = /^(?:127(?:\.\d+){3}|::1|localhost)$/.test(config.host);
  if (config.production && !isLocal && !config.boardUrl.startsWith('https:'))
    throw new ConfigError(
      `spanway board listens on ${config.host}, and SPANWAY_BOARD_URL is ${config.boardUrl}: put TLS in front and set SPANWAY_BOARD_URL to its https address, since tokens are sent to it`,
    );
  const log = createLog(config, 'board');
  await runUntilStopped(log, async () => {
    const started = await startBoard(config, { issuers: await readIssuers(config), port: config.boardPort, log });
    log.info({ url: started.url }, 'started');
    return started;
  });
}
