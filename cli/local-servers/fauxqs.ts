/** fauxqs: SQS in a Node process, from the npm package. */
import { findPackageJSON } from 'node:module';
import { answersHttp, freePort, moduleBeside, startChild } from './child.ts';
import type { LocalServer } from './server.ts';

function isInstalled(): boolean {
  try {
    return findPackageJSON('fauxqs', import.meta.url) !== undefined;
  } catch {
    return false;
  }
}

/** `endpoint` is for an SQS client; credentials and region may be anything. */
export const fauxqs: LocalServer<{ readonly endpoint: string }> = {
  find() {
    if (!isInstalled()) return Promise.resolve({ missing: 'the npm package fauxqs is not installed (npm install --no-save fauxqs@2.4.1)' });
    return Promise.resolve({
      async start({ port: wanted }) {
        const port = wanted ?? (await freePort());
        const endpoint = `http://127.0.0.1:${port}`;
        const child = await startChild({
          title: 'fauxqs',
          command: process.execPath,
          args: [moduleBeside('fauxqs-server'), String(port)],
          ready: () => answersHttp(`${endpoint}/health`),
          readyWithinMs: 30_000,
        });
        return { address: { endpoint }, stop: child.stop };
      },
    });
  },
};
