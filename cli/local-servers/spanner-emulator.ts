/** Google's Spanner emulator, from the Cloud SDK's folder without its slow wrapper, or from a container. */
import { join } from 'node:path';
import { answersHttp, freePort, startChild } from './child.ts';
import { startContainer } from './container.ts';
import { cloudSdk, docker, isExecutable } from './programs.ts';
import type { LocalServer } from './server.ts';

const TITLE = 'the Spanner emulator';
const IMAGE = 'gcr.io/cloud-spanner-emulator/emulator';

/** `host` is for SPANNER_EMULATOR_HOST. */
export const spannerEmulator: LocalServer<{ readonly host: string }> = {
  async find() {
    const sdk = await cloudSdk();
    const gateway = sdk === undefined ? undefined : join(sdk, 'bin/cloud_spanner_emulator/gateway_main');
    const program = gateway !== undefined && (await isExecutable(gateway)) ? gateway : undefined;
    const engine = program === undefined ? await docker() : undefined;
    if (program === undefined && engine === undefined) {
      return {
        missing:
          'there is neither the Google Cloud SDK’s Spanner emulator (gcloud components install cloud-spanner-emulator) nor a Docker engine that answers',
      };
    }
    return {
      async start({ port, log }) {
        const grpc = port ?? (await freePort());
        const http = await freePort();
        // The REST side answers through gRPC, so this says that both are up.
        const ready = () => answersHttp(`http://127.0.0.1:${String(http)}/v1/projects/spanway/instanceConfigs`);
        const child =
          program !== undefined
            ? await startChild({
                title: TITLE,
                command: program,
                args: ['--hostname', '127.0.0.1', '--grpc_port', String(grpc), '--http_port', String(http)],
                // A test run makes many databases; the emulator's own limit is 100 an instance.
                env: { MAX_DATABASES_PER_INSTANCE: '10000' },
                ready,
                readyWithinMs: 30_000,
              })
            : await startContainer({
                title: TITLE,
                docker: engine ?? '',
                image: IMAGE,
                ports: [
                  [grpc, 9010],
                  [http, 9020],
                ],
                ready,
                log,
              });
        return { address: { host: `127.0.0.1:${String(grpc)}` }, stop: child.stop };
      },
    };
  },
};
