/** The operator's commands beside a running `spanway dev`, as one uses them. */
import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Command, type Stack, startDev } from '../fixtures/stacks.ts';
import { makeTemporaryFolder } from '../temp.ts';

describe('the operator’s commands', () => {
  let stack: Stack;
  let folder: { path: string; remove(): Promise<void> };
  beforeAll(async () => {
    folder = await makeTemporaryFolder();
    stack = await startDev(folder.path);
  });
  afterAll(async () => {
    await stack.stop();
    await folder.remove();
  });

  async function spanway(...args: string[]): Promise<{ code: number | NodeJS.Signals; output: string; lines: Record<string, unknown>[] }> {
    const command = new Command(args, { SPANWAY_DATA_DIR: folder.path, SPANWAY_SCHEMAS: join(folder.path, 'schemas') });
    const code = await command.exited;
    const lines = command.output.split('\n').filter((line) => line.startsWith('{'));
    return { code, output: command.output, lines: lines.map((line) => JSON.parse(line) as Record<string, unknown>) };
  }

  it('find a write, tell its story, and send it again when its cause is gone', async () => {
    const receipt = await stack.client.call('PUT', '/v1/orders/o1', {
      body: { customer: 'c', status: 'open' },
      headers: { 'correlation-id': 'call-17', prefer: 'wait=20' },
    });
    expect(receipt.body['status']).toBe('applied');

    const [byId, byCorrelation, byRow, unknown] = await Promise.all([
      spanway('trace', String(receipt.body['id']), '--json'),
      spanway('trace', 'call-17'),
      spanway('trace', 'orders/o1', '--tenant', 't1', '--json'),
      spanway('trace', 'never-seen'),
    ]);
    expect(byId).toMatchObject({ code: 0, lines: [{ correlationId: 'call-17', tenant: 't1', row: 'orders/o1' }] });
    expect(byCorrelation.code).toBe(0);
    const time = '20\\d\\d-\\S+Z';
    expect(byCorrelation.output).toMatch(
      new RegExp(
        `${time} +accepted +from me .*upsert orders/o1.*\\n +${time} +queued .*\\n +${time} +bridged .*\\n +${time} +applied .*commit .*\\n +event `,
      ),
    );
    expect(byCorrelation.output).toMatch(/--from looks further back/);
    expect(byRow.lines).toEqual(byCorrelation.code === 0 ? byId.lines : []);
    expect(unknown).toMatchObject({ code: 1, output: expect.stringContaining('Nothing is known') });

    expect(await stack.client.write('PATCH', '/v1/orders/none', { note: 'x' })).toBe('rejected not_found');
    expect(await spanway('dlq', 'list')).toMatchObject({ code: 0, output: expect.stringContaining('0 dead letters') });
    const [rejected] = (await spanway('dlq', 'list', '--rejected', '--json')).lines;
    expect(rejected).toMatchObject({ outcome: 'rejected', reason: 'not_found', submissions: [{ tenant: 't1', subject: 'me' }] });
    const id = String(rejected?.['id']);
    const shown = await spanway('dlq', 'show', id, '--json');
    expect(shown.lines).toMatchObject([{ id, attempts: [{ attempt: 1, outcome: 'rejected' }], envelopes: [{ id }] }]);
    expect(await spanway('dlq', 'show', 'parked:none')).toMatchObject({ code: 1 });

    expect(await spanway('dlq', 'redrive')).toMatchObject({ code: 1, output: expect.stringContaining('--all') });
    const again = await spanway('dlq', 'redrive', id, '--json', '--as', 'ann');
    expect(again).toMatchObject({ code: 2, lines: [{ id, result: 'rejected', reason: 'not_found' }] });
    expect(await stack.client.write('PUT', '/v1/orders/none', { customer: 'c', status: 'open' })).toBe('applied');
    expect(await spanway('dlq', 'redrive', id, '--json')).toMatchObject({
      code: 2,
      lines: [{ result: 'refused', reason: 'newer_applied' }],
    });
    expect(await spanway('dlq', 'redrive', id, '--json', '--over-newer')).toMatchObject({ code: 0, lines: [{ result: 'applied' }] });
    expect(await stack.client.row('/v1/orders/none')).toMatchObject({ note: 'x' });
    const story = await spanway('trace', id);
    expect(story.output).toMatch(/rejected[^]*redriven +by ann, try 2[^]*rejected[^]*redriven +by .*, try 3, over newer writes[^]*applied/);

    expect(await stack.client.write('PATCH', '/v1/orders/none2', { note: 'x' })).toBe('rejected not_found');
    expect(await spanway('dlq', 'purge', '--rejected', '--reason', 'not_found')).toMatchObject({
      code: 0,
      output: expect.stringContaining('1 purged'),
    });
    expect((await spanway('dlq', 'list', '--rejected', '--json')).lines).toEqual([]);
  }, 180_000);

  it('replay what was applied, export it, and rebuild it in another database', async () => {
    for (let i = 0; i < 5; i += 1)
      expect(await stack.client.write('PUT', `/v1/orders/r${i}`, { customer: 'replayed', status: 'open' })).toBe('applied');
    const before = await stack.client.row('/v1/orders/r0');
    const replayed = await spanway('replay', '--tenant', 't1', '--json');
    expect(replayed.code).toBe(0);
    const end = replayed.lines.at(-1) as { job: string; state: string; counts: Record<string, number> };
    expect(end.state).toBe('completed');
    expect(Object.keys(end.counts)).toEqual(['unchanged']);
    expect(end.counts['unchanged']).toBeGreaterThanOrEqual(5);
    expect(await stack.client.row('/v1/orders/r0')).toEqual(before);
    expect((await spanway('trace', 'orders/r0')).output).toMatch(
      new RegExp(`replayed +by .*, job ${end.job}, completed: sent to the queue again`),
    );

    const exported = await spanway('export', '--resource', 'orders', '--key', 'r0');
    expect(exported.lines).toMatchObject([{ verdict: { outcome: 'applied' }, envelope: { subject: 'orders/r0' } }]);
    const file = join(folder.path, 'one.jsonl');
    const [line] = exported.lines as [{ envelope: { id: string } }];
    // Under another id it is another write.
    await writeFile(file, JSON.stringify({ ...line.envelope, id: randomUUID() }));
    const dry = await spanway('replay', '--file', file, '--dry-run', '--json');
    expect(dry).toMatchObject({ code: 0, lines: [{ changes: [{ row: 'orders/r0', change: 'none' }] }] });
    expect(await stack.client.row('/v1/orders/r0')).toEqual(before);
    expect(await spanway('replay', '--file', file)).toMatchObject({ code: 0, output: expect.stringContaining('completed: 1 applied') });
    expect((await stack.client.row('/v1/orders/r0'))?.['updatedAt']).not.toBe(before?.['updatedAt']);

    const rebuilt = await spanway('replay', '--into', `sqlite:${join(folder.path, 'rebuilt.db')}`);
    expect(rebuilt.output).toMatch(/completed: \d+ rebuilt\n[^]*table orders: \d+ rows, equal/);
    expect(rebuilt.code).toBe(0);
    for (const itself of [join(folder.path, 'spanway.db'), `${folder.path}/./spanway.db`])
      expect(await spanway('replay', '--into', `sqlite:${itself}`)).toMatchObject({
        code: 1,
        output: expect.stringContaining('SPANWAY_STORE itself'),
      });
    // Up to a moment before the last writes it is not this database: nothing is compared.
    const until = String(before?.['updatedAt']);
    const part = await spanway('replay', '--into', `sqlite:${join(folder.path, 'part.db')}`, '--to', until);
    expect(part.output).toMatch(/completed: \d+ rebuilt/);
    expect(part.output).not.toContain('table');
    expect(part.code).toBe(0);
    const listed = await spanway('jobs', 'list', '--json');
    expect(listed.lines.map((job) => job['state'])).toEqual(['completed', 'completed', 'completed', 'completed']);
    expect(await spanway('replay', '--rate', '0')).toMatchObject({ code: 1, output: expect.stringContaining('at least 1') });
    expect(await spanway('jobs', 'pause', String(listed.lines[0]?.['id']))).toMatchObject({
      code: 1,
      output: expect.stringContaining('has ended'),
    });
  }, 180_000);
});
