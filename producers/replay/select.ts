/** Which records an operator means. */
import type { HistoryRecord } from '../../schemas/envelope/history.ts';
import { aggregateId } from '../../schemas/envelope/ids.ts';
import type { ResourceSet } from '../../schemas/resource/registry.ts';
import type { Cell } from '../../schemas/resource/table.ts';
import { ReplayError } from './errors.ts';
import type { HistoryRange } from './history.ts';

export interface Selection {
  /** Commits from this time on, RFC 3339 in UTC. */
  readonly from?: string;
  /** Commits before this time. */
  readonly to?: string;
  readonly tenant?: string;
  /** A mutation of it, whichever of the submission. */
  readonly resource?: string;
  /** With `resource`: of this row, without the tenant. */
  readonly key?: readonly Cell[];
  readonly correlationId?: string;
  /** Why it was not applied. */
  readonly reason?: string;
  readonly submissionId?: string;
}

export function isSelected({ envelope, verdict }: Pick<HistoryRecord, 'envelope' | 'verdict'>, selection: Selection): boolean {
  const { tenant, resource, key, correlationId, reason, submissionId } = selection;
  const { data } = envelope;
  return (
    (submissionId === undefined || envelope.id === submissionId) &&
    (tenant === undefined || data.caller.tenant === tenant) &&
    (correlationId === undefined || envelope.correlationid === correlationId) &&
    (reason === undefined || verdict.reason === reason) &&
    (resource === undefined ||
      data.mutations.some((m) => m.resource === resource && (key === undefined || JSON.stringify(m.key) === JSON.stringify(key))))
  );
}

/**
 * Where in history the selected records are: no other commit needs to be read, and of those not all are meant.
 * @throws ReplayError where the resource is not declared here
 */
export function rangeOf(selection: Selection, resources: ResourceSet): HistoryRange {
  const { from, to } = selection;
  const aggregate = selectedAggregate(selection, resources);
  return {
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
    ...(aggregate === undefined ? {} : { aggregates: new Set([aggregate]) }),
  };
}

/** The aggregate of a row, where a selection names one row of one tenant: history is searched by it. */
function selectedAggregate({ tenant, resource, key }: Selection, resources: ResourceSet): string | undefined {
  if (tenant === undefined || resource === undefined || key === undefined) return undefined;
  const { root } = resourceNamed(resource, resources);
  return aggregateId(tenant, root.name, key.slice(0, root.keyLength));
}

/** The cells of a key as it stands in a path: `o1/7`. */
export function keyCells(resource: string, segments: readonly string[], resources: ResourceSet): readonly Cell[] {
  return resourceNamed(resource, resources).validators.key(segments);
}

function resourceNamed(name: string, resources: ResourceSet) {
  const resource = resources.get(name);
  if (resource) return resource;
  const known = resources.all().map((r) => r.name);
  throw new ReplayError('unknown_resource', `there is no resource ${name}; there are ${known.join(', ')}`);
}
