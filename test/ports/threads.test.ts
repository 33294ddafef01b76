/** `spanway dev` runs its roles in several threads, so what wakes a waiter must reach the others. */
import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';
import { openCache } from '../../ports/cache/index.ts';
import { SqliteFile } from '../../ports/sqlite/database.ts';
import { Signal } from '../../ports/sqlite/signal.ts';
import { temporaryFolder } from '../temp.ts';

it('signals of the memory cache and of a SQLite file reach the other threads of the process', async () => {
  const path = join(await temporaryFolder(), 'spanway.db');
  const file = SqliteFile.use(path);
  const cache = await openCache('memory:', 'test');
  try {
    const listener = await cache.listen('there');
    const notified = Promise.withResolvers<undefined>();
    const unlisten = Signal.of(file, 'there').listen(() => notified.resolve(undefined));
    const thread = new Worker(new URL('../fixtures/signalling-thread.ts', import.meta.url), { workerData: { path, name: 'there' } });
    const ended = once(thread, 'exit');
    expect(await listener.wait(30_000)).toBe(true);
    await notified.promise;
    unlisten();
    await ended;
  } finally {
    await cache.close();
    file.release();
  }
});
