/** Reads that come again the same are answered before they are routed, and never otherwise than they would be there. */
import { once } from 'node:events';
import { Agent, type IncomingHttpHeaders, type IncomingMessage, type OutgoingHttpHeaders, request } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { defineResource, field, Type } from '../../index.ts';
import { MemoryCache } from '../../ports/cache/memory.ts';
import type { Rates } from '../../producers/gateway/rate-limits.ts';
import type { AccessRule } from '../../schemas/resource/access.ts';
import { ResourceSet } from '../../schemas/resource/registry.ts';
import { rowCacheKey, versionOf } from '../../schemas/resource/row-cache.ts';
import { COMMIT_TIMESTAMP } from '../../schemas/resource/table.ts';
import { startTestGateway, type TestGateway } from '../fixtures/gateways.ts';

const setWith = (...access: AccessRule[]): ResourceSet => {
  const schema = Type.Object({
    id: Type.String({ maxLength: 10 }),
    note: Type.Optional(Type.String({ maxLength: 100 })),
    secret: Type.Optional(Type.String({ maxLength: 100 })),
    updatedAt: field.commitTimestamp(),
  });
  return new ResourceSet([
    defineResource({ name: 'kept', key: ['id'], schema, cache: { seconds: 3600 }, access }),
    defineResource({ name: 'kept-by-default', key: ['id'], schema, cache: { seconds: 3600, byDefault: true }, access }),
  ]);
};
const all: AccessRule = { actions: ['read'], scope: 'read' };
const some: AccessRule = { actions: ['read'], scope: 'peek', fields: ['note'] };
const URL = '/v1/kept/a';
const MINUTE = 'max-staleness=60';

interface Answer {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** Whether its token was looked at, as it is on the usual way. */
  readonly usual: boolean;
}

interface Started {
  readonly gateway: TestGateway;
  readonly cache: MemoryCache;
  /** The files that the gateway follows. */
  readonly files: { current: ResourceSet };
  readonly lines: Record<string, unknown>[];
  call(headers: OutgoingHttpHeaders, more?: { url?: string; method?: string }): Promise<Answer>;
  /** Straight into the database, of which no cache hears. Its commit timestamp. */
  write(note: string, resource?: string): Promise<string>;
}

async function start(settings: { rates?: () => Rates } = {}): Promise<Started> {
  const files = { current: setWith(all, some) };
  const cache = new MemoryCache();
  const lines: Record<string, unknown>[] = [];
  let looks = 0;
  const gateway = await startTestGateway({
    resources: files,
    cache: () => cache,
    settings,
    onLog: (line) => lines.push(line),
    identity: (tokens) => ({
      ...tokens,
      verify(...args) {
        looks += 1;
        return tokens.verify(...args);
      },
    }),
  });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  onTestFinished(async () => {
    agent.destroy();
    await gateway.close();
    await cache.close();
  });
  await gateway.store.apply((await gateway.store.compare(files.current.tables())).missing);
  await gateway.app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = gateway.app.server.address() as AddressInfo;
  return {
    gateway,
    cache,
    files,
    lines,
    async call(headers, { url = URL, method = 'GET' } = {}) {
      const before = looks;
      const sent = request({ port, agent, method, path: url, headers }).end();
      const [answer] = (await once(sent, 'response')) as [IncomingMessage];
      const body = await text(answer);
      return { status: answer.statusCode, headers: answer.headers, text: body, usual: looks > before };
    },
    async write(note, resource = 'kept') {
      const { table } = files.current.get(resource) ?? expect.unreachable();
      const columns = ['tenant', 'id', 'note', 'secret', 'updated_at'];
      const values = ['t1', 'a', note, 'hidden', COMMIT_TIMESTAMP];
      return (await gateway.store.commit([{ op: 'upsert', table, columns, values }], { tag: 'test' })).commitTimestamp;
    },
  };
}

/** A read that was answered on the usual way, with a row from the cache, and the one after it, which was not. */
async function repeated({ call }: Started, headers: OutgoingHttpHeaders, url = URL): Promise<[Answer, Answer]> {
  let usual = await call(headers, { url });
  if (usual.headers['cache-status'] === 'spanway; fwd=miss') usual = await call(headers, { url });
  const again = await call(headers, { url });
  expect([usual.status, usual.headers['cache-status'], usual.usual, again.usual]).toEqual([200, 'spanway; hit', true, false]);
  return [usual, again];
}

const bearer = async ({ gateway }: Started, token: Parameters<TestGateway['token']>[0] = {}): Promise<OutgoingHttpHeaders> => ({
  authorization: `Bearer ${await gateway.token({ scopes: ['read'], ...token })}`,
  'read-consistency': MINUTE,
});

let started: Started;
beforeEach(() => () => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

const nowMs = performance.now.bind(performance);

/** As if so much time had passed since the test began, by every clock. */
function later(ms: number): void {
  vi.useRealTimers();
  vi.spyOn(performance, 'now').mockImplementation(() => nowMs() + ms);
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + ms });
}

