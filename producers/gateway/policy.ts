/** What a caller may do: denied unless a rule of the resource allows it. */
import type { Caller } from '../../schemas/envelope/envelope.ts';
import type { Action, Resource } from '../../schemas/resource/define.ts';
import { RequestError } from './errors.ts';

/** @throws RequestError (`forbidden`) */
export function authorize(caller: Caller, resource: Resource, action: Action): void {
  if (!resource.access.some((rule) => rule.actions.includes(action) && caller.scopes.includes(rule.scope))) {
    throw new RequestError('forbidden', `this caller may not ${action} ${resource.name}`, { context: { resource: resource.name, action } });
  }
}
