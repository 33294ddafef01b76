/** Writers: each has one item, with its parts, of one tenant, and knows what it holds. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Rng } from '../../ports/rng.ts';
import type { Held, Written } from './model.ts';
import type { Call } from './run-model.ts';

export const ITEMS = ['a', 'b', 'c', 'd'];
export const PARTS = ['1', '2'];

export function itemRow(tenant: string, item: string): string {
  return `${tenant} items/${item}`;
}

export function partRow(tenant: string, item: string, part: string): string {
  return `${tenant} parts/${item}/${part}`;
}

/** By it, rows are found by the index, and move in it. */
export function kindOf(held: number): string {
  return held % 3 === 0 ? 'third' : 'other';
}

/** A submission that was accepted. */
export interface Sent {
  /** As its receipt names it. */
  readonly id: string;
  /** Rejects where it is not applied. */
  readonly written: Promise<Written>;
}

export interface WriterParts {
  readonly tenant: string;
  readonly item: string;
  readonly amount: number;
  readonly rng: Rng;
  readonly call: Call;
  /** A number that no other write has. */
  readonly next: () => number;
  /** Hears of each submission, in the order in which they were accepted. */
  readonly onSent: (sent: Sent) => void;
}

interface Change {
  readonly method: 'PUT' | 'PATCH' | 'POST' | 'DELETE';
  readonly url: string;
  readonly payload?: object;
  readonly rows: ReadonlyMap<string, Held>;
}

export async function write({ tenant, item, amount, rng, call, next, onSent }: WriterParts): Promise<void> {
  let isThere = false;
  const parts = new Set<string>();
  for (let i = 0; i < amount; i += 1) {
    const { rows, ...request } = change();
    // Some wait for the outcome as they write, some look for it, and some write on meanwhile.
    const way = rng.weighted({ prefers: 3, looks: 3, goesOn: 4 });
    const answer = await call(tenant, { ...request, ...(way === 'prefers' ? { headers: { prefer: 'wait=20' } } : {}) });
    const { id, status, commitTimestamp } = answer.json<{ id: string; status: string; commitTimestamp?: string }>();
    const written =
      status === 'applied' && commitTimestamp !== undefined
        ? Promise.resolve({ rows, commitTimestamp })
        : answer.statusCode === 202
          ? outcome(id, rows)
          : Promise.reject(new Error(`${request.method} ${request.url}: ${answer.statusCode} ${answer.body}`));
    // Told of by who awaits it, which may be later.
    written.catch(() => undefined);
    onSent({ id, written });
    if (way !== 'goesOn') await written;
    if (rng.chance(0.5)) await sleep(rng.int(0, 30));
  }

  async function outcome(id: string, rows: Change['rows']): Promise<Written> {
    for (;;) {
      const answer = await call(tenant, { method: 'GET', url: `/v1/submissions/${id}?wait=20` });
      const { status, commitTimestamp } = answer.json<{ status: string; commitTimestamp?: string }>();
      if (status === 'applied' && commitTimestamp !== undefined) return { rows, commitTimestamp };
      if (status !== 'accepted') throw new Error(`${[...rows.keys()].join(', ')}: ${answer.statusCode} ${answer.body}`);
    }
  }

  function change(): Change {
    const held = next();
    const row = itemRow(tenant, item);
    const value = { kind: kindOf(held), held };
    const part = rng.pick(PARTS);
    const whole = new Map<string, Held>([
      [row, held],
      [partRow(tenant, item, part), held],
    ]);
    const way = rng.weighted(
      isThere
        ? { put: 5, patch: 5, putPart: 4, both: 3, deletePart: 1, delete: 2, insert: 0 }
        : { put: 2, patch: 0, putPart: 0, both: 2, deletePart: 0, delete: 0, insert: 2 },
    );
    const url = `/v1/items/${item}`;
    if (way === 'putPart' || way === 'both') parts.add(part);
    if (way !== 'delete') isThere = true;
    switch (way) {
      case 'put':
        return { method: 'PUT', url, payload: value, rows: new Map([[row, held]]) };
      case 'patch':
        return { method: 'PATCH', url, payload: value, rows: new Map([[row, held]]) };
      case 'insert':
        return { method: 'POST', url: '/v1/items', payload: { id: item, ...value }, rows: new Map([[row, held]]) };
      case 'putPart':
        return { method: 'PUT', url: `/v1/parts/${item}/${part}`, payload: { held }, rows: new Map([[partRow(tenant, item, part), held]]) };
      case 'deletePart':
        parts.delete(part);
        return { method: 'DELETE', url: `/v1/parts/${item}/${part}`, rows: new Map([[partRow(tenant, item, part), undefined]]) };
      case 'both':
        return {
          method: 'POST',
          url: '/v1/submissions',
          payload: {
            mutations: [
              { op: 'upsert', resource: 'items', key: [item], value },
              { op: 'upsert', resource: 'parts', key: [item, part], value: { held } },
            ],
          },
          rows: whole,
        };
      case 'delete': {
        isThere = false;
        // The parts go with it.
        const gone = [row, ...[...parts].map((p) => partRow(tenant, item, p))];
        parts.clear();
        return { method: 'DELETE', url, rows: new Map(gone.map((name) => [name, undefined])) };
      }
    }
  }
}
