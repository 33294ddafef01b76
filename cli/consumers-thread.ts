/** The bridge, the applier and the replay worker of `spanway dev`, in a thread of their own: what they do holds up no request. */
import { parentPort, workerData } from 'node:worker_threads';
import type { Config } from './config.ts';
import type { Ask, Report } from './consumers.ts';
import { openCacheOf } from './installation.ts';
import { createLog } from './log.ts';
import { ResourceFolder } from './resource-folder.ts';
import { startApplierRole, startBridgeRole, startReplayWorkerRole } from './roles.ts';

const config = workerData as Config;
const tell = (report: Report): void => parentPort?.postMessage(report);
const log = createLog(config);
const resources = await ResourceFolder.open(config.schemas);
const cache = await openCacheOf(config);
const onFatal = (error: unknown): void => tell({ fatal: error });
const applier = await startApplierRole({ config, resources, cache, onFatal, log: log.child({ role: 'applier' }) });
const bridge = await startBridgeRole({ config, onFatal, log: log.child({ role: 'bridge' }) });
const replayWorker = await startReplayWorkerRole({ config, resources, onFatal, log: log.child({ role: 'replay-worker' }) });

const answers: Record<Ask, () => Promise<void>> = {
  reload: () => resources.reload(),
  async stop() {
    // Who brings work stops before who does it.
    await replayWorker.stop();
    await bridge.stop();
    await applier.stop();
    await cache.close();
  },
};
parentPort?.on('message', (ask: Ask) => {
  answers[ask]().then(
    () => tell({ done: ask }),
    (error: unknown) => tell({ done: ask, error }),
  );
});
tell({ done: 'start' });
