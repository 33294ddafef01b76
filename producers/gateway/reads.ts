/** Reads skip the queues: the row by its key, strong. */
import type { FastifyInstance } from 'fastify';
import type { Store } from '../../ports/store/port.ts';
import { decodeCell } from '../../schemas/resource/cells.ts';
import type { ResourceSource } from '../../schemas/resource/registry.ts';
import { RequestError } from './errors.ts';
import { etagOf, noneMatch } from './headers.ts';
import { keySegments, type RowRoute, resourceNamed } from './paths.ts';
import { authorize } from './policy.ts';

export function readRoutes(app: FastifyInstance, parts: { resources: ResourceSource; store: Store }): void {
  app.get<RowRoute>('/:resource/*', async (request, reply) => {
    const resource = resourceNamed(parts.resources, request.params.resource);
    authorize(request.caller, resource, 'read');
    const key = resource.validators.key(keySegments(request));
    const columns = resource.fields.map((f) => f.column);
    const [cells] = await parts.store.read(resource.table, [[request.caller.tenant, ...key]], columns);
    if (!cells) throw new RequestError('row_not_found', `there is no row with this key in ${resource.name}`);
    if (resource.version) {
      const version = String(cells[resource.fields.indexOf(resource.version)]);
      void reply.header('etag', etagOf(version));
      if (!noneMatch(request.headers, version)) return reply.code(304).send();
    }
    return Object.fromEntries(resource.fields.map((f, i) => [f.name, decodeCell(f.type, cells[i] ?? null, f.asNumber)]));
  });
}
