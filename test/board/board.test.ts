/** The board on a real Redis: who gets in, what it shows, and that its buttons do what `spanway jobs` does. */
import { appRoutes } from '@bull-board/api/dist/routes.js';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startBoard } from '../../cli/board/start.ts';
import { type Config, readConfig } from '../../cli/config.ts';
import { signDevelopmentToken, startDevelopmentIssuer, type TokenRequest } from '../../cli/dev-issuer.ts';
import { openJobsOf } from '../../cli/installation.ts';
import { issuerOf, type OidcIssuer } from '../../cli/issuers.ts';
import { boardPathOf } from '../../ports/jobs/index.ts';
import type { JobRun, Jobs, JobState, RunningWorker } from '../../ports/jobs/port.ts';
import { Command } from '../fixtures/stacks.ts';
import { describeWithServer } from '../servers.ts';
import { makeTemporaryFolder, temporaryFolder } from '../temp.ts';

const OPERATE = 'spanway:operate';
const FORM = { 'content-type': 'application/x-www-form-urlencoded' };

describe('the board of embedded jobs', () => {
  it('is none, and the command says what to do instead', async () => {
    const command = new Command(['board'], {
      SPANWAY_DATA_DIR: await temporaryFolder(),
      SPANWAY_OIDC_ISSUER: 'urn:spanway:development',
      SPANWAY_OIDC_JWKS_URL: 'http://127.0.0.1:9/jwks.json',
    });
    expect(await command.exited).toBe(1);
    expect(command.output).toMatch(/has no board, .*BullMQ in Redis.*use spanway jobs list, show, pause, resume and cancel/);
  });

  it('is not opened to a network in production without TLS', async () => {
    const env = { NODE_ENV: 'production', SPANWAY_HOST: '0.0.0.0', SPANWAY_JOBS: 'redis://127.0.0.1:9' };
    const command = new Command(['board'], { ...env, SPANWAY_OIDC_ISSUER: 'https://issuer.example' });
    expect(await command.exited).toBe(1);
    expect(command.output).toMatch(/set SPANWAY_BOARD_URL to its https address/);
  });
});

