/** Readers: by every route, with every consistency, of rows that are being written. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Rng } from '../../ports/rng.ts';
import type { Held, Reading } from './model.ts';
import type { Answer, Call } from './run-model.ts';
import { itemRow, ITEMS, kindOf, partRow, PARTS, type Sent } from './writers.ts';

export interface ReaderParts {
  readonly tenant: string;
  readonly rng: Rng;
  readonly call: Call;
  /** The tenant's submissions so far. */
  readonly sent: readonly Sent[];
  readonly isOver: () => boolean;
  readonly onRead: (reading: Reading) => void;
}

interface Row {
  readonly id: string;
  readonly part?: string;
  readonly held: number;
}

interface Asked {
  readonly request: {
    readonly method: 'GET' | 'HEAD' | 'POST';
    readonly url: string;
    readonly payload?: object;
    readonly headers?: Readonly<Record<string, string>>;
  };
  readonly shown: (answer: Answer) => ReadonlyMap<string, Held>;
  readonly shows?: (held: Held) => Held;
}

const whole = (held: Held): Held => held;
const STALENESS_MS = [10, 50, 300, 2000, 60_000];

export async function read({ tenant, rng, call, sent, isOver, onRead }: ReaderParts): Promise<void> {
  /** What a version was of, by its row. */
  const versions = new Map<string, { readonly etag: string; readonly held: number }>();
  while (!isOver()) {
    const { request, shown, shows = whole } = ask();
    const { header, maxStalenessMs, after } = consistency();
    const headers = { ...request.headers, ...(header === undefined ? {} : { 'read-consistency': header }) };
    const beganMs = performance.now();
    const answer = await call(tenant, { ...request, headers });
    const said = `${request.method} ${request.url} (${header ?? 'no header'}): ${answer.statusCode}, ${String(answer.headers['cache-status'] ?? 'no cache')}`;
    if (![200, 304, 404].includes(answer.statusCode)) throw new Error(`${said} ${answer.body}`);
    const readTimestamp = String(answer.headers['read-timestamp']);
    onRead({ request: said, beganMs, maxStalenessMs, after, readTimestamp, shown: shown(answer), shows });
    if (rng.chance(0.3)) await sleep(rng.int(0, 5));
  }

  function consistency(): { readonly header?: string } & Pick<Reading, 'maxStalenessMs' | 'after'> {
    const way = rng.weighted({ none: 2, strong: 2, stale: 6, after: 2 });
    const submission = way === 'after' ? sent.at(-rng.int(1, Math.max(1, Math.min(3, sent.length)))) : undefined;
    if (submission) return { header: `after=${submission.id}`, maxStalenessMs: 0, after: submission.written };
    if (way !== 'stale') return { ...(way === 'none' ? {} : { header: 'strong' }), maxStalenessMs: 0, after: undefined };
    const maxStalenessMs = rng.pick(STALENESS_MS);
    return { header: `max-staleness=${maxStalenessMs / 1000}`, maxStalenessMs, after: undefined };
  }

  function ask(): Asked {
    const item = rng.pick(ITEMS);
    const part = rng.pick(PARTS);
    const way = rng.weighted({ item: 5, part: 4, head: 1, include: 2, batch: 2, items: 2, parts: 2, kind: 2 });
    switch (way) {
      case 'item':
        return single(itemRow(tenant, item), 'GET', `/v1/items/${item}`);
      case 'part':
        return single(partRow(tenant, item, part), 'GET', `/v1/parts/${item}/${part}`);
      case 'head': {
        const known = versions.get(itemRow(tenant, item));
        return known
          ? single(itemRow(tenant, item), 'HEAD', `/v1/items/${item}`)
          : single(itemRow(tenant, item), 'GET', `/v1/items/${item}`);
      }
      case 'include':
        return {
          request: { method: 'GET', url: `/v1/items/${item}?include=parts` },
          shown: (answer) => {
            const found = answer.statusCode === 404 ? undefined : answer.json<Row & { parts: readonly Row[] }>();
            return new Map([[itemRow(tenant, item), found?.held], ...partsShown([item], found?.parts ?? [])]);
          },
        };
      case 'batch':
        return {
          request: { method: 'POST', url: '/v1/parts:batchGet', payload: { keys: ITEMS.map((i) => [i, part]) } },
          shown: (answer) => {
            const { items } = answer.json<{ items: readonly (Row | null)[] }>();
            return new Map(ITEMS.map((i, at) => [partRow(tenant, i, part), items[at]?.held]));
          },
        };
      case 'items':
        return { request: { method: 'GET', url: `/v1/items?order=${rng.pick(['asc', 'desc'])}` }, shown: itemsShown };
      case 'parts':
        return {
          request: { method: 'GET', url: `/v1/parts/${item}?part.gte=1` },
          shown: (answer) => new Map(partsShown([item], answer.json<{ items: readonly Row[] }>().items)),
        };
      case 'kind': {
        const kind = rng.pick(['third', 'other']);
        return {
          request: { method: 'GET', url: `/v1/items?kind=${kind}` },
          shown: itemsShown,
          shows: (held) => (held !== undefined && kindOf(held) === kind ? held : undefined),
        };
      }
    }
  }

  /** A row by its key, conditional where a version of it is known. */
  function single(row: string, method: 'GET' | 'HEAD', url: string): Asked {
    const known = versions.get(row);
    return {
      request: { method, url, ...(known && (method === 'HEAD' || rng.chance(0.5)) ? { headers: { 'if-none-match': known.etag } } : {}) },
      shown: (answer) => {
        if (answer.statusCode === 404) return new Map([[row, undefined]]);
        if (answer.statusCode === 304) return new Map([[row, known?.held]]);
        // HEAD tells of a new version, and not what it holds.
        if (method === 'HEAD') return new Map();
        const { held } = answer.json<Row>();
        versions.set(row, { etag: String(answer.headers['etag']), held });
        return new Map([[row, held]]);
      },
    };
  }

  function itemsShown(answer: Answer): ReadonlyMap<string, Held> {
    const { items } = answer.json<{ items: readonly Row[] }>();
    return new Map(ITEMS.map((item) => [itemRow(tenant, item), items.find(({ id }) => id === item)?.held]));
  }

  function partsShown(items: readonly string[], found: readonly Row[]): [string, Held][] {
    return items.flatMap((item) =>
      PARTS.map((part): [string, Held] => [partRow(tenant, item, part), found.find((row) => row.part === part)?.held]),
    );
  }
}
