/** What a caller may do: denied unless a rule of the resource allows it (schemas/resource/access.ts). */
import type { Caller, Mutation } from '../../schemas/envelope/envelope.ts';
import { type Action, covers, type Grant, grantOf, readableFields, type Subject } from '../../schemas/resource/access.ts';
import type { Resource } from '../../schemas/resource/define.ts';
import type { Cell } from '../../schemas/resource/table.ts';
import { RequestError } from './errors.ts';

/** By the caller and the resource, which are the same objects for as long as the token and the resource file are. */
const granted = new WeakMap<Caller, WeakMap<Resource, Map<Action, Grant>>>();

/** Before anything of the row is looked at. @throws RequestError (`forbidden`) where no rule is for this caller, or its agent, and action. */
export function authorize(caller: Caller, resource: Resource, action: Action): Grant {
  const known = granted.get(caller)?.get(resource)?.get(action);
  if (known) return known;
  const grant = grantOf(resource.access, caller, action);
  // The caller's own first: an agent is told of its own lack alone.
  const [reason] = grant.flatMap((rules, i) => (rules.length > 0 ? [] : ([i === 0 ? 'action' : 'agent'] as const)));
  if (reason !== undefined) throw forbidden(resource, action, reason);
  const ofCaller = granted.get(caller) ?? new WeakMap<Resource, Map<Action, Grant>>();
  granted.set(caller, ofCaller.set(resource, (ofCaller.get(resource) ?? new Map<Action, Grant>()).set(action, grant)));
  return grant;
}

/** @throws RequestError (`forbidden`) where no rule reaches all that the mutation writes. */
export function authorizeWrite(grant: Grant, resource: Resource, mutation: Mutation): void {
  if (coversEverything(grant)) return;
  if (!covers(grant, subjectOf(resource, mutation))) throw forbidden(resource, mutation.op, 'row');
}

/** What may be shown of a row: the fields beside the key, undefined for all of them. */
export interface Readable {
  readonly fields: ReadonlySet<string> | undefined;
}

const WHOLE: Readable = { fields: undefined };

/** Undefined where no rule reaches the row with this key. */
export function readable(grant: Grant, resource: Resource, key: readonly Cell[]): Readable | undefined {
  if (coversEverything(grant)) return WHOLE;
  const cells = keyCells(resource, key);
  return covers(grant, { cells, fields: [] }) ? { fields: readableFields(grant, cells) } : undefined;
}

/** @throws RequestError (`forbidden`) where no rule reaches the row with this key. */
export function authorizeRead(grant: Grant, resource: Resource, key: readonly Cell[]): Readable {
  const found = readable(grant, resource, key);
  if (!found) throw forbidden(resource, 'read', 'row');
  return found;
}

/**
 * A list that is found, or in the order, by fields tells of their values.
 * @throws RequestError (`forbidden`) where no rule lets read one of them, of whatever row.
 */
export function authorizeList(grant: Grant, resource: Resource, fields: readonly string[]): void {
  if (!mayListBy(grant, fields)) throw forbidden(resource, 'read', 'row');
}

/** Whether each party has a rule for each of the fields, and one at all. */
export function mayListBy(grant: Grant, fields: readonly string[]): boolean {
  const mayRead = (rules: Grant[number], name: string): boolean => rules.some((rule) => rule.fields?.includes(name) ?? true);
  return grant.every((rules) => rules.length > 0 && fields.every((name) => mayRead(rules, name)));
}

export function subjectOf(resource: Resource, { op, key, value }: Mutation): Subject {
  const cells = { ...value, ...keyCells(resource, key) };
  if (op === 'delete') return { cells, fields: undefined };
  // An insert names the fields it sets; an upsert writes the others too, as null.
  const fields = Object.entries(value ?? {}).flatMap(([name, cell]) => (op === 'insert' && cell === null ? [] : [name]));
  return { cells, fields };
}

/** Whether its rules reach all fields of all rows, as the common ones do: then no row is looked at. */
function coversEverything(grant: Grant): boolean {
  return grant.every((rules) => rules.some((rule) => !rule.fields && !rule.where));
}

function keyCells(resource: Resource, key: readonly Cell[]): Readonly<Record<string, Cell>> {
  return Object.fromEntries(resource.key.map((field, i) => [field.name, key[i] ?? null]));
}

/** What the problem document's `reason` says: the caller may not do this at all; its agent may not; or not to this row. */
export type ForbiddenReason = 'action' | 'agent' | 'row';

function forbidden(resource: Resource, action: Action, reason: ForbiddenReason): RequestError {
  const who = reason === 'agent' ? 'the agent that acts for this caller' : 'this caller';
  const what = reason === 'row' ? `${action} this row of ${resource.name}, or these fields of it` : `${action} ${resource.name}`;
  return new RequestError('forbidden', `${who} may not ${what}`, { context: { resource: resource.name, action, reason } });
}
