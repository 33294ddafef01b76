/** The routes that write: each makes mutations of what it was sent, and submits them. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Caller, Mutation } from '../../schemas/envelope/envelope.ts';
import { generatedKeyFor } from '../../schemas/envelope/ids.ts';
import { type FieldProblem, ValidationError } from '../../schemas/errors.ts';
import { WRITE_ACTIONS, type WriteAction } from '../../schemas/resource/access.ts';
import type { RegisteredResource, ResourceSource } from '../../schemas/resource/registry.ts';
import { RequestError } from './errors.ts';
import { ifMatchOf } from './headers.ts';
import { keySegments, type RowRoute, resourceNamed } from './paths.ts';
import { authorize, authorizeWrite } from './policy.ts';
import type { Submissions, Write } from './submissions.ts';

export interface WriteSettings {
  /** Mutations of one submission. */
  readonly maxMutations: number;
  /** Of a row's key without the tenant, in bytes; MAX_KEY_BYTES where it is higher. */
  readonly maxKeyBytes: number;
}

export function writeRoutes(
  app: FastifyInstance,
  parts: { resources: ResourceSource; submissions: Submissions; settings: WriteSettings },
): void {
  const { resources, submissions, settings } = parts;

  /** The resource of the path, if the caller may do this to it, and what makes sure that it may with this row. */
  function target(request: FastifyRequest<RowRoute>, action: WriteAction): Target {
    const resource = resourceNamed(resources, request.params.resource);
    return targetOf(request.caller, resource, action);
  }

  app.put<RowRoute>('/:resource/*', (request, reply) => {
    const { resource, permitted } = target(request, 'upsert');
    const key = resource.validators.key(keySegments(request), settings.maxKeyBytes);
    const { value } = resource.validators.row(bodyOf(request), key);
    return submissions.submit(request, reply, {
      route: `PUT ${resource.name}`,
      mutations: () => [permitted({ op: 'upsert', resource: resource.name, key, value })],
      ...condition(request, resource),
    });
  });

  app.patch<RowRoute>('/:resource/*', (request, reply) => {
    const { resource, permitted } = target(request, 'update');
    const key = resource.validators.key(keySegments(request), settings.maxKeyBytes);
    const { value, merge } = resource.validators.patch(bodyOf(request), key);
    const mutation: Mutation = { op: 'update', resource: resource.name, key, value, ...(merge.length > 0 ? { merge } : {}) };
    return submissions.submit(request, reply, {
      route: `PATCH ${resource.name}`,
      mutations: () => [permitted(mutation)],
      ...condition(request, resource),
    });
  });

  app.delete<RowRoute>('/:resource/*', (request, reply) => {
    const { resource, permitted } = target(request, 'delete');
    const key = resource.validators.key(keySegments(request), settings.maxKeyBytes);
    return submissions.submit(request, reply, {
      route: `DELETE ${resource.name}`,
      mutations: () => [permitted({ op: 'delete', resource: resource.name, key })],
      ...condition(request, resource),
    });
  });

  app.post<RowRoute>('/:resource', (request, reply) => {
    const { resource, permitted } = target(request, 'insert');
    refuseCondition(request);
    const body = bodyOf(request);
    return submissions.submit(request, reply, {
      route: `POST ${resource.name}`,
      mutations: (submissionId) => {
        const { key, value } = resource.validators.row(body, () => generatedKeyFor(submissionId), settings.maxKeyBytes);
        return [permitted({ op: 'insert', resource: resource.name, key, value })];
      },
    });
  });

  app.post('/submissions', (request, reply) => {
    refuseCondition(request);
    const items = mutationsOf(bodyOf(request), settings.maxMutations);
    // Every rule is asked before any value is looked at, so a refusal says nothing about the values.
    const targets = items.map((item, i) => {
      const resource = resources.current.get(item.resource);
      if (!resource)
        throw new ValidationError([
          { pointer: `/mutations/${i}/resource`, rule: 'resource', message: `there is no resource ${item.resource}` },
        ]);
      return { ...targetOf(request.caller, resource, item.op), item };
    });
    return submissions.submit(request, reply, {
      route: 'POST submissions',
      mutations: (submissionId) =>
        allOf(
          targets.map(
            ({ resource, permitted, item }, i) =>
              () =>
                under(`/mutations/${i}`, () => permitted(mutationOf(resource, item, submissionId, settings.maxKeyBytes))),
          ),
        ),
    });
  });
}

interface Target {
  readonly resource: RegisteredResource;
  readonly permitted: (mutation: Mutation) => { readonly resource: RegisteredResource; readonly mutation: Mutation };
}

/** @throws RequestError (`forbidden`), and so does `permitted`. */
function targetOf(caller: Caller, resource: RegisteredResource, action: WriteAction): Target {
  const grant = authorize(caller, resource, action);
  return {
    resource,
    permitted(mutation) {
      authorizeWrite(grant, resource, mutation);
      return { resource, mutation };
    },
  };
}

interface MutationBody {
  readonly op: WriteAction;
  readonly resource: string;
  readonly key?: readonly unknown[];
  readonly value?: unknown;
}

