/**
 * The HTTP API of a set of resources as an OpenAPI document: https://spec.openapis.org/oas/v3.1.1.html
 * What no access rule allows is left out: nobody can call it.
 */
import type { WriteAction } from '../resource/access.ts';
import type { Resource } from '../resource/define.ts';
import type { ResourceSet } from '../resource/registry.ts';
import { keyField, readField, type Schema, sentField } from './fields.ts';
import { componentName, defined, mutationName, operationId, scopesFor } from './names.ts';
import { batchGet, listPaths, rowRead, rowsList } from './reads.ts';
import {
  ANY_CALL,
  commonSchemas,
  type ProblemName,
  HEADERS,
  headersOf,
  jsonOf,
  keyParameters,
  OF_BODY,
  OF_RESOURCE,
  OF_ROW,
  parameter,
  parameters,
  ProblemAnswers,
  type Problems,
  RATE_HEADERS,
  schema,
} from './shared.ts';

/** What the document says of the gateway besides its resources. */
export interface ApiFacts {
  /** Of Spanway. */
  readonly version: string;
  readonly problems: Problems;
  /** Mutations of one submission. */
  readonly maxMutations: number;
  /** The longest wait for an outcome. */
  readonly maxWaitSeconds: number;
  /** Rows of a page where the caller gives no limit. */
  readonly pageRows: number;
  /** Rows of a page, children with a row, and keys of a batch, at most. */
  readonly maxPageRows: number;
}

export interface OpenApiDocument {
  readonly openapi: '3.1.1';
  readonly info: { readonly title: string; readonly version: string; readonly description: string };
  readonly paths: Readonly<Record<string, Schema>>;
  readonly components: Readonly<Record<string, Schema>>;
  readonly [member: string]: unknown;
}

export function openApiDocument(resources: ResourceSet, facts: ApiFacts): OpenApiDocument {
  const answers = new ProblemAnswers(facts.problems);
  const all = resources.all();
  const paths = {
    ...Object.assign({}, ...all.map((resource) => resourcePaths(resource, all, facts, answers))),
    ...submissionPaths(all, answers),
    ...servicePaths(facts.problems, answers),
  } as Record<string, Schema>;
  return {
    openapi: '3.1.1',
    info: {
      title: 'Spanway',
      version: facts.version,
      description:
        'Writes are accepted with a receipt (202), queued, and applied to the database once and in order. Reads go straight to it: rows by their keys, and pages of rows by the key or an index.',
    },
    servers: [{ url: '/' }],
    tags: [...all.map(({ name }) => ({ name })), { name: 'submissions' }, { name: 'service' }],
    paths,
    components: {
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } },
      schemas: {
        ...Object.assign({}, ...all.map(resourceSchemas)),
        ...(all.some(isWritable) ? { Submission: submissionSchema(all.filter(isWritable), facts.maxMutations) } : {}),
        ...commonSchemas(facts.problems),
      } as Schema,
      parameters: parameters(facts),
      headers: HEADERS,
      responses: answers.components,
    },
  };
}

const OF_WRITE: readonly ProblemName[] = ['conditions_unsupported', 'idempotency_key_reused', 'too_large'];

const TRACE_PARAMETERS = [parameter('correlationId'), parameter('traceparent'), parameter('tracestate')];
const WRITE_PARAMETERS = [parameter('idempotencyKey'), parameter('prefer'), ...TRACE_PARAMETERS];

const ROW_WRITES = {
  upsert: 'Write the whole row, whether it is there or not. An optional field that is left out becomes null.',
  update:
    'Change the named fields (JSON Merge Patch, RFC 7396). Null clears; an object given for a JSON field merges into what is there. A row that is missing rejects it: `not_found`.',
  delete: 'Delete the row. One that is missing is already deleted.',
} as const satisfies Partial<Record<WriteAction, string>>;

function resourcePaths(resource: Resource, all: readonly Resource[], facts: ApiFacts, answers: ProblemAnswers): Schema | undefined {
  const { name, key } = resource;
  const ofAll = defined({ get: rowsList(resource, [], facts, answers), post: insert(resource, answers) });
  const ofRow = defined({
    get: rowRead(resource, all, answers),
    put: rowWrite(resource, 'upsert', answers),
    patch: rowWrite(resource, 'update', answers),
    delete: rowWrite(resource, 'delete', answers),
  });
  return defined({
    [`/v1/${name}`]: ofAll,
    [`/v1/${name}:batchGet`]: defined({ post: batchGet(resource, facts, answers) }),
    ...listPaths(resource, facts, answers),
    [`/v1/${name}/${key.map((field) => `{${field.name}}`).join('/')}`]: ofRow && { parameters: keyParameters(key), ...ofRow },
  });
}