describe('a read that comes again the same', () => {
  it('gets the same answer, with a correlation id of its own', async () => {
    started = await start();
    await started.write('é ₤ one');
    const headers = await bearer(started);
    const of = ({ headers: { 'correlation-id': _id, date: _date, ...rest } }: Answer): IncomingHttpHeaders => rest;
    for (const url of [URL, `${URL}?fields=note,id`]) {
      const [usual, again] = await repeated(started, headers, url);
      expect([again.text, of(again)]).toEqual([usual.text, of(usual)]);
      expect(Object.keys(of(again))).toEqual(expect.arrayContaining(['etag', 'read-timestamp', 'cache-status', 'content-type']));
      expect(again.headers['correlation-id']).toMatch(/^[0-9a-f-]{36}$/);
      expect(again.headers['correlation-id']).not.toBe(usual.headers['correlation-id']);
    }
    const named = await started.call({ ...headers, 'correlation-id': 'mine' });
    expect([named.status, named.headers['correlation-id'], named.usual]).toEqual([200, 'mine', false]);
  });

  it('is logged as every read', async () => {
    started = await start();
    await started.write('one');
    const [, again] = await repeated(started, await bearer(started, { subject: 'somebody', actor: 'agent' }));
    const [usualLine, line] = started.lines.filter(({ decision }) => decision === 'allow').slice(-2);
    const { time: _time, correlationId: _id, ...said } = usualLine ?? {};
    expect(line).toMatchObject({ ...said, correlationId: again.headers['correlation-id'], msg: 'read' });
    expect(said).toMatchObject({ subject: 'somebody', actor: 'agent', tenant: 't1', resource: 'kept', row: 'kept/a', rows: 1 });
  });

  it('is answered with what policy lets its caller see', async () => {
    started = await start();
    await started.write('one');
    const [, whole] = await repeated(started, await bearer(started));
    expect(JSON.parse(whole.text)).toMatchObject({ note: 'one', secret: 'hidden' });
    const [, part] = await repeated(started, await bearer(started, { scopes: ['peek'] }));
    expect(JSON.parse(part.text)).toEqual({ id: 'a', note: 'one' });
  });
});

