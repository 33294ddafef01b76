/** What the gateway tells of itself: its API as an OpenAPI document, and a page that shows it. */
import { createRequire } from 'node:module';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';
import { type ApiFacts, type OpenApiDocument, openApiDocument } from '../../schemas/openapi/document.ts';
import type { ResourceSet, ResourceSource } from '../../schemas/resource/registry.ts';
import { RequestError } from './errors.ts';
import { PROBLEM_TYPES } from './problems.ts';

export type OpenApiSettings = Omit<ApiFacts, 'version' | 'problems'>;

/** By the package's own name, so that it is found from the sources and from what `npm pack` compiles. */
const { version } = createRequire(import.meta.url)('spanway/package.json') as { version: string };

/** The document of a gateway with these resources. */
export function describeGateway(
  resources: ResourceSet,
  { maxMutations, maxWaitSeconds, pageRows, maxPageRows }: OpenApiSettings,
): OpenApiDocument {
  return openApiDocument(resources, { version, problems: PROBLEM_TYPES, maxMutations, maxWaitSeconds, pageRows, maxPageRows });
}

/**
 * The page brings its scripts and styles along, and the browser is told to fetch nothing from elsewhere. Swagger UI
 * sets styles on its elements, and has pictures inside its style sheet.
 */
const PAGE_POLICY =
  "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'";

export function openApiRoutes(app: FastifyInstance, parts: { resources: ResourceSource; settings: OpenApiSettings }): void {
  const { resources, settings } = parts;
  let made: { readonly resources: ResourceSet; readonly document: OpenApiDocument; readonly text: string } | undefined;
  /** Made anew when the resource files have changed. */
  const current = () => {
    if (made?.resources !== resources.current) {
      const document = describeGateway(resources.current, settings);
      made = { resources: resources.current, document, text: JSON.stringify(document) };
    }
    return made;
  };

  app.get('/openapi.json', (_request, reply) => reply.type('application/json; charset=utf-8').send(current().text));

  // The page's plugin will have a document of its own from this one, and then asks for the current one with each request.
  void app.register(swagger, {
    mode: 'static',
    specification: { document: { openapi: '3.1.1', info: { title: 'Spanway', version }, paths: {} } },
  });
  void app.register(swaggerUi, {
    routePrefix: '/docs',
    theme: { title: 'Spanway' },
    // Without the bar at the top, which loads documents from other addresses.
    uiConfig: { layout: 'BaseLayout' },
    staticCSP: PAGE_POLICY,
    transformSpecification: () => current().document,
    transformSpecificationClone: false,
    uiHooks: {
      onRequest: (request, _reply, done) => {
        // Nothing needs it, and anyone could have it made again and again.
        done(request.routeOptions.url === '/docs/yaml' ? new RequestError('unknown_route', 'the document is at /openapi.json') : undefined);
      },
    },
  });
}
