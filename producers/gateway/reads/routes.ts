/**
 * Reads skip the queues. Each goes through the stages of this folder: the query becomes a plan (query.ts), the caller
 * says how new the rows must be (consistency.ts, after.ts), single rows are taken from the cache or gathered (row-reader.ts,
 * row-cache.ts, coalescer.ts; repeats.ts before all of this), pages are read as they are (lists.ts, cursor.ts), and of each row what policy lets see is shown (rows.ts).
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Store } from '../../../ports/store/port.ts';
import { rowName } from '../../../schemas/resource/cells.ts';
import type { RegisteredResource, ResourceSource } from '../../../schemas/resource/registry.ts';
import type { Cell } from '../../../schemas/resource/table.ts';
import { type Decision, logAllowed, logsAllowed } from '../decisions.ts';
import type { Background } from '../background.ts';
import { RequestError } from '../errors.ts';
import { etagOf, noneMatch } from '../headers.ts';
import { keySegments, resourceNamed, type RowRoute } from '../paths.ts';
import { authorize, authorizeRead } from '../policy.ts';
import type { ReceiptKeys } from '../receipt-keys.ts';
import type { Statuses } from '../statuses.ts';
import { outcomeOf } from './after.ts';
import { type BatchGet, batchOf } from './batch.ts';
import type { CoalescerSettings } from './coalescer.ts';
import { type Consistency, consistencyOf, STRONG } from './consistency.ts';
import { type Access, Lists, type ListSettings } from './lists.ts';
import { fieldsOf, includedIn, listPlan, type PageLimits, type Query } from './query.ts';
import type { RowCache } from './row-cache.ts';
import type { Repeats } from './repeats.ts';
import { RowReader } from './row-reader.ts';
import { jsonRow, type JsonRow, shownRow } from './rows.ts';

export interface ReadSettings extends CoalescerSettings, ListSettings, PageLimits {
  readonly maxKeyBytes: number;
  /** The longest wait for the outcome that a read comes after. */
  readonly maxWaitSeconds: number;
}

interface Reading extends Access {
  readonly consistency: Consistency;
}

interface ListRoute extends RowRoute {
  Querystring: Query;
}

