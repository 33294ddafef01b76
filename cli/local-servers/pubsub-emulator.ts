/** Google's Pub/Sub emulator, from the Cloud SDK's folder without its slow wrapper, or from a container. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { answersHttp, type Child, freePort, startChild } from './child.ts';
import { startContainer } from './container.ts';
import { cloudSdk, docker, onPath, succeeds } from './programs.ts';
import type { LocalServer, StartOptions } from './server.ts';

const TITLE = 'the Pub/Sub emulator';
const IMAGE = 'gcr.io/google.com/cloudsdktool/google-cloud-cli:emulators';

type Launch = (port: number, ready: () => Promise<boolean>, options: StartOptions) => Promise<Child>;

/** `host` is for PUBSUB_EMULATOR_HOST. */
export const pubsubEmulator: LocalServer<{ readonly host: string }> = {
  async find() {
    const launch = (await fromSdk()) ?? (await fromContainer());
    if (!launch) {
      const needs = 'gcloud components install pubsub-emulator, and Java 17 or newer';
      return { missing: `there is neither the Google Cloud SDK with its Pub/Sub emulator (${needs}) nor a Docker engine that answers` };
    }
    return {
      async start(options) {
        const port = options.port ?? (await freePort());
        const child = await launch(port, () => answersHttp(`http://127.0.0.1:${port}/`), options);
        return { address: { host: `127.0.0.1:${port}` }, stop: child.stop };
      },
    };
  },
};

async function fromSdk(): Promise<Launch | undefined> {
  const sdk = await cloudSdk();
  const jar = sdk === undefined ? undefined : await findJar(sdk);
  const java = jar === undefined ? undefined : await findJava();
  if (jar === undefined || java === undefined) return undefined;
  const command = (port: number) => ({ command: java, args: ['-jar', jar, '--host=127.0.0.1', `--port=${port}`] });
  return (port, ready) => startChild({ title: TITLE, ...command(port), ready, readyWithinMs: 60_000 });
}

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

async function fromContainer(): Promise<Launch | undefined> {
  const engine = await docker();
  if (engine === undefined) return undefined;
  const command = ['gcloud', 'beta', 'emulators', 'pubsub', 'start', '--host-port=0.0.0.0:8085'];
  return (port, ready, { log }) =>
    startContainer({ title: TITLE, docker: engine, image: IMAGE, ports: [[port, 8085]], command, ready, log });
}
