/** The gateway: identity ▸ policy ▸ validation ▸ queue, statuses, and reads, as one HTTP application. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify';
import type { Cache } from '../../ports/cache/port.ts';
import type { QueueSender } from '../../ports/queue/port.ts';
import type { Store } from '../../ports/store/port.ts';
import type { Caller } from '../../schemas/envelope/envelope.ts';
import type { Signer } from '../../schemas/envelope/key-ring.ts';
import { ATTRIBUTES_BYTES } from '../../schemas/envelope/pack.ts';
import type { ResourceSource } from '../../schemas/resource/registry.ts';
import { Background } from './background.ts';
import { parseBody } from './body.ts';
import { RequestError } from './errors.ts';
import { authorizationsOf, checkContentCoding, checkCorrelationId, correlationIdOf, isWrite } from './headers.ts';
import type { Identity } from './identity.ts';
import { openApiRoutes } from './openapi.ts';
import { type OverloadSettings, shedWrites } from './overload.ts';
import { PackSender, type PackSenderSettings } from './pack-sender.ts';
import { answerBrokenRequest, problemRoutes, sendProblem } from './problems.ts';
import { RateLimiter, type Rates } from './rate-limits.ts';
import { ReadinessCheck } from './readiness.ts';
import { Receipts } from './receipts.ts';
import { Repeats } from './reads/repeats.ts';
import { type ReadSettings, readRoutes } from './reads/routes.ts';
import { findReceiptId, type ReceiptKeys } from './receipt-keys.ts';
import { RowCache } from './reads/row-cache.ts';
import { Statuses, type StatusSettings } from './statuses.ts';
import { Submissions, type SubmissionSettings } from './submissions.ts';
import { type WriteSettings, writeRoutes } from './writes.ts';

export interface GatewayParts {
  readonly queue: QueueSender;
  /** Read alone; the gateway never writes to it. */
  readonly store: Store;
  readonly cache: Cache;
  readonly resources: ResourceSource;
  readonly identity: Identity;
  readonly packSigner: () => Signer;
  readonly receiptKeys: ReceiptKeys;
  readonly log: FastifyBaseLogger;
  /** Hears of what goes on after an answer; needed where the process does not. A stop waits for it. */
  readonly background?: Background;
  readonly settings: GatewaySettings;
}

export interface GatewaySettings
  extends
    PackSenderSettings,
    OverloadSettings,
    Omit<SubmissionSettings, 'maxEnvelopeBytes' | 'maxCommitMutations'>,
    WriteSettings,
    ReadSettings,
    StatusSettings {
  /** Of a request's body, in bytes. */
  readonly maxBodyBytes: number;
  /** Of a request's line and headers together, in bytes. */
  readonly maxHeaderBytes: number;
  /** Levels of arrays and objects in a body. */
  readonly maxJsonDepth: number;
  /** One submission as it travels, in bytes; undefined: as much as the queue takes. */
  readonly maxSubmissionBytes: number | undefined;
  /** How long a receipt is kept for retries and pending statuses. */
  readonly receiptTtlMs: number;
  /** How long a whole request may take to arrive, from its first byte. */
  readonly requestTimeoutSeconds: number;
  /** How long no byte may move on a connection before it is closed, in milliseconds. Default: longer than any request may wait. */
  readonly stalledAfterMs?: number;
  /** Connections at once; past it a new one is closed at once. */
  readonly maxConnections: number;
  /** How many requests are taken, by tenant. */
  readonly rates: (tenant: string) => Rates;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Who sent it. Set before any route under /v1 runs. */
    caller: Caller;
  }
}

