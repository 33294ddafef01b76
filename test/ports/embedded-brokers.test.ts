/** The embedded queue and topic between processes, some of which die. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openQueue } from '../../ports/queue/index.ts';
import { DEDUPLICATION_MS, MAX_IDS, RecentIds } from '../../ports/queue/recent-ids.ts';
import { SqliteFile } from '../../ports/sqlite/database.ts';
import { openTopic } from '../../ports/topic/index.ts';
import { isFree, newOwner, endOwner } from '../../ports/sqlite/owner.ts';
import { temporaryFolder } from '../temp.ts';

const HOLDER = fileURLToPath(new URL('../fixtures/holder.ts', import.meta.url));

/** Starts the holder, and resolves when it says what it holds. */
async function startHolder(port: 'queue' | 'topic', url: string): Promise<{ held: string; kill(): Promise<void> }> {
  const child: ChildProcess = spawn(process.execPath, [HOLDER, port, url], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exit = once(child, 'exit');
  const kill = async () => {
    child.kill('SIGKILL');
    await exit;
  };
  onTestFinished(kill);
  const [line] = (await once(child.stdout!, 'data')) as [Buffer];
  return { held: line.toString().trim().split('\n')[0]!, kill };
}

describe('the embedded topic', () => {
  it('hands out at once, in order and counted, what a killed process held', async () => {
    const url = `sqlite:${join(await temporaryFolder(), 'topic.db')}`;
    const topic = await openTopic(url);
    const publisher = topic.publisher();
    onTestFinished(() => publisher.close());
    await publisher.publish('k', [
      { data: Buffer.from('one'), attributes: {} },
      { data: Buffer.from('two'), attributes: {} },
    ]);
    const holder = await startHolder('topic', url);
    expect(holder.held).toBe('one');

    const seen: string[] = [];
    const got = Promise.withResolvers<null>();
    const subscriber = topic.subscriber();
    subscriber.start(
      (delivery) => {
        seen.push(`${delivery.data.toString()} ${delivery.attempt}`);
        if (seen.length === 2) got.resolve(null);
      },
      { maxOutstandingMessages: 10, maxOutstandingBytes: 1_000_000 },
    );
    onTestFinished(() => subscriber.stop(1_000));
    await holder.kill();
    const killed = performance.now();
    await got.promise;
    expect(seen).toEqual(['one 2', 'two 2']);
    // Well before its lease would have run out.
    expect(performance.now() - killed).toBeLessThan(5_000);
  });

  it('goes on with a file from before it kept when a message was published', async () => {
    const path = join(await temporaryFolder(), 'topic.db');
    const open = async (texts: readonly string[]): Promise<void> => {
      const publisher = (await openTopic(`sqlite:${path}`)).publisher();
      for (const text of texts) await publisher.publish('k', [{ data: Buffer.from(text), attributes: {} }]);
      await publisher.close();
    };
    await open(['old']);
    const old = new DatabaseSync(path);
    old.exec('ALTER TABLE topic_messages DROP COLUMN published_at');
    old.close();
    await open(['new']);

    const seen: [string, boolean][] = [];
    const got = Promise.withResolvers<null>();
    const subscriber = (await openTopic(`sqlite:${path}`)).subscriber();
    subscriber.start(
      ({ data, publishedAt }) => {
        seen.push([data.toString(), publishedAt !== undefined]);
        if (seen.length === 2) got.resolve(null);
      },
      { maxOutstandingMessages: 10, maxOutstandingBytes: 1_000_000 },
    );
    onTestFinished(() => subscriber.stop(1_000));
    await got.promise;
    expect(seen).toEqual([
      ['old', false],
      ['new', true],
    ]);
  });

  it('frees the keys of an owner that ended, and those of an unknown one when its lease has run out', () => {
    const now = Date.now();
    const here = newOwner();
    expect(isFree(here, now - 1, now)).toBe(false);
    endOwner(here);
    expect(isFree(here, now + 10_000, now)).toBe(true);
    expect(isFree('another-host 1 0 x', now + 1, now)).toBe(false);
    expect(isFree('another-host 1 0 x', now, now)).toBe(true);
  });
});

describe('the embedded queue', () => {
  it('hands over what another process sends, and what a killed one held', async () => {
    const url = `sqlite:${join(await temporaryFolder(), 'queue.db')}`;
    const queue = await openQueue(url);
    onTestFinished(() => queue.close());
    const holder = await startHolder('queue', url);
    expect(holder.held).toBe('sent by the holder');
    await holder.kill();
    const messages = await queue.receive({ maxCount: 10, waitMs: 20_000, visibilityMs: 60_000 });
    expect(messages).toHaveLength(1);
    expect(messages[0]).toMatchObject({ body: 'sent by the holder', receiveCount: 2 });
  });

  it('still knows the deduplication ids of what waits in it when it is opened again', async () => {
    const url = `sqlite:${join(await temporaryFolder(), 'queue.db')}`;
    const entry = { group: 'g', deduplicationId: 'same', body: 'one', attributes: {} };
    const before = await openQueue(url);
    await before.send([entry]);
    await before.close();
    const after = await openQueue(url);
    onTestFinished(() => after.close());
    expect(await after.send([{ ...entry, body: 'two' }])).toEqual([{ status: 'ok' }]);
    const messages = await after.receive({ maxCount: 10, waitMs: 0, visibilityMs: 60_000 });
    expect(messages.map((message) => message.body)).toEqual(['one']);
  });

  it('forgets a deduplication id after five minutes, and the oldest beyond its number', async () => {
    const file = SqliteFile.use(join(await temporaryFolder(), 'ids.db'));
    onTestFinished(() => file.release());
    const ids = RecentIds.of(file, () => {});
    const start = Date.UTC(2026, 0, 1);
    expect(ids.add('g', 'a', start)).toBe(true);
    expect(ids.add('h', 'a', start)).toBe(true);
    expect(ids.add('g', 'a', start + DEDUPLICATION_MS - 1)).toBe(false);
    expect(ids.add('g', 'a', start + DEDUPLICATION_MS)).toBe(true);
    for (let n = 0; n < MAX_IDS; n += 1) ids.add('many', String(n), start + DEDUPLICATION_MS);
    expect(ids.add('g', 'a', start + DEDUPLICATION_MS)).toBe(true);
    expect(ids.add('many', String(MAX_IDS - 1), start + DEDUPLICATION_MS)).toBe(false);
  });
});
