/** The board on the adapters that the configuration names, listening. */
import type { Logger } from 'pino';
import { createIdentity, type IssuerSettings } from '../../producers/gateway/identity.ts';
import type { Config } from '../config.ts';
import { openBoardOf } from '../installation.ts';
import { listen, type Role } from '../roles.ts';
import { buildBoard, STEER_PATH } from './server.ts';

export async function startBoard(
  config: Config,
  { issuers, port, log }: { readonly issuers: readonly IssuerSettings[]; readonly port: number; readonly log: Logger },
): Promise<Role & { readonly url: string }> {
  const board = await openBoardOf(config, STEER_PATH);
  const app = await buildBoard({
    board,
    identity: createIdentity(issuers),
    scope: config.boardScope,
    secure: config.boardUrl.startsWith('https:'),
    log,
  });
  return listen(app, { host: config.host, port, variable: 'SPANWAY_BOARD_PORT', stopSeconds: config.stopSeconds }, async () => {
    await app.close();
    await board.jobs.close();
  });
}