export function buildGateway(parts: GatewayParts): FastifyInstance {
  const { queue, store, cache, resources, identity, settings } = parts;
  const requestTimeoutMs = settings.requestTimeoutSeconds * 1000;
  const app = Fastify({
    loggerInstance: parts.log,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'correlationId' }),
    requestIdHeader: false,
    genReqId: (raw) => correlationIdOf(raw.headers),
    bodyLimit: settings.maxBodyBytes,
    frameworkErrors: (error, request, reply) => sendProblem(request, reply, error),
    // Node looks for late requests at an interval, and takes the shorter of the two times for that of the headers.
    // https://nodejs.org/api/http.html#httpcreateserveroptions-requestlistener
    http: {
      maxHeaderSize: settings.maxHeaderBytes,
      connectionsCheckingInterval: 1000,
      headersTimeout: requestTimeoutMs,
      requestTimeout: requestTimeoutMs,
    },
    requestTimeout: requestTimeoutMs,
    // Else who sends requests and reads no answer keeps the connection for good.
    connectionTimeout: settings.stalledAfterMs ?? stalledAfterMs(settings),
    // What comes on a connection that is open is answered, up to the last.
    return503OnClosing: false,
    clientErrorHandler: (error, socket) => answerBrokenRequest(error, socket, settings.maxHeaderBytes),
    // A path is data here: its case and its slashes are the caller's.
    routerOptions: { caseSensitive: true, ignoreTrailingSlash: false },
  });

  app.server.maxConnections = settings.maxConnections;

  app.removeAllContentTypeParsers();
  app.addContentTypeParser(['application/json', 'application/merge-patch+json'], { parseAs: 'buffer' }, (request, body, done) => {
    try {
      checkContentCoding(request.headers);
      done(null, parseBody(body as Buffer, settings.maxJsonDepth));
    } catch (error) {
      done(error as Error);
    }
  });
  app.setErrorHandler<Error>((error, request, reply) => sendProblem(request, reply, error));
  app.setNotFoundHandler((request) => {
    throw new RequestError('unknown_route', `nothing answers ${request.method} ${request.url.split('?', 1)[0] ?? ''}`);
  });
  app.addHook('onRequest', (request, reply, done) => {
    void reply.header('correlation-id', request.id);
    done();
  });

  const background = parts.background ?? new Background();
  const receipts = new Receipts(cache, settings.receiptTtlMs, background);
  const statuses = new Statuses({ store, cache, receipts, resources, settings });
  // A pack of one, in its brackets.
  const queueTakesBytes = queue.capabilities.maxMessageBytes - ATTRIBUTES_BYTES - '[]'.length;
  const maxEnvelopeBytes = Math.min(queueTakesBytes, settings.maxSubmissionBytes ?? queueTakesBytes);
  const sender = new PackSender(queue, parts.packSigner, settings);
  const submissions = new Submissions({
    sender,
    receipts,
    statuses,
    receiptKeys: parts.receiptKeys,
    settings: { ...settings, maxEnvelopeBytes, maxCommitMutations: store.capabilities.maxCommitMutations },
  });
  shedWrites(app, settings);
  const limiter = new RateLimiter(cache, settings.rates, parts.log);
  // Who waits for an outcome is answered at once with what is known, so that a stop need not wait for them.
  let closing = false;
  app.addHook('preClose', (done) => {
    closing = true;
    statuses.endWaits();
    done();
  });
  // Fastify says so only to requests that come later, and a connection that its client keeps would hold up the stop.
  app.addHook('onSend', (_request, reply, payload, done) => {
    if (closing) void reply.header('connection', 'close');
    done(null, payload);
  });
  const rowCache = new RowCache(cache, app.log);
  const repeats = new Repeats({ resources, rows: rowCache, identity, limiter, log: app.log });
  answerFirst(app.server, (request, response) => !closing && repeats.answer(request, response));
  app.addHook('onClose', async () => {
    await sender.drain();
    await background.settled();
  });

  app.get('/healthz', () => ({ status: 'ok' }));
  const readiness = new ReadinessCheck({ queue, store, log: app.log });
  app.get('/readyz', async (_request, reply) => {
    const found = await readiness.now();
    return reply.code(found.status === 'unavailable' ? 503 : 200).send(found);
  });
  problemRoutes(app);
  openApiRoutes(app, { resources, settings });

  void app.register(
    (v1, _options, done) => {
      v1.decorateRequest('caller');
      v1.addHook('onRequest', async (request, reply) => {
        checkCorrelationId(request.headers);
        request.caller = await identity.verify(authorizationsOf(request.raw), request.raw);
        await limiter.take(request, reply);
        // Before the body is read. After the limits, so that who sends too much does not crowd out who does not.
        if (isWrite(request)) sender.checkRoom();
      });
      v1.get<{ Params: { id: string }; Querystring: { wait?: string } }>('/submissions/:id', async (request) => {
        const { id } = request.params;
        const receipt = await findReceiptId(parts.receiptKeys, request.caller.tenant, id);
        if (!receipt) throw new RequestError('submission_not_found', 'there is no submission with this id');
        const seconds = waitOf(request.query.wait, settings.maxWaitSeconds);
        return seconds > 0 ? statuses.statusAfterWait(id, receipt, seconds, request.raw) : statuses.status(id, receipt);
      });
      writeRoutes(v1, { resources, submissions, settings });
      readRoutes(v1, { resources, store, rowCache, repeats, statuses, receiptKeys: parts.receiptKeys, background, settings });
      done();
    },
    { prefix: '/v1' },
  );
  return app;
}

/** Beyond the waits that have settings: for what has a deadline of its own, as the store's requests and the issuers' keys. */
const STALL_MARGIN_MS = 30_000;

/** A request that is served waits for the queue's turn and answer, then for an outcome, then for a row, and no byte moves meanwhile. */
function stalledAfterMs({ requestTimeoutSeconds, acceptTimeoutMs, maxWaitSeconds, readTimeoutMs }: GatewaySettings): number {
  return Math.max(requestTimeoutSeconds * 1000, 2 * acceptTimeoutMs + maxWaitSeconds * 1000 + readTimeoutMs) + STALL_MARGIN_MS;
}

/** What `answer` does not take goes on to who has listened so far. */
function answerFirst(server: Server, answer: (request: IncomingMessage, response: ServerResponse) => boolean): void {
  const listeners = server.listeners('request') as ((request: IncomingMessage, response: ServerResponse) => void)[];
  server.removeAllListeners('request').on('request', (request, response) => {
    if (!answer(request, response)) for (const listener of listeners) listener(request, response);
  });
}

function waitOf(text: string | undefined, maxSeconds: number): number {
  if (text === undefined) return 0;
  if (!/^\d{1,9}$/.test(text)) throw new RequestError('invalid_parameter', 'wait must be a whole number of seconds');
  return Math.min(Number(text), maxSeconds);
}
