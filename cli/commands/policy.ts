/** `spanway policy explain`: what the rules of a resource file say of one request, rule by rule. */
import { mayListBy, subjectOf } from '../../producers/gateway/policy.ts';
import { listPlan } from '../../producers/gateway/reads/query.ts';
import {
  type Action,
  type CompiledRule,
  covers,
  type Grant,
  grantOf,
  misfit,
  partiesOf,
  type Principal,
  rowMisfit,
  type Subject,
} from '../../schemas/resource/access.ts';
import type { RegisteredResource } from '../../schemas/resource/registry.ts';
import { type Config, ConfigError } from '../config.ts';
import { ResourceFolder } from '../resource-folder.ts';

export interface ExplainOptions {
  /** JSON: `{"tenant":"t1","scopes":["orders:write"],"roles":[…],"client":"…","actor":"…"}`. */
  readonly as: string;
  readonly body?: string;
}

const ACTIONS: Readonly<Record<string, Action>> = {
  GET: 'read',
  HEAD: 'read',
  PUT: 'upsert',
  PATCH: 'update',
  DELETE: 'delete',
  POST: 'insert',
};

/** Prints the decision and why; the exit code is 1 where it is denied. */
export async function policyExplain(config: Config, method: string, path: string, options: ExplainOptions): Promise<void> {
  const who = principalOf(options.as);
  const action = ACTIONS[method.toUpperCase()];
  if (!action) throw new ConfigError(`${method} is no method of the API; it must be one of ${Object.keys(ACTIONS).join(', ')}`);
  const { pathname, searchParams } = new URL(path, 'http://localhost');
  const [, name = '', rest] = /^\/v1\/([^/]+)(?:\/(.+))?$/.exec(pathname) ?? [];
  const resource = (await ResourceFolder.open(config.schemas)).current.get(name);
  if (!resource) throw new ConfigError(`${path} names no resource; give a path like /v1/orders/o1`);
  const segments = rest?.split('/').map(decodeURIComponent) ?? [];
  const isList = action === 'read' && segments.length < resource.key.length;
  const judge = isList ? judgeList(resource, segments, searchParams) : judgeRow(rowOf(resource, action, segments, options.body));
  const lines: string[] = [];
  const grant = grantOf(resource.access, who, action);
  for (const party of partiesOf(who)) {
    const verdicts = resource.access.map((rule) => misfit(rule, who, party, action) ?? judge.misfit(rule));
    lines.push(`for the ${party}:`);
    verdicts.forEach((why, i) =>
      lines.push(`  rule ${i + 1} (${textOf(resource.access[i] as CompiledRule)}) ${why === undefined ? 'allows it' : `does not: ${why}`}`),
    );
  }
  const allowed = judge.allows(grant);
  const what = isList ? `list of those ${name} that the rules reach` : `${action} of ${name}`;
  process.stdout.write(`${[`${allowed ? 'allowed' : 'denied'}: ${method.toUpperCase()} ${path}, ${what}`, ...lines].join('\n')}\n`);
  process.exitCode = allowed ? 0 : 1;
}

/** What is asked of the rules that are for the caller and the action. */
interface Judge {
  /** Why a rule does not reach it; undefined where it does. */
  misfit(rule: CompiledRule): string | undefined;
  allows(grant: Grant): boolean;
}

function judgeRow(row: Subject): Judge {
  return { misfit: (rule) => rowMisfit(rule, row), allows: (grant) => covers(grant, row) };
}

/** Of a list, the fields that find or order its rows; which rows it then shows depends on each. */
function judgeList(resource: RegisteredResource, segments: readonly string[], search: URLSearchParams): Judge {
  const query = Object.fromEntries(search);
  const { order } = listPlan(resource, segments, query, { pageRows: 1, maxPageRows: 1 });
  const told = order.filter((field) => !resource.key.includes(field)).map((field) => field.name);
  return {
    misfit: ({ fields }) =>
      !fields || told.every((name) => fields.includes(name)) ? undefined : `it is for the fields ${fields.join(', ')}`,
    allows: (grant) => mayListBy(grant, told),
  };
}

function rowOf(resource: RegisteredResource, action: Action, segments: readonly string[], body: string | undefined): Subject {
  const { validators } = resource;
  if (action === 'insert') {
    const { key, value } = validators.row(jsonOf(body), () => '00000000-0000-4000-8000-000000000000');
    return subjectOf(resource, { op: action, resource: resource.name, key, value });
  }
  const key = validators.key(segments);
  if (action === 'read') return { ...subjectOf(resource, { op: 'delete', resource: resource.name, key }), fields: [] };
  if (action === 'delete') return subjectOf(resource, { op: action, resource: resource.name, key });
  const { value } = action === 'update' ? validators.patch(jsonOf(body), key) : validators.row(jsonOf(body), key);
  return subjectOf(resource, { op: action, resource: resource.name, key, value });
}

function jsonOf(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '');
  } catch {
    throw new ConfigError('--body must be the JSON that the request would carry');
  }
}

function principalOf(text: string): Principal {
  let claims: Partial<Principal> | undefined;
  try {
    claims = JSON.parse(text) as Partial<Principal>;
  } catch {
    // Said below.
  }
  if (typeof claims?.tenant !== 'string' || !Array.isArray(claims.scopes))
    throw new ConfigError(
      '--as must be JSON with who asks: {"tenant":"t1","scopes":["orders:write"]}, and roles, client and actor as needed',
    );
  return { ...claims, tenant: claims.tenant, scopes: claims.scopes };
}

function textOf({ actions, ...conditions }: CompiledRule): string {
  const parts = Object.entries(conditions).map(([name, value]) => `${name} ${typeof value === 'string' ? value : JSON.stringify(value)}`);
  return [actions.join(' '), ...parts].join('; ');
}