function rowWrite(resource: Resource, action: keyof typeof ROW_WRITES, answers: ProblemAnswers): Schema | undefined {
  const security = scopesFor(resource, action);
  if (!security) return undefined;
  const body = action === 'delete' ? undefined : schema(componentName(resource, action));
  const content = body && { ...jsonOf(body), ...(action === 'update' ? { 'application/merge-patch+json': { schema: body } } : {}) };
  return {
    operationId: operationId(action, resource),
    tags: [resource.name],
    description: ROW_WRITES[action],
    security,
    parameters: [...WRITE_PARAMETERS, ...(resource.version ? [parameter('ifMatch')] : [])],
    ...(content ? { requestBody: { required: true, content } } : {}),
    responses: { ...WRITE_ANSWERS, ...answers.of([...OF_ROW, ...OF_WRITE, ...(content ? OF_BODY : [])]) },
  };
}

function insert(resource: Resource, answers: ProblemAnswers): Schema | undefined {
  const security = scopesFor(resource, 'insert');
  if (!security) return undefined;
  const generated = resource.key.filter((field) => field.generated).map((field) => `\`${field.name}\``);
  const made = generated.length > 0 ? ` Where the body leaves out ${generated.join(', ')}, it is made.` : '';
  return {
    operationId: operationId('insert', resource),
    tags: [resource.name],
    description: `Insert a row, with its key in the body.${made} A row that is there rejects it: \`already_exists\`.`,
    security,
    parameters: WRITE_PARAMETERS,
    requestBody: { required: true, content: jsonOf(schema(componentName(resource, 'insert'))) },
    responses: { ...WRITE_ANSWERS, ...answers.of([...OF_RESOURCE, ...OF_WRITE, ...OF_BODY]) },
  };
}

const WRITE_ANSWERS = {
  200: {
    description: 'The outcome, which was waited for (`Prefer: wait`). Also of a write that was rejected: look at `status`.',
    headers: headersOf('Preference-Applied', ...RATE_HEADERS),
    content: jsonOf(schema('Status')),
  },
  202: {
    description: 'Accepted: it is on the queue.',
    headers: headersOf('Location', ...RATE_HEADERS),
    content: jsonOf(schema('Receipt')),
  },
};

function submissionPaths(all: readonly Resource[], answers: ProblemAnswers): Record<string, Schema> {
  return {
    ...(all.some(isWritable) ? { '/v1/submissions': { post: submit(answers) } } : {}),
    '/v1/submissions/{id}': {
      parameters: [{ name: 'id', in: 'path', required: true, description: 'Of the receipt.', schema: { type: 'string' } }],
      get: {
        operationId: 'getSubmission',
        tags: ['submissions'],
        description: 'What became of a submission. Only the tenant that submitted it finds it.',
        security: [{ bearer: [] }],
        parameters: [parameter('wait'), parameter('correlationId')],
        responses: {
          200: { description: 'The status.', headers: headersOf(...RATE_HEADERS), content: jsonOf(schema('Status')) },
          ...answers.of([...ANY_CALL, 'submission_not_found']),
        },
      },
    },
  };
}

function submit(answers: ProblemAnswers): Schema {
  return {
    operationId: 'submit',
    tags: ['submissions'],
    description:
      'Several mutations of one aggregate (a root row and its children), together or not at all. Each needs a scope that allows it.',
    security: [{ bearer: [] }],
    parameters: WRITE_PARAMETERS,
    requestBody: { required: true, content: jsonOf(schema('Submission')) },
    responses: {
      ...WRITE_ANSWERS,
      ...answers.of([...ANY_CALL, 'forbidden', 'validation', 'one_aggregate', ...OF_WRITE, ...OF_BODY]),
    },
  };
}

