/** What `import … from 'spanway'` gives: all that a resource file needs, and the errors its author may meet. */
export { type Static, Type } from 'typebox';
export {
  type AccessRule,
  type Action,
  defineResource,
  isResource,
  type Resource,
  type ResourceOptions,
  type RowOf,
  type WriteAction,
} from './schemas/resource/define.ts';
export { field } from './schemas/resource/fields.ts';
export { type FieldProblem, ResourceDefinitionError, SpanwayError, ValidationError } from './schemas/errors.ts';
