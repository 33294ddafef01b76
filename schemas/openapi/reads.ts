/** The operations that read. */
import type { Resource } from '../resource/define.ts';
import { orderOf } from '../resource/table.ts';
import type { ApiFacts } from './document.ts';
import { keyField, readField, type Schema } from './fields.ts';
import { componentName, operationId, pascalCase, scopesFor } from './names.ts';
import {
  ANY_CALL,
  headersOf,
  jsonOf,
  keyParameters,
  OF_BODY,
  OF_RESOURCE,
  OF_ROW,
  parameter,
  RATE_HEADERS,
  type ProblemAnswers,
  schema,
} from './shared.ts';

type PageFacts = Pick<ApiFacts, 'pageRows' | 'maxPageRows'>;

const READ_PARAMETERS = [parameter('correlationId'), parameter('readConsistency')];

export function rowRead(resource: Resource, all: readonly Resource[], answers: ProblemAnswers): Schema | undefined {
  const security = scopesFor(resource, 'read');
  if (!security) return undefined;
  const version = [...(resource.version ? (['ETag'] as const) : []), ...(resource.cache ? (['Cache-Status'] as const) : [])];
  const children = all.filter((child) => child.parent?.resource === resource.name && scopesFor(child, 'read') !== undefined);
  const row = schema(componentName(resource, 'read'));
  return {
    operationId: operationId('read', resource),
    tags: [resource.name],
    description: 'The row.',
    security,
    parameters: [
      ...READ_PARAMETERS,
      ...(resource.version ? [parameter('ifNoneMatch')] : []),
      parameter('fields'),
      ...(children.length > 0 ? [includeParameter(children)] : []),
    ],
    responses: {
      200: {
        description: 'The row.',
        headers: headersOf(...RATE_HEADERS, 'Read-Timestamp', ...version),
        content: jsonOf(children.length > 0 ? { allOf: [row, childrenSchema(children)] } : row),
      },
      ...(resource.version
        ? { 304: { description: 'The row has a version that you have.', headers: headersOf(...RATE_HEADERS, 'Read-Timestamp', 'ETag') } }
        : {}),
      ...answers.of([...OF_ROW, 'row_not_found', ...(children.length > 0 ? (['too_large'] as const) : [])]),
    },
  };
}

function includeParameter(children: readonly Resource[]): Schema {
  return {
    name: 'include',
    in: 'query',
    description: `Children of the row to give with it, of the same moment, separated by commas: ${children.map(({ name }) => name).join(', ')}. Then the answer has no ETag.`,
    schema: { type: 'string' },
  };
}

function childrenSchema(children: readonly Resource[]): Schema {
  return {
    type: 'object',
    properties: Object.fromEntries(
      children.map((child) => [child.name, { type: 'array', description: 'With `include`.', items: schema(componentName(child, 'read')) }]),
    ),
  };
}

/** Lists by the first parts of the key, for keys of several parts. */
export function listPaths(resource: Resource, facts: PageFacts, answers: ProblemAnswers): Record<string, Schema | undefined> {
  return Object.fromEntries(
    resource.key.slice(1).map((_field, i) => {
      const parts = resource.key.slice(0, i + 1).map((field) => field.name);
      const get = rowsList(resource, parts, facts, answers);
      const path = `/v1/${resource.name}/${parts.map((part) => `{${part}}`).join('/')}`;
      return [path, get && { parameters: keyParameters(resource.key.slice(0, i + 1)), get }];
    }),
  );
}