describeWithServer('redis', 'the board', ({ redis }) => {
  // A database of its own, since a server has one queue.
  const url = `${redis.url.replace(/\/\d*$/, '')}/8`;
  const server = new Redis(url, { lazyConnect: true });
  let config: Config;
  let issuer: OidcIssuer & { stop(): Promise<void> };
  let board: { readonly url: string; stop(): Promise<void> };
  let jobs: Jobs;
  let removeFolder: () => Promise<void>;
  let worker: RunningWorker | undefined;

  beforeAll(async () => {
    const folder = await makeTemporaryFolder();
    removeFolder = folder.remove;
    config = readConfig({ SPANWAY_DATA_DIR: folder.path, SPANWAY_JOBS: url });
    issuer = await startDevelopmentIssuer(config, { host: '127.0.0.1', port: 0 });
    await server.connect();
  });
  beforeEach(async () => {
    await server.flushdb();
    jobs = await openJobsOf(config);
    board = await start(config);
  });
  afterEach(async () => {
    await worker?.stop();
    worker = undefined;
    await board.stop();
    await jobs.close();
  });
  afterAll(async () => {
    await server.flushdb();
    server.disconnect();
    await issuer.stop();
    await removeFolder();
  });

  const start = (given: Config): ReturnType<typeof startBoard> =>
    startBoard(given, { issuers: [issuerOf(given, issuer)], port: 0, log: pino({ level: 'silent' }) });
  const token = (request: Partial<TokenRequest> = {}): Promise<string> =>
    signDevelopmentToken(config, { tenant: 'ops', subject: 'ann', scopes: [OPERATE], ttlSeconds: 600, ...request });

  interface Call {
    readonly method?: string;
    readonly token?: string;
    readonly headers?: Record<string, string>;
    readonly body?: string;
  }
  function call(path: string, { method = 'GET', token: bearer, headers = {}, body }: Call = {}): Promise<Response> {
    return fetch(`${board.url}${path}`, {
      method,
      redirect: 'manual',
      headers: { ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }), ...headers },
      ...(body === undefined ? {} : { body }),
    });
  }
  async function signIn(bearer: string, to = '/'): Promise<Response> {
    return call('/login', { method: 'POST', headers: FORM, body: new URLSearchParams({ token: bearer, to }).toString() });
  }
  const cookieOf = (answer: Response): string => answer.headers.get('set-cookie')?.split(';')[0] ?? expect.unreachable('no cookie is set');

  /** A run that saves until it is told to end. */
  const counting = async ({ save, signal }: JobRun): Promise<void> => {
    for (let count = 1; ; count += 1) {
      await save({ count });
      await new Promise((resolve) => setTimeout(resolve, 20));
      signal.throwIfAborted();
    }
  };
  const work = (): void => {
    worker = jobs.work({ concurrency: 1, run: counting, onError: (error) => expect.unreachable(error.message) });
  };
  const until = (id: string, state: JobState): Promise<void> =>
    expect.poll(async () => (await jobs.get(id))?.state, { timeout: 20_000, interval: 50 }).toBe(state);

  const everyPath = (id: string): readonly (readonly [string, string])[] => [
    ['GET', '/'],
    ['GET', '/api/queues'],
    ['GET', boardPathOf(id)],
    ['GET', `/api/queues/jobs/${id}`],
    ['GET', '/static/favicon.ico'],
    ['GET', `/steer/${id}`],
    ['POST', `/steer/${id}`],
    ['PUT', `/api/queues/jobs/${id}/clean`],
    ['GET', '/nowhere'],
  ];

  it('lets nobody in without a token', async () => {
    const id = await jobs.add({});
    for (const [method, path] of everyPath(id)) {
      const answer = await call(path, { method });
      expect([path, answer.status]).toEqual([path, 401]);
      expect(answer.headers.get('www-authenticate')).toBe('Bearer');
    }
    const page = await call('/', { headers: { accept: 'text/html' } });
    expect(page.status).toBe(401);
    expect(await page.text()).toContain('<form method="post" action="/login">');
    expect((await call('/healthz')).status).toBe(200);
    expect((await jobs.get(id))?.state).toBe('waiting');
  });

  it.each([
    ['of a tenant', { tenant: 't1', scopes: ['orders:read', 'orders:write'] }, 403],
    ['of an agent that acts for an operator', { actor: 'agent-7' }, 403],
    ['that has expired', { ttlSeconds: -60 }, 401],
  ] as const)('lets nobody in with a token %s', async (_what, request, status) => {
    const id = await jobs.add({});
    const bearer = await token(request);
    for (const [method, path] of everyPath(id))
      expect([path, (await call(path, { method, token: bearer })).status]).toEqual([path, status]);
    const signedIn = await signIn(bearer);
    expect(signedIn.status).toBe(status);
    expect(signedIn.headers.get('set-cookie')).toBeNull();
    expect((await jobs.get(id))?.state).toBe('waiting');
  });

  it('shows an operator the jobs, and cancels one', async () => {
    const id = await jobs.add({ selection: { tenant: 't1' }, by: 'bob' });
    const bearer = await token();
    work();
    await until(id, 'active');

    const page = await call(boardPathOf(id), { token: bearer });
    expect(page.status).toBe(200);
    const html = await page.text();
    expect(html).toContain('Spanway jobs');
    const [script = ''] = /static\/js\/main\.\w+\.js/.exec(html) ?? [];
    expect((await call(`/${script}`, { token: bearer })).status).toBe(200);
    // Nothing of it comes from, or goes to, elsewhere; and no page elsewhere shows it within itself.
    expect(page.headers.get('content-security-policy')).toMatch(/default-src 'none'.*script-src 'self';.*frame-ancestors 'none'/);

    const listed = (await (await call('/api/queues?activeQueue=jobs&page=1&jobsPerPage=10', { token: bearer })).json()) as {
      queues: { name: string; allowRetries: boolean; jobs: { id: string; data: unknown; externalUrl: { href: string } }[] }[];
    };
    expect(listed.queues).toMatchObject([
      { name: 'jobs', allowRetries: false, jobs: [{ id, data: { spec: { by: 'bob' } }, externalUrl: { href: `/steer/${id}` } }] },
    ]);

    expect((await call(`/api/queues/jobs/${id}/clean`, { method: 'PUT', token: bearer })).status).toBe(204);
    await until(id, 'cancelled');
    // Not removed: who waits for it hears how it ended.
    expect((await jobs.get(id))?.endedAt).toBeDefined();
    for (const button of ['clean', 'promote']) {
      const again = await call(`/api/queues/jobs/${id}/${button}`, { method: 'PUT', token: bearer });
      expect(again.status).toBe(409);
      expect(await again.text()).toContain('The job has ended: cancelled.');
    }
  });

  it('resumes a paused job with the button that promotes it', async () => {
    const id = await jobs.add({});
    work();
    await until(id, 'active');
    await jobs.steer(id, 'pause');
    await until(id, 'paused');
    expect((await call(`/api/queues/jobs/${id}/promote`, { method: 'PUT', token: await token() })).status).toBe(204);
    await until(id, 'active');
  });

  it('keeps a person signed in by a cookie that no script reads and no other page sends, and steers by forms', async () => {
    const id = await jobs.add({ note: '<script>alert(1)</script>' });
    work();
    await until(id, 'active');
    const bearer = await token();
    const signedIn = await signIn(bearer, `/steer/${id}`);
    expect(signedIn.status).toBe(303);
    expect(signedIn.headers.get('location')).toBe(`/steer/${id}`);
    const setCookie = signedIn.headers.get('set-cookie') ?? '';
    expect(setCookie).toMatch(/^spanway_board=[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict$/);
    const cookie = cookieOf(signedIn);

    const page = await (await call(`/steer/${id}`, { headers: { cookie } })).text();
    expect(page).toContain('<strong>active</strong>');
    expect(page).not.toContain('<script>');
    const press = (wish: string, headers: Record<string, string> = {}): Promise<Response> =>
      call(`/steer/${id}`, { method: 'POST', headers: { cookie, ...FORM, ...headers }, body: `wish=${wish}` });

    // Another port of the host is the same site for a cookie, and another origin.
    for (const origin of ['https://evil.example', 'http://127.0.0.1:1', 'null'])
      expect((await press('cancel', { origin })).status).toBe(403);
    const wrong = await press('retry');
    expect([wrong.status, wrong.headers.get('content-type')]).toEqual([400, expect.stringContaining('application/problem+json')]);
    expect(await wrong.json()).toMatchObject({ title: 'Bad Request', detail: 'wish must be pause, resume or cancel' });
    expect((await jobs.get(id))?.state).toBe('active');

    expect((await press('pause', { origin: board.url })).status).toBe(303);
    await until(id, 'paused');
    expect((await press('resume')).status).toBe(303);
    await until(id, 'active');
    expect((await press('cancel')).status).toBe(303);
    await until(id, 'cancelled');
    expect(await (await call(`/steer/${id}`, { headers: { cookie } })).text()).toContain('It has ended');
    expect((await call('/steer/none', { headers: { cookie } })).status).toBe(404);

    await call('/logout', { method: 'POST', headers: { cookie } });
    expect((await call('/', { headers: { cookie } })).status).toBe(401);
  });

  it('leads nobody elsewhere after signing in', async () => {
    for (const to of ['//evil.example/', 'https://evil.example/', '/\\evil.example', '/"><script>', '/login', '/logout', '/login?a=b'])
      expect((await signIn(await token(), to)).headers.get('location')).toBe('/');
    expect((await signIn(await token(), '/logs/7')).headers.get('location')).toBe('/logs/7');
  });

  it('ends a session with its token', async () => {
    const cookie = cookieOf(await signIn(await token({ ttlSeconds: -3 })));
    expect((await call('/', { headers: { cookie } })).status).toBe(200);
    // The clocks may differ by 5 s, so it has 2 s left.
    await expect.poll(async () => (await call('/', { headers: { cookie } })).status, { timeout: 10_000, interval: 200 }).toBe(401);
  });

  it('sends its cookie over TLS alone where people reach it so', async () => {
    const plain = board;
    board = await start(readConfig({ SPANWAY_DATA_DIR: config.dataDir, SPANWAY_JOBS: url, SPANWAY_BOARD_URL: 'https://board.example' }));
    expect((await signIn(await token())).headers.get('set-cookie')).toContain('; Secure');
    await plain.stop();
  });

  it('does nothing that is not pause, resume or cancel, whatever Bull Board can do', async () => {
    const waiting = await jobs.add({ what: 'waiting' });
    const ended = await jobs.add({ what: 'ended' });
    await jobs.steer(ended, 'cancel');
    work();
    await until(ended, 'cancelled');
    await worker?.stop();
    worker = undefined;
    const before = await Promise.all([waiting, ended].map((id) => jobs.get(id)));
    const bearer = await token();
    const allowed = new Set(['/api/queues/:queueName/:jobId/clean', '/api/queues/:queueName/:jobId/promote']);
    const refused = appRoutes.api.filter(({ method, route }) => method !== 'get' && !allowed.has(String(route)));
    expect(refused.length).toBeGreaterThan(15);
    for (const { method, route } of refused) {
      for (const id of [waiting, ended]) {
        const path = String(route)
          .replace(':queueName', 'jobs')
          .replace(':jobId', id)
          .replace(':queueStatus', 'waiting')
          .replace(':schedulerId', 's');
        const answer = await call(path, {
          method: String(method).toUpperCase(),
          token: bearer,
          headers: { 'content-type': 'application/json' },
          body: '{}',
        });
        expect([path, answer.status]).toEqual([path, 403]);
      }
    }
    expect(await Promise.all([waiting, ended].map((id) => jobs.get(id)))).toEqual(before);
  });

  it('is linked from the commands, and runs as one', async () => {
    const id = await jobs.add({});
    const env = {
      SPANWAY_DATA_DIR: config.dataDir,
      SPANWAY_JOBS: url,
      SPANWAY_OIDC_ISSUER: issuer.issuer,
      SPANWAY_OIDC_JWKS_URL: issuer.jwksUrl,
      SPANWAY_BOARD_PORT: '0',
    };
    const command = new Command(['board'], env);
    const [, address = ''] = await command.printed(/"url":"([^"]+)","msg":"started"/);
    const show = new Command(['jobs', 'show', id], { ...env, SPANWAY_BOARD_URL: address });
    expect(await show.exited).toBe(0);
    const [, link = ''] = /with spanway board: (\S+)/.exec(show.output) ?? [];
    expect(link).toBe(`${address}${boardPathOf(id)}`);
    expect((await fetch(link, { headers: { authorization: `Bearer ${await token()}` } })).status).toBe(200);
    const list = new Command(['jobs', 'list'], { ...env, SPANWAY_BOARD_URL: address });
    await list.exited;
    expect(list.output).toContain(`with spanway board: ${address}/`);
    expect(await command.stop()).toBe(0);
  });
});
