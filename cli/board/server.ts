/**
 * The board as an HTTP server that lets in operators alone: who has a token that the gateway would take, with the
 * board's scope. A program sends it with each request; a person gives it once, and the browser keeps a random id of
 * the session, which is worth nothing elsewhere and ends with the token or the process.
 */
import { randomBytes } from 'node:crypto';
import cookie from '@fastify/cookie';
import fastify, { type FastifyBaseLogger, type FastifyInstance, type FastifyReply, type FastifyRequest, LogController } from 'fastify';
import { LRUCache } from 'lru-cache';
import type { JobsBoard } from '../../ports/jobs/board.ts';
import { RequestError, UnavailableError } from '../../producers/gateway/errors.ts';
import { type Identity, MAX_TOKEN_BYTES } from '../../producers/gateway/identity.ts';
import type { Caller } from '../../schemas/envelope/envelope.ts';
import { isWish, signInPage, steerPage } from './pages.ts';

interface BoardParts {
  readonly board: JobsBoard;
  readonly identity: Identity;
  /** The scope of operators. */
  readonly scope: string;
  /** People reach it over TLS: the cookie goes over nothing else. */
  readonly secure: boolean;
  readonly log: FastifyBaseLogger;
}

/** The path of the page that steers a job, before its id. */
export const STEER_PATH = '/steer/';

const COOKIE = 'spanway_board';
const SESSION_MS = 12 * 3_600_000;
const MAX_SESSIONS = 1000;
const MAX_BODY_BYTES = 64 * 1024;

/**
 * Bull Board has its scripts with it, styles in attributes, and a link to a font elsewhere, which is not loaded.
 * `frame-ancestors`: no other page shows this one under its own buttons.
 */
const HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'self'; frame-ancestors 'none'",
  'referrer-policy': 'same-origin',
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-store',
} as const;

declare module 'fastify' {
  interface FastifyRequest {
    /** Set on every route but the open ones. */
    operator: Caller | null;
  }
}

/** Why somebody is not let in. */
class Refusal extends Error {
  readonly status: 401 | 403 | 503;
  constructor(status: 401 | 403 | 503, message: string) {
    super(message);
    this.status = status;
  }
}

