/** Reads skip the queues: the row by its key, strong. */
import type { FastifyInstance } from 'fastify';
import type { Store } from '../../ports/store/port.ts';
import { decodeCell } from '../../schemas/resource/cells.ts';
import type { ResourceSource } from '../../schemas/resource/registry.ts';
import { logAllowed } from './audit.ts';
import { RequestError } from './errors.ts';
import { etagOf, noneMatch } from './headers.ts';
import { keySegments, resourceNamed, rowName, type RowRoute } from './paths.ts';
import { authorize, authorizeRead } from './policy.ts';

export function readRoutes(app: FastifyInstance, parts: { resources: ResourceSource; store: Store }): void {
  app.get<RowRoute>('/:resource/*', async (request, reply) => {
    const resource = resourceNamed(parts.resources, request.params.resource);
    const grant = authorize(request.caller, resource, 'read');
    const key = resource.validators.key(keySegments(request));
    const readable = authorizeRead(grant, resource, key);
    logAllowed(request, { action: 'read', resource: resource.name, row: rowName(resource, key) }, 'read');
    const columns = resource.fields.map((f) => f.column);
    const [cells] = await parts.store.read(resource.table, [[request.caller.tenant, ...key]], columns);
    if (!cells) throw new RequestError('row_not_found', `there is no row with this key in ${resource.name}`);
    if (resource.version) {
      const version = String(cells[resource.fields.indexOf(resource.version)]);
      void reply.header('etag', etagOf(version));
      if (!noneMatch(request.headers, version)) return reply.code(304).send();
    }
    const shown = resource.fields.flatMap((field, i) =>
      readable && !readable.has(field.name) && !resource.key.includes(field) ? [] : [[field, cells[i] ?? null] as const],
    );
    return Object.fromEntries(shown.map(([field, cell]) => [field.name, decodeCell(field.type, cell, field.asNumber)]));
  });
}