describe('the usual way is gone', () => {
  it('by another caller', async () => {
    started = await start();
    await started.write('one');
    const headers = await bearer(started);
    await repeated(started, headers);
    const own = String(headers.authorization);
    const forged = own.replace(/\.[^.]+\./, `.${Buffer.from(JSON.stringify({ iss: 'x', tenant: 't1' })).toString('base64url')}.`);
    for (const [authorization, status] of [
      [String((await bearer(started, { tenant: 't2' })).authorization), 404],
      [String((await bearer(started, { scopes: ['other'] })).authorization), 403],
      [forged, 401],
      [own.slice(0, -1), 401],
      [`Basic ${own.slice(7)}`, 401],
      [[own, own], 401],
      [undefined, 401],
    ] as const) {
      const { authorization: _own, ...rest } = headers;
      const answer = await started.call(
        authorization === undefined ? rest : { ...rest, authorization: authorization as string | string[] },
      );
      expect([answer.status, answer.usual]).toEqual([status, true]);
    }
    expect((await started.call(headers)).usual).toBe(false);
  });

  it('once the token has expired', async () => {
    started = await start();
    await started.write('one');
    const headers = await bearer(started, { ttlSeconds: 10 });
    await repeated(started, headers);
    later(11_000);
    const expired = await started.call(headers);
    expect([expired.status, JSON.parse(expired.text)]).toMatchObject([401, { detail: 'the token has expired' }]);
  });

  it('after half a minute, when every token is looked at again', async () => {
    started = await start();
    await started.write('one');
    const headers = await bearer(started);
    await repeated(started, headers);
    later(29_000);
    expect((await started.call(headers)).usual).toBe(false);
    later(31_000);
    expect((await started.call(headers)).usual).toBe(true);
  });

  it('once the resource files have changed', async () => {
    started = await start();
    await started.write('one');
    const headers = await bearer(started, { scopes: ['read', 'peek'] });
    await repeated(started, headers);
    started.files.current = setWith(some);
    expect(JSON.parse((await started.call(headers)).text)).toEqual({ id: 'a', note: 'one' });
    started.files.current = setWith({ actions: ['read'], scope: 'other' });
    expect((await started.call(headers)).status).toBe(403);
    started.files.current = new ResourceSet([]);
    expect((await started.call(headers)).status).toBe(404);
  });

  it('once the applier has outdated the row', async () => {
    started = await start();
    await started.write('one');
    const headers = await bearer(started);
    await repeated(started, headers);
    const version = versionOf(await started.write('two'));
    expect((await started.call(headers)).usual).toBe(false);
    const { table } = started.files.current.get('kept') ?? expect.unreachable();
    await started.cache.versioned.outdate([{ key: rowCacheKey(table, ['t1', 'a']), version }], 60_000);
    const fresh = await started.call(headers);
    expect([JSON.parse(fresh.text), fresh.headers['cache-status']]).toMatchObject([{ note: 'two' }, 'spanway; fwd=miss']);
    expect(JSON.parse((await repeated(started, headers))[1].text)).toMatchObject({ note: 'two' });
  });

  it('once the row is older than its reader allows', async () => {
    started = await start();
    await started.write('one');
    const headers = { ...(await bearer(started)), 'read-consistency': 'max-staleness=20' };
    await repeated(started, headers);
    await started.write('two');
    later(19_000);
    expect((await started.call(headers)).usual).toBe(false);
    later(21_000);
    const answer = await started.call(headers);
    expect([JSON.parse(answer.text), answer.usual]).toMatchObject([{ note: 'two' }, true]);
  });

  it('by a reader who allows another age', async () => {
    started = await start();
    await started.write('one');
    const { 'read-consistency': consistency, ...headers } = await bearer(started);
    await repeated(started, { ...headers, 'read-consistency': consistency });
    await started.write('two');
    later(20_000);
    for (const other of [undefined, 'strong', 'max-staleness=19', 'stale-if-error=60']) {
      const answer = await started.call({ ...headers, ...(other === undefined ? {} : { 'read-consistency': other }) });
      expect([JSON.parse(answer.text), answer.usual]).toMatchObject([{ note: 'two' }, true]);
    }
    const url = '/v1/kept-by-default/a';
    await started.write('one', 'kept-by-default');
    await repeated(started, headers, url);
    await repeated(started, { ...headers, 'read-consistency': MINUTE }, url);
    for (const malformed of ['', 'undefined', [MINUTE, MINUTE]])
      expect((await started.call({ ...headers, 'read-consistency': malformed }, { url })).status).toBe(400);
  });

  it('where the request says more than is compared, or is none for the row', async () => {
    started = await start();
    await started.write('one');
    const headers = await bearer(started);
    const [{ headers: answered, text: row }] = await repeated(started, headers);
    const etag = String(answered.etag);
    expect(await started.call({ ...headers, 'if-none-match': etag })).toMatchObject({ status: 304, text: '', usual: true });
    expect(await started.call({ ...headers, 'if-none-match': '"other"' })).toMatchObject({ status: 200, text: row, usual: true });
    expect(await started.call({ ...headers, range: 'bytes=0-1' })).toMatchObject({ status: 200, text: row, usual: true });
    expect(await started.call({ ...headers, 'correlation-id': 'not one' })).toMatchObject({ status: 400 });
    expect(await started.call(headers, { method: 'HEAD' })).toMatchObject({ status: 200, text: '', usual: true });
    expect(await started.call(headers, { method: 'DELETE' })).toMatchObject({ status: 403, usual: true });
    expect(await started.call(headers, { url: '/v1/kept/b' })).toMatchObject({ status: 404, usual: true });
    expect(await started.call(headers, { url: `${URL}?fields=other` })).toMatchObject({ status: 400, usual: true });
    // What a row is written in does not depend on it, here or there.
    expect(await started.call({ ...headers, accept: 'text/html' })).toMatchObject({ status: 200, text: row, usual: false });
    expect(await started.call(headers)).toMatchObject({ status: 200, text: row, usual: false });
  });

  it('once the gateway stops, which then ends the connection', async () => {
    started = await start();
    await started.write('one');
    const headers = await bearer(started);
    await repeated(started, headers);
    const { server } = started.gateway.app;
    const connected = once(server, 'connection');
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
    const [connection] = (await connected) as [Socket];
    const head = `GET ${URL} HTTP/1.1\r\nhost: localhost\r\nauthorization: ${String(headers.authorization)}\r\nread-consistency: ${MINUTE}\r\n`;
    client.write(head);
    await expect.poll(() => connection.bytesRead).toBe(head.length);
    const closed = started.gateway.app.close();
    client.write('\r\n');
    expect(await text(client)).toMatch(/^HTTP\/1.1 200 [^]*\r\nconnection: close\r\n/i);
    await closed;
  });

  it('where the reads of its caller are counted', async () => {
    started = await start({ rates: () => ({ tenantReads: { perSecond: 0.001, burst: 4 } }) });
    await started.write('one');
    const headers = await bearer(started);
    const left: unknown[] = [];
    for (let i = 0; i < 5; i += 1) {
      const { status, usual, headers: answered } = await started.call(headers);
      left.push([status, usual, /r=(\d+)/.exec(String(answered['ratelimit']))?.[1]]);
    }
    expect(left).toEqual([
      [200, true, '3'],
      [200, true, '2'],
      [200, true, '1'],
      [200, true, '0'],
      [429, true, '0'],
    ]);
  });
});
