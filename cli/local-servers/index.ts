/** The real servers that can be had on this machine, started together: for `spanway dev --real`, tests and benches. */
import { join } from 'node:path';
import { fauxqs } from './fauxqs.ts';
import { moto } from './moto.ts';
import { pubsubEmulator } from './pubsub-emulator.ts';
import { redis } from './redis.ts';
import type { LocalServer, Started, StartOptions } from './server.ts';
import { spannerEmulator } from './spanner-emulator.ts';

export interface LocalServers {
  readonly spanner?: { readonly host: string };
  readonly pubsub?: { readonly host: string };
  readonly sqs?: { readonly endpoint: string };
  readonly redis?: { readonly url: string };
  readonly eventbridge?: { readonly endpoint: string };
}

export type ServerName = keyof LocalServers;
type Address<Name extends ServerName> = Required<LocalServers>[Name];

/** What stands for each service here. */
const SERVERS: { readonly [Name in ServerName]: LocalServer<Address<Name>> } = {
  spanner: spannerEmulator,
  pubsub: pubsubEmulator,
  sqs: fauxqs,
  redis,
  eventbridge: moto,
};

export const SERVER_NAMES = Object.keys(SERVERS) as ServerName[];

export interface RunningServers {
  readonly servers: LocalServers;
  /** Why each other one of those asked for does not run. */
  readonly missing: Readonly<Partial<Record<ServerName, string>>>;
  stop(): Promise<void>;
}

/** Starts what is found. One that is missing, or does not start, is named in `missing` and stops nothing. */
export async function startLocalServers(options: {
  readonly only?: readonly ServerName[];
  readonly log: (line: string) => void;
  readonly dataDir?: string;
}): Promise<RunningServers> {
  const servers: Partial<Record<ServerName, unknown>> = {};
  const missing: Partial<Record<ServerName, string>> = {};
  const started: Started<unknown>[] = [];
  await Promise.all(
    (options.only ?? SERVER_NAMES).map(async (name) => {
      const dataDir = options.dataDir === undefined ? {} : { dataDir: join(options.dataDir, name) };
      const server = await startLocalServer(name, { log: options.log, ...dataDir });
      if (typeof server === 'string') {
        missing[name] = server;
        return;
      }
      servers[name] = server.address;
      started.push(server);
    }),
  );
  return {
    servers: servers as LocalServers,
    missing,
    async stop() {
      await Promise.all(started.map((server) => server.stop()));
    },
  };
}

/** Starts one server by its name, or says why it does not run. */
export async function startLocalServer<Name extends ServerName>(
  name: Name,
  options: StartOptions,
): Promise<Started<Address<Name>> | string> {
  const server: LocalServer<Address<Name>> = SERVERS[name];
  try {
    const found = await server.find();
    return 'missing' in found ? found.missing : await found.start(options);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
