/**
 * What a resource lets whom do. What no rule allows is denied. Where an agent acts for somebody (RFC 8693 `act`), both
 * are parties, and each needs a rule: what they may do together is what either may do.
 */
import type { Cell } from './table.ts';

export const WRITE_ACTIONS = ['insert', 'update', 'upsert', 'delete'] as const;
export type WriteAction = (typeof WRITE_ACTIONS)[number];
export type Action = 'read' | WriteAction;

/** One permission, for who meets all its conditions. At least one of them must say who: `scope`, `roles`, `tenants`, `clients`, `agents`. */
export interface AccessRule {
  readonly actions: readonly Action[];
  /** The token has it. */
  readonly scope?: string;
  /** The token has one of them. */
  readonly roles?: readonly string[];
  readonly tenants?: readonly string[];
  /** The application that the token was issued to (`client_id`, or `azp`). */
  readonly clients?: readonly string[];
  /** Which agents: their names, or `any`. Such a rule is for agents that act for somebody; `none` is for everybody else. Without it, for both. */
  readonly agents?: readonly string[] | 'any' | 'none';
  /** The fields that it lets read or write, beside the key. A PUT writes every field, and a delete the whole row. Without it, all. */
  readonly fields?: readonly string[];
  /** For rows that have one of these values in each of these fields: of the key, or of what is being written. */
  readonly where?: Readonly<Record<string, readonly (string | number | boolean)[]>>;
}

/** A rule of a resource, the values of `where` as cells. */
export interface CompiledRule extends Omit<AccessRule, 'where'> {
  readonly where?: Readonly<Record<string, readonly Cell[]>>;
}

/** Who is asking, as far as rules look at it. */
export interface Principal {
  readonly tenant: string;
  readonly scopes: readonly string[];
  readonly roles?: readonly string[];
  readonly client?: string;
  readonly actor?: string;
}

export const PARTIES = ['caller', 'agent'] as const;
export type Party = (typeof PARTIES)[number];

/** A row that is read or written. `fields`: those written, by name; undefined for the whole row. */
export interface Subject {
  readonly cells: Readonly<Record<string, Cell | undefined>>;
  readonly fields: readonly string[] | undefined;
}

export function partiesOf(who: Principal): readonly Party[] {
  return who.actor === undefined ? ['caller'] : PARTIES;
}

/** Why a rule is not for this party and action, whatever the row; undefined where it is. */
export function misfit(rule: CompiledRule, who: Principal, party: Party, action: Action): string | undefined {
  const { scope, roles, tenants, clients, agents } = rule;
  if (!rule.actions.includes(action)) return `it is for ${rule.actions.join(', ')}`;
  if (scope !== undefined && !who.scopes.includes(scope)) return `it needs the scope ${scope}`;
  if (roles && !roles.some((role) => who.roles?.includes(role))) return `it needs a role of ${roles.join(', ')}`;
  if (tenants?.includes(who.tenant) === false) return 'it is for other tenants';
  if (clients?.includes(who.client ?? '') === false) return 'it is for other clients';
  if (agents === 'none') return party === 'agent' ? 'it is not for agents' : undefined;
  if (agents !== undefined && party === 'caller') return 'it is for agents';
  if (Array.isArray(agents) && !agents.includes(who.actor ?? '')) return 'it is for other agents';
  return undefined;
}

/** Why a rule that is for the party does not reach this row; undefined where it does. */
export function rowMisfit(rule: CompiledRule, { cells, fields }: Subject): string | undefined {
  const allowed = rule.fields;
  if (allowed && !fields?.every((name) => allowed.includes(name))) return `it is for the fields ${allowed.join(', ')}`;
  const outside = Object.entries(rule.where ?? {}).find(([name, values]) => !values.includes(cells[name] ?? null));
  return outside && `it is for rows with ${outside[0]} of ${outside[1].join(', ')}`;
}

/** The rules that are for each party, in the order of `partiesOf`. */
export type Grant = readonly (readonly CompiledRule[])[];

export function grantOf(access: readonly CompiledRule[], who: Principal, action: Action): Grant {
  return partiesOf(who).map((party) => access.filter((rule) => misfit(rule, who, party, action) === undefined));
}

/** Whether one rule of each party reaches all that is written. */
export function covers(grant: Grant, row: Subject): boolean {
  return grant.every((rules) => rules.some((rule) => rowMisfit(rule, row) === undefined));
}

/** The fields beside the key that may be read of a row with this key; undefined for all of them. */
export function readableFields(grant: Grant, key: Subject['cells']): ReadonlySet<string> | undefined {
  let readable: ReadonlySet<string> | undefined;
  for (const rules of grant) {
    const reaching = rules.filter((rule) => rowMisfit(rule, { cells: key, fields: [] }) === undefined);
    if (reaching.some((rule) => rule.fields === undefined)) continue;
    const own = reaching.flatMap((rule) => rule.fields ?? []);
    const others = readable;
    readable = new Set(others ? own.filter((name) => others.has(name)) : own);
  }
  return readable;
}