export function readRoutes(
  app: FastifyInstance,
  parts: {
    resources: ResourceSource;
    store: Store;
    rowCache: RowCache;
    repeats: Repeats;
    statuses: Statuses;
    receiptKeys: ReceiptKeys;
    background: Background;
    settings: ReadSettings;
  },
): void {
  const { resources, repeats, settings } = parts;
  const rows = new RowReader(parts.store, parts.rowCache, parts.background, settings);
  const lists = new Lists(parts.store, parts.receiptKeys, settings);

  /** What the caller may read of the resource, and how new it must be. */
  function begin(request: FastifyRequest<ListRoute>): Reading {
    const resource = resourceNamed(resources, request.params.resource);
    const grant = authorize(request.caller, resource, 'read');
    const consistency = consistencyOf(request.headers, standardOf(resource));
    return { tenant: request.caller.tenant, resource, grant, consistency };
  }

  async function waitFor(request: FastifyRequest, { after }: Consistency): Promise<void> {
    if (after !== undefined) await outcomeOf(after, request, { ...parts, maxWaitSeconds: settings.maxWaitSeconds });
  }

  app.get<ListRoute>('/:resource', async (request, reply) => sendPage(request, reply, begin(request), []));

  app.get<ListRoute>('/:resource/*', async (request, reply) => {
    const access = begin(request);
    const segments = keySegments(request);
    if (segments.length < access.resource.key.length && !segments.includes('')) return sendPage(request, reply, access, segments);
    const key = access.resource.validators.key(segments, settings.maxKeyBytes);
    return sendRow(request, reply, access, key);
  });

  app.post<ListRoute>('/:resource(^[a-z0-9-]+)::batchGet', { config: { reads: true } }, async (request, reply) => {
    const access = begin(request);
    const batch = batchOf(access.resource, request.body, settings);
    return sendBatch(request, reply, access, batch);
  });

  async function sendPage(
    request: FastifyRequest<ListRoute>,
    reply: FastifyReply,
    access: Reading,
    path: readonly string[],
  ): Promise<unknown> {
    const { resource, consistency } = access;
    const plan = listPlan(resource, path, request.query, settings);
    const wanted = fieldsOf(resource, request.query);
    await waitFor(request, consistency);
    const { readTimestamp, ...page } = await lists.page(access, plan, wanted, consistency);
    logAllowed(request, { action: 'read', resource: resource.name, rows: page.items.length }, 'listed');
    void reply.header('read-timestamp', readTimestamp);
    return page;
  }

  async function sendRow(request: FastifyRequest<ListRoute>, reply: FastifyReply, access: Reading, key: readonly Cell[]): Promise<unknown> {
    const { tenant, resource, grant, consistency } = access;
    const { fields } = authorizeRead(grant, resource, key);
    const wanted = fieldsOf(resource, request.query);
    const children = includedIn(resource, request.query, resources.current).map((child) => ({
      tenant,
      resource: child,
      grant: authorize(request.caller, child, 'read'),
    }));
    const decisionOn = (of: RegisteredResource, found: number): Decision => ({
      action: 'read',
      resource: of.name,
      row: rowName(resource.name, key),
      rows: found,
    });
    const logRead = (of: RegisteredResource, rows: number): void => {
      if (logsAllowed(request.log)) logAllowed(request, decisionOn(of, rows), 'read');
    };
    await waitFor(request, consistency);
    if (children.length > 0) {
      const found = await lists.withChildren(access, key, children, consistency);
      void reply.header('read-timestamp', found.readTimestamp);
      logRead(resource, found.row ? 1 : 0);
      if (!found.row) throw noRow(resource);
      for (const child of children) logRead(child.resource, found.children[child.resource.name]?.length ?? 0);
      // Of the children the row's version says nothing, so there is no ETag.
      return { ...shownRow(found.row, { resource, readable: fields, wanted }), ...found.children };
    }
    const found = await rows.read(resource, tenant, key, consistency);
    const { text, readTimestamp, currentAtMs, fromCache, entry } = found;
    // A field as any other: who may not read it is not told of it by the ETag either.
    const isVersionShown = !fields || (resource.version !== undefined && fields.has(resource.version.name));
    const version = isVersionShown ? found.version : undefined;
    const headers = {
      'read-timestamp': readTimestamp,
      ...(resource.cache ? { 'cache-status': CACHE_STATUS[fromCache ?? 'none'] } : {}),
      ...(version === undefined ? {} : { etag: etagOf(version) }),
    };
    void reply.headers(headers);
    logRead(resource, text === undefined ? 0 : 1);
    if (text === undefined) throw noRow(resource);
    if (version !== undefined && !noneMatch(request.headers, version)) return reply.code(304).send();
    void reply.type(JSON_TYPE);
    const body = fields || wanted ? JSON.stringify(shownRow(JSON.parse(text) as JsonRow, { resource, readable: fields, wanted })) : text;
    if (fromCache === 'fresh' && entry)
      repeats.keep(request.raw, {
        caller: request.caller,
        resource,
        entry,
        currentAtMs,
        maxStalenessMs: consistency.maxStalenessMs,
        headers: { ...headers, 'content-type': JSON_TYPE },
        body,
        decision: decisionOn(resource, 1),
      });
    return body;
  }

  async function sendBatch(
    request: FastifyRequest<ListRoute>,
    reply: FastifyReply,
    access: Reading,
    { keys, wanted }: BatchGet,
  ): Promise<unknown> {
    const { resource, grant, consistency } = access;
    const views = keys.map((key) => ({ resource, readable: authorizeRead(grant, resource, key).fields, wanted }));
    await waitFor(request, consistency);
    const found = await lists.byKeys(access, keys, consistency);
    const rows = found.rows.filter((row) => row !== undefined).length;
    logAllowed(request, { action: 'read', resource: resource.name, row: rowName(resource.name, keys[0] ?? []), rows }, 'read');
    void reply.header('read-timestamp', found.readTimestamp);
    const items = views.map((view, i) => {
      const cells = found.rows[i];
      return cells ? shownRow(jsonRow(resource.fields, cells), view) : null;
    });
    return { items };
  }
}

const JSON_TYPE = 'application/json; charset=utf-8';

/** https://www.rfc-editor.org/rfc/rfc9211 */
const CACHE_STATUS = { fresh: 'spanway; hit', stale: 'spanway; hit; detail=stale-if-error', none: 'spanway; fwd=miss' };

/** What a read gets that does not say how new it must be. */
function standardOf({ cache }: RegisteredResource): Consistency {
  return cache?.byDefault ? { maxStalenessMs: cache.seconds * 1000, staleIfErrorMs: 0 } : STRONG;
}

function noRow(resource: RegisteredResource): RequestError {
  return new RequestError('row_not_found', `there is no row with this key in ${resource.name}`);
}