/** `given`: the parts of the key that the path has. */
export function rowsList(
  resource: Resource,
  given: readonly string[],
  { pageRows, maxPageRows }: PageFacts,
  answers: ProblemAnswers,
): Schema | undefined {
  const security = scopesFor(resource, 'read');
  if (!security) return undefined;
  const query = (name: string, description: string, content: Schema): Schema => ({ name, in: 'query', description, schema: content });
  const by =
    given.length > 0 ? `By${given.map((part) => pascalCase(part.replaceAll(/[A-Z]/g, (c) => `-${c.toLowerCase()}`))).join('And')}` : '';
  return {
    operationId: `${operationId('list', resource)}${by}`,
    tags: [resource.name],
    description:
      'A page of rows, in the order of the key or of the index that the filters pick: they give values of its first fields, and a range of the one after those. Rows that the caller may not read are left out of the page.',
    security,
    parameters: [
      ...READ_PARAMETERS,
      parameter('fields'),
      ...filterParameters(resource, given),
      query('order', 'Of the key or index.', { enum: ['asc', 'desc'], default: 'asc' }),
      query('limit', `Rows of the page; at most ${maxPageRows}, to which a higher one is cut.`, {
        type: 'integer',
        minimum: 1,
        maximum: 999_999_999,
        default: Math.min(pageRows, maxPageRows),
      }),
      query('cursor', '`nextCursor` of the page before, with the same filters and order.', { type: 'string' }),
    ],
    responses: {
      200: {
        description: 'The page.',
        headers: headersOf(...RATE_HEADERS, 'Read-Timestamp'),
        content: jsonOf({
          type: 'object',
          required: ['items'],
          properties: {
            items: { type: 'array', items: schema(componentName(resource, 'read')) },
            nextCursor: { type: 'string', description: 'Opaque. There where more rows follow.' },
          },
        }),
      },
      ...answers.of([
        ...ANY_CALL,
        'unserved_filter',
        'forbidden',
        'unknown_resource',
        ...(given.length > 0 ? (['unknown_route'] as const) : []),
      ]),
    },
  };
}

function filterParameters(resource: Resource, given: readonly string[]): readonly Schema[] {
  const { table, key, fields } = resource;
  const inIndexes = table.indexes.flatMap((index) => orderOf(table, index));
  const filters = fields.filter((field) => !given.includes(field.name) && (key.includes(field) || inIndexes.includes(field.column)));
  return filters.flatMap((field) => {
    const content = key.includes(field) ? keyField(field, 'path') : readField({ ...field, nullable: false });
    const of = (suffix: string, description: string): Schema => ({
      name: `${field.name}${suffix}`,
      in: 'query',
      description,
      schema: content,
    });
    const ranges = [of('.gt', 'Greater than.'), of('.gte', 'Greater or equal.'), of('.lt', 'Less than.'), of('.lte', 'Less or equal.')];
    return [of('', 'Equal.'), ...(field.type.scalar === 'NUMERIC' ? [] : ranges)];
  });
}

export function batchGet(resource: Resource, { maxPageRows }: PageFacts, answers: ProblemAnswers): Schema | undefined {
  const security = scopesFor(resource, 'read');
  if (!security) return undefined;
  const parts = resource.key.map((field) => keyField(field, 'sent'));
  const key: Schema = { type: 'array', prefixItems: parts, minItems: parts.length, maxItems: parts.length };
  return {
    operationId: operationId('batchGet', resource),
    tags: [resource.name],
    description: 'Rows by their keys, all of one moment.',
    security,
    parameters: READ_PARAMETERS,
    requestBody: {
      required: true,
      content: jsonOf({
        type: 'object',
        additionalProperties: false,
        required: ['keys'],
        properties: {
          keys: {
            type: 'array',
            minItems: 1,
            maxItems: maxPageRows,
            items: parts.length === 1 ? { anyOf: [key, parts[0]] } : key,
          },
          fields: { type: 'array', items: { enum: resource.fields.map((field) => field.name) } },
        },
      }),
    },
    responses: {
      200: {
        description: 'A row for each key, in their order; null where there is none.',
        headers: headersOf(...RATE_HEADERS, 'Read-Timestamp'),
        content: jsonOf({
          type: 'object',
          required: ['items'],
          properties: { items: { type: 'array', items: { anyOf: [schema(componentName(resource, 'read')), { type: 'null' }] } } },
        }),
      },
      ...answers.of([...OF_RESOURCE, ...OF_BODY, 'too_large']),
    },
  };
}
