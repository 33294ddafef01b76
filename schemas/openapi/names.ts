/** What the document calls the parts of a resource, and who may call its operations. */
import type { Action } from '../resource/access.ts';
import type { Resource } from '../resource/define.ts';
import type { Schema } from './fields.ts';

/** Each rule that allows it is enough by itself; undefined where there is none. */
export function scopesFor(resource: Resource, action: Action): Schema[] | undefined {
  const scopes = new Set(resource.access.filter((rule) => rule.actions.includes(action)).map((rule) => rule.scope));
  return scopes.size === 0 ? undefined : [...scopes].map((scope) => ({ bearer: scope === undefined ? [] : [scope] }));
}

const SUFFIXES: Record<Exclude<Action, 'delete'>, string> = { read: 'Row', upsert: 'Upsert', insert: 'Insert', update: 'Patch' };

export function componentName(resource: Resource, action: Exclude<Action, 'delete'>): string {
  return pascalCase(resource.name) + SUFFIXES[action];
}

export function mutationName(resource: Resource): string {
  return `${pascalCase(resource.name)}Mutation`;
}

export function operationId(action: string, resource: Resource): string {
  return action + pascalCase(resource.name);
}

/** The members that are there; undefined where none is. */
export function defined(members: Readonly<Record<string, Schema | undefined>>): Schema | undefined {
  const there = Object.entries(members).filter(([, member]) => member !== undefined);
  return there.length === 0 ? undefined : Object.fromEntries(there);
}

/** Different for every name: a digit after a hyphen keeps it, as an underscore. */
export function pascalCase(name: string): string {
  return name.replace(/(?:^|-)([a-z])/g, (_match, letter: string) => letter.toUpperCase()).replaceAll('-', '_');
}
