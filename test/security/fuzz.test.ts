import { once } from 'node:events';
import { type AddressInfo, connect } from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { planWork } from '../../consumers/applier/plan.ts';
import { PROBLEM_TYPES } from '../../producers/gateway/problems.ts';
import { envelopeText } from '../../schemas/envelope/pack.ts';
import { ALL_SCOPES, startTestGateway, type TestGateway } from '../fixtures/gateways.ts';
import { resources } from '../fixtures/stores.ts';
import { bytesOf, type FuzzRequest, type Known, requests } from './requests.ts';

const BATCHES = 500;
const BATCH = 20;

/** New requests at each run; the same ones in CI, where a run is to say something of the change; or those of an earlier run. */
const given = process.env['SPANWAY_TEST_FUZZ_SEED'] ?? (process.env['CI'] === 'true' ? '20261125' : undefined);
const seed = given === undefined ? Math.trunc(Math.random() * 2 ** 31) : Number(given);

let gateway: TestGateway;
let port: number;
let known: Known;
beforeAll(async () => {
  // Nobody applies, so nobody need wait for an outcome. The limits are low, so that they are met.
  gateway = await startTestGateway({
    settings: { maxWaitSeconds: 0, maxBodyBytes: 4096, maxJsonDepth: 20, maxKeyBytes: 100, maxSubmissionBytes: 3000, maxMutations: 2 },
  });
  await gateway.app.listen({ host: '127.0.0.1', port: 0 });
  ({ port } = gateway.app.server.address() as AddressInfo);
  const payload = { customer: 'c1', status: 'open' };
  const { id } = (await gateway.call({ method: 'PUT', url: '/v1/orders/o1', payload })).json<{ id: string }>();
  const tokens = await Promise.all(
    [ALL_SCOPES, ALL_SCOPES, ALL_SCOPES, ['orders:write'], []].map((scopes, i) =>
      gateway.token({ scopes, tenant: `t${1 + (i % 2)}`, ttlSeconds: 3600 }),
    ),
  );
  known = { tokens, receiptId: id };
});
afterAll(() => gateway.close());

interface Answer {
  readonly status: number;
  readonly body: Buffer;
}

/** Undefined where the gateway hangs up without an answer. */
async function answerTo(request: FuzzRequest): Promise<Answer | undefined> {
  const socket = connect({ host: '127.0.0.1', port });
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  // A connection that is reset is one without an answer.
  socket.on('error', () => undefined);
  socket.write(bytesOf(request));
  // The rest of the body is never sent.
  if (!isWhole(request)) socket.end();
  await once(socket, 'close');
  const all = Buffer.concat(chunks);
  const start = all.indexOf('\r\n\r\n') + 4;
  const head = all.toString('latin1', 0, start);
  const status = /^HTTP\/1\.1 (\d{3}) /.exec(head)?.[1];
  // Bytes after a request that gave no length are another one, with an answer of its own.
  const length = Number(/^content-length: (\d+)\r$/im.exec(head)?.[1] ?? 0);
  return status === undefined ? undefined : { status: Number(status), body: all.subarray(start, start + length) };
}

/** What HTTP lets a server leave without an answer: a body without its end, or a tunnel. */
function isWhole({ method, framing }: FuzzRequest): boolean {
  return (framing === 'length' || framing === 'chunks') && method !== 'CONNECT';
}

function checkAnswer(request: FuzzRequest, answer: Answer | undefined): void {
  if (answer === undefined) {
    if (isWhole(request)) throw new Error('there is no answer');
    return;
  }
  const { status, body } = answer;
  if (status >= 500) throw new Error(`the answer is ${status}: ${body.toString()}`);
  if (status < 400 || request.method === 'HEAD') return;
  const problem = JSON.parse(body.toString()) as { type: string; status: number; correlationId: string };
  expect(problem).toMatchObject({ status, correlationId: expect.any(String) as string });
  expect(Object.keys(PROBLEM_TYPES)).toContain(problem.type.replace('/problems/', ''));
}

it(`answers ${BATCHES * BATCH} requests without a fault, and queues nothing that cannot be applied (SPANWAY_TEST_FUZZ_SEED=${seed})`, async () => {
  const seen = new Map<number | undefined, number>();
  await fc.assert(
    fc.asyncProperty(fc.array(requests(known), { minLength: BATCH, maxLength: BATCH }), async (batch) => {
      const answers = await Promise.all(batch.map(answerTo));
      batch.forEach((request, i) => checkAnswer(request, answers[i]));
      for (const answer of answers) seen.set(answer?.status, (seen.get(answer?.status) ?? 0) + 1);
      // `queued` opens each pack as the applier does.
      for (const envelope of await gateway.queued()) {
        const { plan } = planWork(envelope, envelopeText(envelope), resources);
        expect(plan).toHaveProperty('writes');
      }
    }),
    { seed, numRuns: BATCHES },
  );
  // The requests were near enough to be taken, and far enough to be refused in every way.
  for (const status of [200, 202, 400, 401, 403, 404, 413, 415, 422, 431]) expect(seen.get(status), String(status)).toBeGreaterThan(0);
  expect((await gateway.call({ method: 'GET', url: '/healthz' })).statusCode).toBe(200);
}, 600_000);
