/**
 * The events that API Gateway and function URLs give a Lambda function, as HTTP requests.
 * https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
 * https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
 * https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
 */
import { SpanwayError } from '../../../schemas/errors.ts';

/** Payload format 2.0: an HTTP API or a function URL. What of it is used. */
export interface HttpApiEvent {
  readonly rawPath: string;
  readonly rawQueryString: string;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly cookies?: readonly string[] | undefined;
  readonly body?: string | null | undefined;
  readonly isBase64Encoded: boolean;
  readonly requestContext: {
    readonly stage: string;
    /** A function URL's is `ID.lambda-url.REGION.on.aws`; there is no other way to tell the two apart. */
    readonly domainName?: string;
    readonly http: { readonly method: string; readonly sourceIp: string };
    readonly authorizer?: unknown;
  };
}

/** A REST API. What of it is used. */
export interface RestApiEvent {
  readonly httpMethod: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string | undefined>> | null;
  readonly multiValueHeaders?: Readonly<Record<string, readonly string[] | undefined>> | null;
  readonly queryStringParameters?: Readonly<Record<string, string | undefined>> | null;
  readonly multiValueQueryStringParameters?: Readonly<Record<string, readonly string[] | undefined>> | null;
  readonly body: string | null;
  readonly isBase64Encoded: boolean;
  readonly requestContext: { readonly stage: string; readonly identity: unknown; readonly authorizer?: unknown };
}

export type GatewayEvent = HttpApiEvent | RestApiEvent;

/** The function is wired to something else than API Gateway or a function URL: there is no HTTP request to answer. */
export class GatewayEventError extends SpanwayError {
  override readonly name = 'GatewayEventError';
  constructor(message: string) {
    super('gateway_event', message);
  }
}

export function isHttpApiEvent(event: GatewayEvent): event is HttpApiEvent {
  return 'rawPath' in event;
}

/** @throws GatewayEventError */
export function checkEvent(event: unknown): asserts event is GatewayEvent {
  const { rawPath, path, httpMethod, requestContext } = (event ?? {}) as Record<string, unknown>;
  const context = (requestContext ?? {}) as { http?: { method?: unknown }; elb?: unknown };
  const isHttpApi = typeof rawPath === 'string' && typeof context.http?.method === 'string';
  const isRestApi = typeof path === 'string' && typeof httpMethod === 'string' && requestContext !== undefined && context.elb === undefined;
  if (!isHttpApi && !isRestApi)
    throw new GatewayEventError(
      'this is no event of an HTTP API (payload format 2.0), a REST API with proxy integration, or a function URL',
    );
}

export interface EventRequest {
  readonly method: string;
  /** Path and query, as they stand in a request line. */
  readonly target: string;
  readonly headers: Readonly<Record<string, string | string[]>>;
  readonly body: Buffer | undefined;
  readonly sourceIp: string | undefined;
}

/** `basePath`: what stands before the API's own paths, and is taken away where it does. */
export function requestOf(event: GatewayEvent, basePath = ''): EventRequest {
  const isHttpApi = isHttpApiEvent(event);
  const body = typeof event.body === 'string' ? Buffer.from(event.body, event.isBase64Encoded ? 'base64' : 'utf8') : undefined;
  const isDecoded = isHttpApi && !/\.lambda-url\./.test(event.requestContext.domainName ?? '');
  const path = escaped(without(basePath, isHttpApi ? without(stageOf(event), event.rawPath) : event.path), isDecoded);
  const query = isHttpApi ? event.rawQueryString : queryOf(event);
  const { 'transfer-encoding': _coding, ...headers } = isHttpApi ? httpApiHeaders(event) : restApiHeaders(event);
  return {
    method: isHttpApi ? event.requestContext.http.method : event.httpMethod,
    target: query ? `${path}?${query}` : path,
    // A REST API gives none, and the length of what was decoded is another than that of what was sent.
    headers: body ? { ...headers, 'content-length': String(body.length) } : headers,
    body,
    sourceIp: isHttpApi ? event.requestContext.http.sourceIp : (event.requestContext.identity as { sourceIp?: string } | null)?.sourceIp,
  };
}

/** A named stage stands before the path of an HTTP API, also on a domain of one's own, where the caller did not write it. */
function stageOf({ requestContext: { stage } }: HttpApiEvent): string {
  return stage === '$default' ? '' : `/${stage}`;
}

function without(prefix: string, path: string): string {
  return prefix !== '' && (path === prefix || path.startsWith(`${prefix}/`)) ? path.slice(prefix.length) || '/' : path;
}

/**
 * A REST API and a function URL give the path as it was sent, and so it stays. An HTTP API decodes it, and some of it
 * twice (seen in July 2026: https://github.com/hotsock/voker/blob/main/vokerhttp/testdata/ingress-paths.json): what
 * cannot stand in a path is encoded again, so that a `?` or `#` of a key does not end the path.
 */
function escaped(path: string, isDecoded: boolean): string {
  const encode = (char: string): string => (char.isWellFormed() ? encodeURIComponent(char) : '%');
  return path.replace(isDecoded ? /%(?![0-9A-Fa-f]{2})|[^\w.~!$&'()*+,;=:@/%-]/gu : /[^\w.~!$&'()*+,;=:@/%-]/gu, encode);
}

/** A REST API gives the query decoded. */
function queryOf({ multiValueQueryStringParameters: lists, queryStringParameters: single }: RestApiEvent): string {
  const query = new URLSearchParams();
  for (const [name, values] of Object.entries<string | readonly string[] | undefined>(lists ?? single ?? {}))
    for (const value of typeof values === 'string' ? [values] : (values ?? [])) query.append(name, value);
  return query.toString();
}

/** Names in lower case; a header that was sent several times has its values with commas between them. */
function httpApiHeaders({ headers, cookies }: HttpApiEvent): Record<string, string | string[]> {
  return { ...named(headers), ...(cookies && cookies.length > 0 ? { cookie: cookies.join('; ') } : {}) };
}

function restApiHeaders({ headers, multiValueHeaders }: RestApiEvent): Record<string, string | string[]> {
  return named(multiValueHeaders ?? headers ?? {});
}

function named(headers: Readonly<Record<string, string | readonly string[] | undefined>>): Record<string, string | string[]> {
  const lists = new Map<string, string[]>();
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined) continue;
    const key = name.toLowerCase();
    lists.set(key, [...(lists.get(key) ?? []), ...(typeof value === 'string' ? [value] : value)]);
  }
  return Object.fromEntries(lists);
}
