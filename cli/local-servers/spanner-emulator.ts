/** Google's Spanner emulator, from the Cloud SDK's folder without its slow wrapper, or from a container. */
import { join } from 'node:path';
import { answersHttp, type Child, freePort, startChild } from './child.ts';
import { startContainer } from './container.ts';
import { cloudSdk, docker, isExecutable } from './programs.ts';
import type { LocalServer, StartOptions } from './server.ts';

const TITLE = 'the Spanner emulator';
const IMAGE = 'gcr.io/cloud-spanner-emulator/emulator';

interface Ports {
  readonly grpc: number;
  readonly http: number;
}

type Launch = (ports: Ports, ready: () => Promise<boolean>, options: StartOptions) => Promise<Child>;

/** `host` is for SPANNER_EMULATOR_HOST. */
export const spannerEmulator: LocalServer<{ readonly host: string }> = {
  async find() {
    const launch = (await fromSdk()) ?? (await fromContainer());
    if (!launch) {
      const component = 'gcloud components install cloud-spanner-emulator';
      return { missing: `there is neither the Google Cloud SDK with its Spanner emulator (${component}) nor a Docker engine that answers` };
    }
    return {
      async start(options) {
        const ports = { grpc: options.port ?? (await freePort()), http: await freePort() };
        // The REST side answers through gRPC, so this says that both are up.
        const ready = () => answersHttp(`http://127.0.0.1:${ports.http}/v1/projects/spanway/instanceConfigs`);
        const child = await launch(ports, ready, options);
        return { address: { host: `127.0.0.1:${ports.grpc}` }, stop: child.stop };
      },
    };
  },
};

async function fromSdk(): Promise<Launch | undefined> {
  const sdk = await cloudSdk();
  const command = sdk === undefined ? undefined : join(sdk, 'bin/cloud_spanner_emulator/gateway_main');
  if (command === undefined || !(await isExecutable(command))) return undefined;
  return ({ grpc, http }, ready) =>
    startChild({
      title: TITLE,
      command,
      args: ['--hostname', '127.0.0.1', '--grpc_port', String(grpc), '--http_port', String(http)],
      // A test run makes many databases; the emulator's own limit is 100 an instance.
      env: { MAX_DATABASES_PER_INSTANCE: '10000' },
      ready,
      readyWithinMs: 30_000,
    });
}

async function fromContainer(): Promise<Launch | undefined> {
  const engine = await docker();
  if (engine === undefined) return undefined;
  return ({ grpc, http }, ready, { log }) => {
    const ports = [[grpc, 9010] as const, [http, 9020] as const];
    return startContainer({ title: TITLE, docker: engine, image: IMAGE, ports, ready, log });
  };
}
