/** Resources and keys in paths. */
import type { FastifyRequest } from 'fastify';
import type { RegisteredResource, ResourceSource } from '../../schemas/resource/registry.ts';
import { RequestError } from './errors.ts';

export interface RowRoute {
  Params: { resource: string };
}

export function resourceNamed(resources: ResourceSource, name: string): RegisteredResource {
  const resource = resources.current.get(name);
  if (!resource) throw new RequestError('unknown_resource', `there is no resource ${JSON.stringify(name)}`);
  return resource;
}

/** The key's segments, each decoded by itself, so that an encoded slash stays inside its segment. */
export function keySegments(request: FastifyRequest): readonly string[] {
  const target = request.raw.url ?? '';
  // Servers take a whole URL as the target too: https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2
  const path = target.startsWith('/') ? target : target.replace(/^https?:\/\/[^/]*/i, '');
  const [, , , ...segments] = (path.split('?', 1)[0] ?? '').split('/');
  try {
    return segments.map(decodeURIComponent);
  } catch (cause) {
    throw new RequestError('unknown_route', 'the path holds a malformed percent-encoding', { cause });
  }
}
