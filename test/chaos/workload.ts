/** Which write comes next: a random one, with what it changes told to the model and to the API alike. */
import { submissionIdFor } from '../../schemas/envelope/ids.ts';
import type { Outcome } from './client.ts';
import type { Change, Fields } from './model.ts';
import type { Rng } from '../../ports/rng.ts';

/** An order with its lines, of one tenant. Both tenants have orders of the same keys. */
export interface Aggregate {
  readonly tenant: string;
  readonly orderId: string;
  /** Every write to it in the order in which they were accepted: one at a time is under way. */
  readonly history: Submission[];
  /** What was read of the order between writes, for the model to confirm. */
  readonly reads: { readonly after: number; readonly order: Fields | undefined }[];
  /** Versions that the order had. */
  readonly versions: string[];
}

export interface Submission {
  readonly aggregate: Aggregate;
  /** Its place in the history, from 1; every value it writes carries it. */
  readonly counter: number;
  readonly method: string;
  readonly path: string;
  readonly body?: unknown;
  readonly ifMatch?: string;
  readonly changes: readonly Change[];
  readonly idempotencyKey: string;
  readonly correlationId: string;
  readonly submissionId: string;
  /** From its 202. */
  receipt?: string;
  /** As first told to the client. */
  outcome?: Outcome;
}

export function newAggregate(tenant: string, orderId: string): Aggregate {
  return { tenant, orderId, history: [], reads: [], versions: [] };
}

/** The version that a conditional write names. `current` needs the last outcome first. */
export type Condition = 'none' | 'current' | 'stale' | 'any';

export interface Draft {
  readonly method: 'PUT' | 'PATCH' | 'POST' | 'DELETE';
  readonly resource: 'orders' | 'order-lines' | 'submissions';
  readonly changes: readonly Change[];
  readonly condition: Condition;
}

const LINES = 3;

export function draft(rng: Rng, counter: number): Draft {
  const kind = rng.weighted({
    put: 26,
    patch: 10,
    merge: 8,
    insert: 9,
    delete: 7,
    line: 18,
    submission: 10,
    conditional: 12,
  });
  const order = (op: Change['op'], value?: Fields): Change => ({ op, ...(value ? { value } : {}) });
  const base = { resource: 'orders', condition: 'none' } as const;
  switch (kind) {
    case 'put':
      return { ...base, method: 'PUT', changes: [order('upsert', orderValue(rng, counter))] };
    case 'patch':
      return { ...base, method: 'PATCH', changes: [order('update', orderPatch(rng, counter))] };
    case 'merge':
      return { ...base, method: 'PATCH', changes: [order('update', { metadata: metadataPatch(rng, counter) })] };
    case 'insert':
      return { ...base, method: 'POST', changes: [order('insert', orderValue(rng, counter))] };
    case 'delete':
      return { ...base, method: 'DELETE', changes: [order('delete')] };
    case 'line': {
      const change = lineChange(rng, counter);
      return { method: METHODS[change.op], resource: 'order-lines', changes: [change], condition: 'none' };
    }
    case 'submission': {
      const op = rng.weighted({ insert: 2, upsert: 4, update: 3 });
      const first = order(op, op === 'update' ? orderPatch(rng, counter) : orderValue(rng, counter));
      const lines = Array.from({ length: rng.int(1, LINES) }, () => lineChange(rng, counter));
      return { method: 'POST', resource: 'submissions', changes: [first, ...lines], condition: 'none' };
    }
    case 'conditional': {
      const condition = rng.weighted({ current: 6, stale: 3, any: 2 });
      const op = rng.weighted({ upsert: 4, update: 5, delete: 1 });
      const value = op === 'delete' ? undefined : op === 'upsert' ? orderValue(rng, counter) : orderPatch(rng, counter);
      return { ...base, method: METHODS[op], changes: [order(op, value)], condition };
    }
  }
}

const METHODS = { insert: 'POST', update: 'PATCH', upsert: 'PUT', delete: 'DELETE' } as const;

function lineChange(rng: Rng, counter: number): Change {
  const op = rng.weighted({ upsert: 5, update: 2, insert: 2, delete: 1 });
  const line = rng.int(1, LINES);
  if (op === 'delete') return { op, line };
  const quantity = { quantity: counter };
  if (op === 'update') return { op, line, value: { ...quantity, ...(rng.chance(0.3) ? { unitPrice: null } : {}) } };
  return {
    op,
    line,
    value: { ...quantity, sku: `sku-${rng.int(1, 99)}`, ...(rng.chance(0.5) ? { unitPrice: `${rng.int(1, 99)}.5` } : {}) },
  };
}

function orderValue(rng: Rng, counter: number): Fields {
  return {
    customer: `customer ${rng.int(1, 20)}`,
    status: rng.pick(['open', 'paid', 'shipped', 'cancelled']),
    ...(rng.chance(0.6) ? { total: `${counter}.25` } : {}),
    ...(rng.chance(0.5) ? { note: `write ${counter}` } : {}),
    ...(rng.chance(0.8) ? { metadata: { counter, tags: ['ü😀', rng.int(1, 9)] } } : {}),
  };
}

function orderPatch(rng: Rng, counter: number): Fields {
  return {
    note: rng.chance(0.2) ? null : `patch ${counter}`,
    ...(rng.chance(0.4) ? { status: rng.pick(['open', 'paid']) } : {}),
    ...(rng.chance(0.2) ? { total: null } : {}),
    ...(rng.chance(0.3) ? { metadata: metadataPatch(rng, counter) } : {}),
  };
}

/** A merge that leaves a trace of its own, so that one that is missing shows. */
function metadataPatch(rng: Rng, counter: number): Fields {
  return { counter, [`k${rng.int(1, 6)}`]: counter, deep: { [`d${rng.int(1, 3)}`]: rng.chance(0.3) ? null : counter } };
}

/** The draft as a request, and its place in the history of its aggregate. */
export function submissionOf(aggregate: Aggregate, { method, resource, changes }: Draft, ifMatch: string | undefined): Submission {
  const { tenant, orderId } = aggregate;
  const counter = aggregate.history.length + 1;
  const idempotencyKey = `${orderId}-${counter}`;
  const submission: Submission = {
    aggregate,
    counter,
    method,
    ...target(orderId, method, resource, changes),
    ...(ifMatch === undefined ? {} : { ifMatch }),
    changes,
    idempotencyKey,
    correlationId: `${tenant}/${orderId}/${counter}`,
    submissionId: submissionIdFor(tenant, resource === 'submissions' ? 'POST submissions' : `${method} ${resource}`, idempotencyKey),
  };
  aggregate.history.push(submission);
  return submission;
}

function target(
  orderId: string,
  method: string,
  resource: Draft['resource'],
  changes: readonly Change[],
): { readonly path: string; readonly body?: unknown } {
  if (resource === 'submissions') {
    const mutations = changes.map(({ op, line, value }) => ({
      op,
      ...(line === undefined ? { resource: 'orders', key: [orderId] } : { resource: 'order-lines', key: [orderId, line] }),
      ...(value ? { value } : {}),
    }));
    return { path: '/v1/submissions', body: { mutations } };
  }
  const [change] = changes;
  const { line, value } = change ?? {};
  const key = line === undefined ? orderId : `${orderId}/${line}`;
  if (method !== 'POST') return { path: `/v1/${resource}/${key}`, ...(value ? { body: value } : {}) };
  return { path: `/v1/${resource}`, body: { orderId, ...(line === undefined ? {} : { lineNumber: line }), ...value } };
}
