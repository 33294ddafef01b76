/** Google's Pub/Sub emulator, from the Cloud SDK's folder without its slow wrapper, or from a container. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { answersHttp, freePort, startChild } from './child.ts';
import { startContainer } from './container.ts';
import { cloudSdk, docker, onPath, succeeds } from './programs.ts';
import type { LocalServer } from './server.ts';

const TITLE = 'the Pub/Sub emulator';
const IMAGE = 'gcr.io/google.com/cloudsdktool/google-cloud-cli:emulators';

/** The emulator's jar, whose name holds its version. */
async function findJar(sdk: string): Promise<string | undefined> {
  const folder = join(sdk, 'platform/pubsub-emulator/lib');
  const files = await readdir(folder).catch(() => []);
  const jar = files.find((file) => /^cloud-pubsub-emulator-.*-all\.jar$/.test(file));
  return jar === undefined ? undefined : join(folder, jar);
}

/** A Java that runs: macOS has a `java` that only says that there is none. */
async function findJava(): Promise<string | undefined> {
  const home = process.env['JAVA_HOME'];
  const java = home === undefined || home === '' ? await onPath('java') : join(home, 'bin/java');
  return java !== undefined && (await succeeds(java, ['-version'])) ? java : undefined;
}

/** `host` is for PUBSUB_EMULATOR_HOST. */
export const pubsubEmulator: LocalServer<{ readonly host: string }> = {
  async find() {
    const sdk = await cloudSdk();
    const jar = sdk === undefined ? undefined : await findJar(sdk);
    const java = jar === undefined ? undefined : await findJava();
    const engine = java === undefined ? await docker() : undefined;
    if (java === undefined && engine === undefined) {
      const lacking =
        jar === undefined
          ? 'the Google Cloud SDK’s Pub/Sub emulator (gcloud components install pubsub-emulator)'
          : 'a Java runtime for the Pub/Sub emulator (install Java 17 or newer)';
      return { missing: `there is neither ${lacking} nor a Docker engine that answers` };
    }
    return {
      async start({ port: wanted, log }) {
        const port = wanted ?? (await freePort());
        const ready = () => answersHttp(`http://127.0.0.1:${String(port)}/`);
        const child =
          java !== undefined && jar !== undefined
            ? await startChild({
                title: TITLE,
                command: java,
                args: ['-jar', jar, '--host=127.0.0.1', `--port=${String(port)}`],
                ready,
                readyWithinMs: 60_000,
              })
            : await startContainer({
                title: TITLE,
                docker: engine ?? '',
                image: IMAGE,
                ports: [[port, 8085]],
                command: ['gcloud', 'beta', 'emulators', 'pubsub', 'start', '--host-port=0.0.0.0:8085'],
                ready,
                log,
              });
        return { address: { host: `127.0.0.1:${String(port)}` }, stop: child.stop };
      },
    };
  },
};