/** The shape of a submission's body, before any resource is asked. */
function mutationsOf(body: unknown, maxMutations: number): readonly MutationBody[] {
  const { mutations, ...others } = (typeof body === 'object' && body !== null ? body : {}) as { mutations?: unknown };
  if (!Array.isArray(mutations) || mutations.length === 0) {
    throw new ValidationError([{ pointer: '/mutations', rule: 'type', message: 'must be an array of at least one mutation' }]);
  }
  const problems: FieldProblem[] = Object.keys(others).map((name) => ({
    pointer: `/${name}`,
    rule: 'additionalProperties',
    message: 'a submission has "mutations" alone',
  }));
  if (mutations.length > maxMutations) {
    throw new ValidationError([
      { pointer: '/mutations', rule: 'maxItems', message: `has ${mutations.length} mutations; at most ${maxMutations} are taken` },
    ]);
  }
  mutations.forEach((item: unknown, i) => {
    const at = `/mutations/${i}`;
    if (typeof item !== 'object' || item === null || Array.isArray(item)) {
      problems.push({ pointer: at, rule: 'type', message: 'must be an object' });
      return;
    }
    const { op, resource, key, ...rest } = item as Record<string, unknown>;
    if (typeof op !== 'string' || !(WRITE_ACTIONS as readonly string[]).includes(op))
      problems.push({ pointer: `${at}/op`, rule: 'enum', message: `must be one of ${WRITE_ACTIONS.join(', ')}` });
    if (typeof resource !== 'string') problems.push({ pointer: `${at}/resource`, rule: 'type', message: 'must be the name of a resource' });
    if (key !== undefined && !Array.isArray(key))
      problems.push({ pointer: `${at}/key`, rule: 'type', message: "must be an array of the key's parts" });
    if (key === undefined && op !== 'insert') problems.push({ pointer: `${at}/key`, rule: 'required', message: 'is required' });
    if (op === 'delete' && 'value' in rest)
      problems.push({ pointer: `${at}/value`, rule: 'additionalProperties', message: 'a delete has no value' });
    if (op !== 'delete' && !('value' in rest)) problems.push({ pointer: `${at}/value`, rule: 'required', message: 'is required' });
    for (const name of Object.keys(rest))
      if (name !== 'value')
        problems.push({ pointer: `${at}/${name}`, rule: 'additionalProperties', message: 'a mutation has op, resource, key and value' });
  });
  if (problems.length > 0) throw new ValidationError(problems);
  return mutations as MutationBody[];
}

function mutationOf(
  resource: RegisteredResource,
  { op, key: given, value: body }: MutationBody,
  submissionId: string,
  maxKeyBytes: number,
): Mutation {
  const { validators, name } = resource;
  const key =
    given === undefined
      ? undefined
      : under(
          '/key',
          () => validators.key(given, maxKeyBytes),
          () => '',
        );
  if (op === 'delete') return { op, resource: name, key: key ?? [] };
  return under('/value', () => {
    if (op === 'update') {
      const { value, merge } = validators.patch(body, key ?? []);
      return { op, resource: name, key: key ?? [], value, ...(merge.length > 0 ? { merge } : {}) };
    }
    const row = validators.row(body, key ?? (() => generatedKeyFor(submissionId)), maxKeyBytes);
    return { op, resource: name, key: row.key, value: row.value };
  });
}

/** Problems found by `work` are of the place `prefix` in the body. */
function under<T>(prefix: string, work: () => T, pointer: (problem: FieldProblem) => string = (problem) => problem.pointer): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof ValidationError)) throw error;
    throw new ValidationError(error.problems.map((problem) => ({ ...problem, pointer: prefix + pointer(problem) })));
  }
}

/** The results of all, or the problems of all. */
function allOf<T>(works: readonly (() => T)[]): T[] {
  const problems: FieldProblem[] = [];
  const results: T[] = [];
  for (const work of works) {
    try {
      results.push(work());
    } catch (error) {
      if (!(error instanceof ValidationError)) throw error;
      problems.push(...error.problems);
    }
  }
  if (problems.length > 0) throw new ValidationError(problems);
  return results;
}

function bodyOf(request: FastifyRequest): unknown {
  if (request.body === undefined) throw new RequestError('malformed_json', 'there is no body');
  return request.body;
}

function condition(request: FastifyRequest, resource: RegisteredResource): Pick<Write, 'ifMatch'> {
  if (request.headers['if-none-match'] !== undefined) {
    throw new RequestError(
      'conditions_unsupported',
      'If-None-Match has no meaning for this write; POST inserts a row only where there is none',
    );
  }
  const ifMatch = ifMatchOf(request.headers);
  if (ifMatch === undefined) return {};
  if (!resource.version) throw new RequestError('conditions_unsupported', `${resource.name} has no version to compare with If-Match`);
  return { ifMatch };
}

function refuseCondition(request: FastifyRequest): void {
  if (request.headers['if-match'] !== undefined || request.headers['if-none-match'] !== undefined) {
    throw new RequestError('conditions_unsupported', 'only a PUT, PATCH or DELETE of one row can be conditional');
  }
}
