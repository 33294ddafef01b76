/** From an envelope, in the names of resources, to mutations of tables. */
import type { StoreMutation } from '../../ports/store/port.ts';
import type { Envelope, Mutation } from '../../schemas/envelope/envelope.ts';
import { HOLD_COST } from '../../schemas/envelope/holds.ts';
import { LEDGER_COST } from '../../schemas/envelope/ledger.ts';
import { mutationCost } from '../../schemas/resource/cost.ts';
import type { RegisteredResource, ResourceSet } from '../../schemas/resource/registry.ts';
import { COMMIT_TIMESTAMP } from '../../schemas/resource/table.ts';
import type { Plan, PlannedWrite, Work } from './work.ts';

/**
 * What a merge adds to the bytes of its submission. It reads and writes a JSON column, of up to 10 MiB
 * (https://cloud.google.com/spanner/quotas#tables), and how long that is by then nobody knows beforehand: so few go
 * together, some 60 by default, and a batch of long ones fits the memory.
 */
const MERGE_BYTES = 32_768;

/** `text` is the envelope as it came. */
export function planWork(envelope: Envelope, text: string, resources: ResourceSet): Work {
  const plan = planEnvelope(envelope, resources);
  // An aggregate has one root, so any resource of it that is known here tells.
  const waits = envelope.data.mutations.some(({ resource }) => resources.get(resource)?.root.waits);
  const fixed = LEDGER_COST + (waits ? HOLD_COST : 0);
  const writes = 'writes' in plan ? plan.writes : [];
  const cost = writes.reduce((sum, write) => sum + costOf(write), fixed);
  const bytes = writes.reduce((sum, { merge }) => sum + merge.length * MERGE_BYTES, Buffer.byteLength(text));
  return { envelope, text, plan, waits, bytes, cost };
}

function planEnvelope({ data }: Envelope, resources: ResourceSet): Plan {
  const writes: PlannedWrite[] = [];
  for (const [i, mutation] of data.mutations.entries()) {
    const resource = resources.get(mutation.resource);
    const unknown = resource ? unknownField(resource, mutation) : `there is no resource ${mutation.resource} here`;
    if (!resource || unknown !== undefined) {
      // The applier runs with other resources than the gateway did. The outcome is final: the caller sends it again with a new key.
      return { verdict: { outcome: 'dead_lettered', reason: 'unknown_resource', detail: unknown ?? '' } };
    }
    writes.push(planWrite(resource, mutation, data.caller.tenant, i === 0 ? data.ifMatch : undefined));
  }
  return { writes };
}

function planWrite(resource: RegisteredResource, mutation: Mutation, tenant: string, ifMatch: string | undefined): PlannedWrite {
  const { table, version } = resource;
  const key = [tenant, ...mutation.key];
  const base = {
    resource,
    key,
    merge: (mutation.merge ?? []).map((name) => columnOf(resource, name) ?? name),
    ...(ifMatch === undefined ? {} : { ifMatch }),
  };
  if (mutation.op === 'delete') return { ...base, mutation: { op: 'delete', table, key } };
  const value = Object.entries(mutation.value ?? {});
  const stored: StoreMutation = {
    op: mutation.op,
    table,
    columns: [...table.primaryKey, ...value.map(([name]) => columnOf(resource, name) ?? name), ...(version ? [version.column] : [])],
    values: [...key, ...value.map(([, cell]) => cell), ...(version ? [COMMIT_TIMESTAMP] : [])],
  };
  return { ...base, mutation: stored };
}

function unknownField(resource: RegisteredResource, mutation: Mutation): string | undefined {
  if (mutation.key.length !== resource.key.length)
    return `the key of ${resource.name} has ${resource.key.length} parts here, ${mutation.key.length} in the envelope`;
  const unknown = Object.keys(mutation.value ?? {}).find((name) => columnOf(resource, name) === undefined);
  return unknown === undefined ? undefined : `${resource.name} has no field ${unknown} here`;
}

function columnOf(resource: RegisteredResource, fieldName: string): string | undefined {
  return resource.fields.find((f) => f.name === fieldName)?.column;
}

function costOf({ mutation }: PlannedWrite): number {
  return mutationCost(mutation.table, mutation.op === 'delete' ? 'delete' : { columns: mutation.columns.length });
}