export async function buildBoard({ board, identity, scope, secure, log }: BoardParts): Promise<FastifyInstance> {
  const app = fastify({
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: MAX_BODY_BYTES,
  });
  const sessions = new LRUCache<string, string>({ max: MAX_SESSIONS, ttl: SESSION_MS });
  await app.register(cookie);
  app.decorateRequest('operator', null);
  app.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, (_request, body, done) =>
    done(null, new URLSearchParams(body as string)),
  );

  /** @throws Refusal */
  async function operatorOf(authorization: string): Promise<Caller> {
    let caller: Caller;
    try {
      caller = await identity.verify([authorization]);
    } catch (error) {
      if (error instanceof RequestError) throw new Refusal(401, error.message);
      if (error instanceof UnavailableError) throw new Refusal(503, error.message);
      throw error;
    }
    if (caller.actor !== undefined) throw new Refusal(403, 'the board is not for agents that act for somebody');
    if (!caller.scopes.includes(scope)) throw new Refusal(403, `the token lacks the scope ${scope}`);
    return caller;
  }

  async function letIn(request: FastifyRequest): Promise<Caller> {
    const { authorization } = request.headers;
    if (authorization !== undefined) return operatorOf(authorization);
    const token = sessions.get(request.cookies[COOKIE] ?? '');
    if (token === undefined) throw new Refusal(401, 'send an "Authorization: Bearer" header with a token, or sign in');
    return operatorOf(`Bearer ${token}`);
  }

  app.addHook('onRequest', async (request, reply) => {
    reply.headers(HEADERS);
    try {
      if (isForged(request)) throw new Refusal(403, 'the request comes from a page of another origin');
      if (!isOpen(request)) request.operator = await letIn(request);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return refuse(request, reply, error);
    }
    return undefined;
  });

  app.addHook('preHandler', (request, _reply, done) => {
    if (!isSafe(request) && request.operator) {
      const { method, params, routeOptions } = request;
      request.log.info({ decision: 'allow', ...whoOf(request.operator), method, route: routeOptions.url, params }, 'board');
    }
    done();
  });

  function refuse(request: FastifyRequest, reply: FastifyReply, { status, message }: Refusal, to = request.url): FastifyReply {
    request.log.warn({ decision: 'deny', method: request.method, route: request.routeOptions.url, status, reason: message }, 'denied');
    reply.status(status);
    if (status === 401) reply.header('www-authenticate', 'Bearer');
    if (request.headers.accept?.includes('text/html') === true) return html(reply, signInPage(pathOf(to), message, scope));
    return problem(reply, status, message);
  }

  app.get('/healthz', { config: { open: true } }, () => ({ status: 'ok' }));
  app.get('/login', { config: { open: true } }, (_request, reply) => html(reply, signInPage('/', undefined, scope)));

  app.post('/login', { config: { open: true } }, async (request, reply) => {
    const form = request.body instanceof URLSearchParams ? request.body : new URLSearchParams();
    const token = (form.get('token') ?? '').trim();
    const to = pathOf(form.get('to') ?? '/');
    try {
      if (token.length > MAX_TOKEN_BYTES) throw new Refusal(401, `the token is larger than ${MAX_TOKEN_BYTES} bytes`);
      const operator = await operatorOf(`Bearer ${token}`);
      const id = randomBytes(32).toString('base64url');
      sessions.set(id, token);
      request.log.info({ decision: 'allow', ...whoOf(operator) }, 'signed in to the board');
      return await reply.setCookie(COOKIE, id, { path: '/', httpOnly: true, sameSite: 'strict', secure }).redirect(to, 303);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return refuse(request, reply, error, to);
    }
  });

  app.post('/logout', { config: { open: true } }, (request, reply) => {
    sessions.delete(request.cookies[COOKIE] ?? '');
    return reply.clearCookie(COOKIE, { path: '/' }).redirect('/login', 303);
  });

  app.get<{ Params: { id: string } }>(`${STEER_PATH}:id`, async (request, reply) => {
    const job = await board.jobs.get(request.params.id);
    return job ? html(reply, steerPage(job)) : reply.callNotFound();
  });

  app.post<{ Params: { id: string } }>(`${STEER_PATH}:id`, async (request, reply) => {
    const { id } = request.params;
    const wish = request.body instanceof URLSearchParams ? request.body.get('wish') : null;
    const job = await board.jobs.get(id);
    if (!job) return reply.callNotFound();
    if (!isWish(wish)) return problem(reply, 400, 'wish must be pause, resume or cancel');
    await board.jobs.steer(id, wish);
    return reply.redirect(`${STEER_PATH}${encodeURIComponent(id)}`, 303);
  });

  await app.register(board.pages);
  return app;
}

const TITLES = { 400: 'Bad Request', 401: 'Unauthorized', 403: 'Forbidden', 503: 'Service Unavailable' } as const;

/** https://www.rfc-editor.org/rfc/rfc9457#section-3.1 */
function problem(reply: FastifyReply, status: keyof typeof TITLES, detail: string): FastifyReply {
  return reply.status(status).type('application/problem+json').send({ type: 'about:blank', title: TITLES[status], status, detail });
}

function html(reply: FastifyReply, page: string): FastifyReply {
  return reply.type('text/html; charset=utf-8').send(page);
}

function isOpen({ routeOptions }: FastifyRequest): boolean {
  // What is not found has no configuration.
  return (routeOptions.config as { readonly open?: boolean } | undefined)?.open === true;
}

function isSafe({ method }: FastifyRequest): boolean {
  return method === 'GET' || method === 'HEAD';
}

/**
 * A browser sends `Origin` with everything but GET and HEAD, whatever the cookie says of sites: other ports of one
 * host are the same site. https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Origin#description
 */
function isForged(request: FastifyRequest): boolean {
  const { origin, host } = request.headers;
  return !isSafe(request) && origin !== undefined && URL.parse(origin)?.host !== host;
}

/** A path of this server, and nothing that leads elsewhere, or back to the sign-in. */
function pathOf(to: string): string {
  const isPath = /^\/(?![/\\])[\w\-./?&=%:]*$/.test(to);
  return isPath && !['/login', '/logout'].includes(to.split('?', 1)[0] ?? '') ? to : '/';
}

function whoOf({ issuer, subject, tenant }: Caller): object {
  return { issuer, subject, tenant };
}
