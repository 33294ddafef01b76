/** Starts the bridge, the applier and the replay worker of `spanway dev` in a thread of their own, so that the two cores of a laptop share the work. */
import { Worker } from 'node:worker_threads';
import type { Config } from './config.ts';
import type { Role } from './roles.ts';

/** What the thread is asked to do. */
export type Ask = 'reload' | 'stop';
/** What the thread says: that it has started, or has done what it was asked, or cannot go on. */
export type Report = { readonly done: 'start' | Ask; readonly error?: unknown } | { readonly fatal: unknown };

export interface Consumers extends Role {
  /** The applier's resource files are read again. @throws ResourceDefinitionError; then the ones before stay. */
  reload(): Promise<void>;
}

export async function startConsumers(config: Config, onFatal: (error: unknown) => void): Promise<Consumers> {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const thread = new Worker(new URL(`consumers-thread.${extension}`, import.meta.url), { workerData: config });
  const asked = new Map<'start' | Ask, { readonly resolve: () => void; readonly reject: (error: unknown) => void }>();
  const answer = (to: 'start' | Ask): Promise<void> => new Promise((resolve, reject) => asked.set(to, { resolve, reject }));
  let ended = false;
  const started = answer('start');
  thread.on('message', (report: Report) => {
    if ('fatal' in report) {
      onFatal(report.fatal);
      return;
    }
    const { resolve, reject } = asked.get(report.done) ?? {};
    asked.delete(report.done);
    if (report.error === undefined) resolve?.();
    else reject?.(report.error);
  });
  // What was asked of a thread that has ended gets no other answer.
  const failed = (error: unknown): void => {
    ended = true;
    for (const { reject } of asked.values()) reject(error);
    asked.clear();
  };
  thread.on('error', (error) => {
    // Who starts it hears of it already.
    const isStarting = asked.has('start');
    failed(error);
    if (!isStarting) onFatal(error);
  });
  thread.on('exit', () => failed(new Error('the thread of the consumers has ended')));
  await started;
  return {
    async reload() {
      thread.postMessage('reload' satisfies Ask);
      await answer('reload');
    },
    async stop() {
      if (ended) return;
      thread.postMessage('stop' satisfies Ask);
      await answer('stop');
      await thread.terminate();
    },
  };
}