/** The routes that need no token. */
function servicePaths(problems: Problems, answers: ProblemAnswers): Record<string, Schema> {
  const get = (id: string, description: string, responses: Schema): Schema => ({
    operationId: id,
    tags: ['service'],
    description,
    security: [],
    responses: { ...responses, ...answers.of(['internal']) },
  });
  const answer = (description: string, content: Schema): Schema => ({ description, headers: headersOf(), content });
  const readiness = jsonOf(schema('Readiness'));
  return {
    '/healthz': {
      get: get('getHealth', 'Whether the process answers.', {
        200: answer('It does.', jsonOf({ type: 'object', required: ['status'], properties: { status: { const: 'ok' } } })),
      }),
    },
    '/readyz': {
      get: get('getReadiness', 'Whether writes can be taken.', {
        200: answer('They can; `degraded` while the database does not answer.', readiness),
        503: answer('The queue does not answer.', readiness),
      }),
    },
    '/problems/{name}': {
      parameters: [{ name: 'name', in: 'path', required: true, schema: { enum: Object.keys(problems) } }],
      get: get('getProblem', 'What a problem type means.', {
        200: answer('Its explanation.', { 'text/plain': { schema: { type: 'string' } } }),
        ...answers.of(['unknown_route']),
      }),
    },
    '/openapi.json': {
      get: get('getOpenApi', 'This document. It follows the resource files.', {
        200: answer('An OpenAPI document.', jsonOf({ type: 'object', required: ['openapi', 'info', 'paths'] })),
      }),
    },
    '/docs': {
      get: get('getDocs', 'This document as a page.', { 200: answer('The page.', { 'text/html': { schema: { type: 'string' } } }) }),
    },
  };
}

/** The bodies that a resource's routes take and give. */
function resourceSchemas(resource: Resource): Record<string, Schema> {
  const { name, fields, key } = resource;
  const writable = fields.filter((field) => !field.version);
  const sent = {
    type: 'object',
    additionalProperties: false,
    properties: Object.fromEntries(writable.map((field) => [field.name, key.includes(field) ? keyField(field, 'sent') : sentField(field)])),
  };
  const upsert = schema(componentName(resource, 'upsert'));
  const keyToSend = key.filter((field) => !field.generated).map((field) => field.name);
  return {
    [componentName(resource, 'read')]: {
      type: 'object',
      description: `A row of ${name}. A field is missing where \`fields\` leaves it out, or policy does.`,
      properties: Object.fromEntries(fields.map((field) => [field.name, readField(field)])),
    },
    [componentName(resource, 'upsert')]: {
      ...sent,
      description: `A whole row of ${name}. It may repeat the key if it agrees.`,
      required: writable.filter((field) => !field.nullable && !key.includes(field)).map((field) => field.name),
    },
    [componentName(resource, 'insert')]: keyToSend.length > 0 ? { allOf: [upsert, { type: 'object', required: keyToSend }] } : upsert,
    [componentName(resource, 'update')]: { ...sent, description: `Fields of ${name} to change.`, minProperties: 1 },
    ...(isWritable(resource) ? { [mutationName(resource)]: { oneOf: mutationSchemas(resource) } } : {}),
  };
}

function mutationSchemas(resource: Resource): Schema[] {
  const mutation = (op: WriteAction, others: Record<string, Schema>): Schema => {
    const properties = { op: { const: op }, resource: { const: resource.name }, ...others };
    return { type: 'object', additionalProperties: false, required: Object.keys(properties), properties };
  };
  const key: Schema = {
    type: 'array',
    prefixItems: resource.key.map((field) => keyField(field, 'sent')),
    minItems: resource.key.length,
    maxItems: resource.key.length,
  };
  const row = schema(componentName(resource, 'upsert'));
  const allowed = (action: WriteAction, ...schemas: Schema[]): Schema[] => (scopesFor(resource, action) ? schemas : []);
  return [
    // With the key beside the value, or in it.
    ...allowed('insert', mutation('insert', { key, value: row }), mutation('insert', { value: schema(componentName(resource, 'insert')) })),
    ...allowed('upsert', mutation('upsert', { key, value: row })),
    ...allowed('update', mutation('update', { key, value: schema(componentName(resource, 'update')) })),
    ...allowed('delete', mutation('delete', { key })),
  ];
}

function submissionSchema(writable: readonly Resource[], maxMutations: number): Schema {
  return {
    type: 'object',
    additionalProperties: false,
    required: ['mutations'],
    properties: {
      mutations: {
        type: 'array',
        minItems: 1,
        maxItems: maxMutations,
        items: { oneOf: writable.map((resource) => schema(mutationName(resource))) },
      },
    },
  };
}

function isWritable(resource: Resource): boolean {
  return resource.access.some((rule) => rule.actions.some((action) => action !== 'read'));
}
