/** The body of a batch of reads: `{ "keys": [["o1", 1], …], "fields": ["sku"] }`. */
import { type FieldProblem, ValidationError } from '../../../schemas/errors.ts';
import { isObject } from '../../../schemas/resource/merge-patch.ts';
import type { RegisteredResource } from '../../../schemas/resource/registry.ts';
import type { Cell } from '../../../schemas/resource/table.ts';
import { checkFields } from './query.ts';

export interface BatchGet {
  /** Without the tenant. */
  readonly keys: readonly (readonly Cell[])[];
  readonly wanted: ReadonlySet<string> | undefined;
}

/** A key of one part may stand without its array. @throws ValidationError, RequestError (`invalid_parameter`) for a field that is not there. */
export function batchOf(
  resource: RegisteredResource,
  body: unknown,
  { maxKeyBytes, maxPageRows }: { readonly maxKeyBytes: number; readonly maxPageRows: number },
): BatchGet {
  const { keys, fields, ...others } = isObject(body) ? body : {};
  const problems: FieldProblem[] = Object.keys(others).map((name) => ({
    pointer: `/${name}`,
    rule: 'additionalProperties',
    message: 'a batch has "keys" and "fields" alone',
  }));
  if (!Array.isArray(keys) || keys.length === 0)
    problems.push({ pointer: '/keys', rule: 'type', message: 'must be an array of at least one key' });
  else if (keys.length > maxPageRows)
    problems.push({ pointer: '/keys', rule: 'maxItems', message: `has ${keys.length} keys; at most ${maxPageRows} are taken` });
  const isNames = fields === undefined || (Array.isArray(fields) && fields.every((name) => typeof name === 'string'));
  if (!isNames) problems.push({ pointer: '/fields', rule: 'type', message: 'must be an array of names' });
  if (problems.length > 0) throw new ValidationError(problems);
  const cells = (keys as readonly unknown[]).map((key, i) => {
    try {
      return resource.validators.key(Array.isArray(key) ? key : [key], maxKeyBytes);
    } catch (error) {
      if (!(error instanceof ValidationError)) throw error;
      problems.push(...error.problems.map((problem) => ({ ...problem, pointer: `/keys/${i}` })));
      return [];
    }
  });
  if (problems.length > 0) throw new ValidationError(problems);
  return { keys: cells, wanted: fields === undefined ? undefined : checkFields(resource, fields as readonly string[]) };
}
