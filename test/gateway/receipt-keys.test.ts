/** Two gateways while `receipt-keys` is rotated: each knows what the other one gives out, whoever reads the secret first. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { followKeys, newKeyLine, RECEIPT_KEYS } from '../../cli/keys.ts';
import { FileSecrets } from '../../ports/secrets/file.ts';
import { MissingSecretError, type Secrets } from '../../ports/secrets/port.ts';
import { parseKeyRing } from '../../schemas/envelope/key-ring.ts';
import { applyQueued, startTestGateway, type TestGateway } from '../fixtures/gateways.ts';
import { temporaryFolder } from '../temp.ts';

let folder: string;
let lines: string[];
beforeEach(async () => {
  folder = await temporaryFolder();
  lines = [newKeyLine()];
  await write();
});

function write(): Promise<void> {
  return writeFile(join(folder, RECEIPT_KEYS), lines.join('\n'));
}

interface Process {
  readonly gateway: TestGateway;
  /** When it read the secret, by `performance.now()`. */
  readonly readsAt: readonly number[];
  readonly secrets: { away: boolean };
  readAgain(): Promise<unknown>;
}

async function startProcess(): Promise<Process> {
  const file = new FileSecrets(folder);
  const readsAt: number[] = [];
  const state = { away: false };
  const secrets: Secrets = {
    capabilities: file.capabilities,
    get: (name) => {
      readsAt.push(performance.now());
      return state.away ? Promise.reject(new MissingSecretError(name, 'it is away')) : file.get(name);
    },
  };
  const receiptKeys = await followKeys(secrets, RECEIPT_KEYS, parseKeyRing, pino({ level: 'silent' }));
  const gateway = await startTestGateway({ receiptKeys });
  onTestFinished(async () => {
    receiptKeys.stop();
    await gateway.close();
  });
  return { gateway, readsAt, secrets: state, readAgain: receiptKeys.refresh };
}

const put = (gateway: TestGateway, orderId: string) =>
  gateway.call({ method: 'PUT', url: `/v1/orders/${orderId}`, payload: { customer: 'c1', status: 'open' } });
const get = (gateway: TestGateway, url: string, headers = {}) => gateway.call({ method: 'GET', url: `/v1/${url}`, headers });
/** Of the form of a receipt's id, and nobody's. */
const bogus = (i: number): string => `submissions/${String(i).padStart(64, 'x')}`;

it('gives no 404 for a receipt, no 400 for a cursor and for a submission to read after, of a gateway that has the new key first', async () => {
  const [first, second] = [await startProcess(), await startProcess()];
  lines.unshift(newKeyLine());
  await write();
  await first.readAgain();

  const { id } = (await put(first.gateway, 'o1')).json<{ id: string }>();
  await put(first.gateway, 'o2');
  await applyQueued(first.gateway);
  const { nextCursor = '' } = (await get(first.gateway, 'orders?limit=1')).json<{ nextCursor?: string }>();
  expect(nextCursor).not.toBe('');
  expect(second.readsAt).toHaveLength(1);

  const [status, page, after] = await Promise.all([
    get(second.gateway, `submissions/${id}`),
    get(second.gateway, `orders?limit=1&cursor=${nextCursor}`),
    // It is not applied there: known, and waited for.
    get(second.gateway, 'orders/o1', { 'read-consistency': `after=${id}`, prefer: 'wait=0' }),
  ]);
  expect([status.statusCode, page.statusCode, after.statusCode]).toEqual([200, 200, 503]);
  expect(status.json()).toMatchObject({ id, status: 'accepted' });
  // One read for all three, and none for what its key signed.
  expect(second.readsAt).toHaveLength(2);
  expect((await get(second.gateway, `submissions/${id}`)).statusCode).toBe(200);
  expect(second.readsAt).toHaveLength(2);
});

it('reads the secret once a second at most, however many ids of nobody are asked for, and not for what is no id', async () => {
  const { gateway, readsAt } = await startProcess();
  for (const url of ['submissions/short', `submissions/${'x'.repeat(65)}`, 'orders?cursor=short', 'orders?cursor=a.b'])
    expect([404, 400]).toContain((await get(gateway, url)).statusCode);
  expect(readsAt).toHaveLength(1);

  for (const from of [0, 100]) {
    const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => get(gateway, bogus(from + i))));
    expect(new Set(answers.map((answer) => answer.statusCode))).toEqual(new Set([404]));
  }
  expect((await get(gateway, `orders?cursor=${'x'.repeat(64)}`)).statusCode).toBe(400);
  const gaps = readsAt.slice(1).map((at, i) => at - (readsAt[i] ?? 0));
  expect(gaps.length).toBeGreaterThanOrEqual(3);
  // A timer may come a millisecond early.
  for (const gap of gaps) expect(gap).toBeGreaterThanOrEqual(999);
});

it('answers 503 where the secret cannot be read again: the id may be one of another gateway', async () => {
  const { gateway, secrets } = await startProcess();
  secrets.away = true;
  const answer = await get(gateway, bogus(1));
  expect([answer.statusCode, answer.headers['retry-after']]).toEqual([503, '1']);
});
