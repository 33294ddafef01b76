/** The gateway as an AWS Lambda function: each event is a request to the same application that listens as a process. */
import { isUtf8 } from 'node:buffer';
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { FastifyBaseLogger, FastifyInstance } from 'fastify';
import inject, { type Response } from 'light-my-request';
import type { Background } from '../background.ts';
import { problemDocument } from '../problems.ts';
import { checkEvent, type EventRequest, type GatewayEvent, requestOf } from './event.ts';
import { rememberEvent } from './identity.ts';

/** How much of the time Lambda gives is kept for the answer: who waits for an outcome then gets what is known. */
const ANSWER_MARGIN_MS = 1_000;

/** The part of Lambda's context that counts here: https://docs.aws.amazon.com/lambda/latest/dg/nodejs-context.html */
export interface GatewayContext {
  getRemainingTimeInMillis(): number;
}

/** As HTTP APIs, REST APIs and function URLs all take it. */
export interface GatewayAnswer {
  statusCode: number;
  headers: Record<string, string>;
  body: string;
  isBase64Encoded: boolean;
}

/** Rejects for what is no HTTP request (GatewayEventError), and for nothing else. */
export type GatewayHandler = (event: GatewayEvent, context: GatewayContext) => Promise<GatewayAnswer>;

export interface GatewayHandlerParts {
  /** Opens the application, with an identity of `lambdaIdentity`. Asked again, with the next event, after it failed. */
  readonly open: () => Promise<FastifyInstance>;
  /** What the application does beside its answers. Lambda freezes the process between them, so each waits for it. */
  readonly background: Background;
  readonly log: FastifyBaseLogger;
  /** See `requestOf`. */
  readonly basePath?: string | undefined;
}

/** Opens the application at once, while Lambda starts the function; a failure then is the first event's to try again. */
export async function createGatewayHandler(parts: GatewayHandlerParts): Promise<GatewayHandler> {
  const { log, background, basePath } = parts;
  let opening: Promise<FastifyInstance> | undefined;
  const open = (): Promise<FastifyInstance> =>
    (opening ??= parts.open().catch((error: unknown) => {
      opening = undefined;
      throw error;
    }));
  const openedOrLogged = (): Promise<FastifyInstance | undefined> =>
    open().catch((err: unknown) => {
      log.error({ err }, 'the gateway cannot start; the next request tries again');
      return undefined;
    });
  await openedOrLogged();

  return async (event, context) => {
    checkEvent(event);
    const request = requestOf(event, basePath);
    const app = await openedOrLogged();
    if (!app) return notStarted();
    const timesUp = new AbortController();
    const timer = setTimeout(() => timesUp.abort(), Math.max(0, context.getRemainingTimeInMillis() - ANSWER_MARGIN_MS));
    // Before the answer, which may come after the time is up.
    const ended = new Promise((resolve) => timesUp.signal.addEventListener('abort', resolve, { once: true }));
    try {
      const response = await dispatch(app, request, event, timesUp.signal);
      await Promise.race([background.settled(), ended]);
      return answerOf(response);
    } finally {
      clearTimeout(timer);
    }
  };
}

/**
 * The target goes to the application as it is. Fastify's own `inject` would first resolve it as a URL, where a key of
 * `..` takes a part of the path away.
 */
async function dispatch(app: FastifyInstance, request: EventRequest, event: GatewayEvent, timesUp: AbortSignal): Promise<Response> {
  const { method, target, headers, body, sourceIp } = request;
  return inject(
    (raw, reply) => {
      raw.url = target;
      rememberEvent(raw, event);
      timesUp.addEventListener('abort', () => hangUp(raw), { once: true });
      app.routing(raw, reply);
    },
    {
      // Its own check knows fewer methods than the application does.
      validate: false,
      method,
      url: '/',
      headers,
      ...(body ? { payload: body } : {}),
      ...(sourceIp === undefined ? {} : { remoteAddress: sourceIp }),
    },
  );
}

/** As if the client had gone: whoever waits for an outcome is answered with what is known. */
function hangUp({ socket }: IncomingMessage): void {
  Object.assign(socket, { destroyed: true });
  socket.emit('close');
}

/** Of one connection, which API Gateway has with the caller and not with the function (RFC 9110, section 7.6.1). */
const OF_THE_CONNECTION = new Set(['connection', 'keep-alive', 'transfer-encoding']);

function answerOf({ statusCode, headers, rawPayload }: Response): GatewayAnswer {
  const isText = isUtf8(rawPayload);
  return {
    statusCode,
    headers: Object.fromEntries(
      Object.entries(headers).flatMap(([name, value]) =>
        value === undefined || OF_THE_CONNECTION.has(name) ? [] : [[name, [value].flat().join(', ')]],
      ),
    ),
    body: rawPayload.toString(isText ? 'utf8' : 'base64'),
    isBase64Encoded: !isText,
  };
}

function notStarted(): GatewayAnswer {
  const correlationId = randomUUID();
  return {
    statusCode: 503,
    headers: { 'content-type': 'application/problem+json', 'correlation-id': correlationId, 'retry-after': '1' },
    body: JSON.stringify(problemDocument('unavailable', 'the gateway cannot start; its log has the reason', correlationId)),
    isBase64Encoded: false,
  };
}
