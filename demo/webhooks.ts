/**
 * `npm run demo`: every real GitHub webhook of `@octokit/webhooks-examples` into a running Spanway, some of them
 * twice, then each row read back and compared. It ends with exit code 1 if anything differs.
 */
import { createRequire } from 'node:module';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import { Presets, SingleBar } from 'cli-progress';
import { readConfig } from '../cli/config.ts';
import { signDevelopmentToken } from '../cli/dev-issuer.ts';
import { untilPasses } from '../ports/backoff.ts';
import { canonicalTimestamp } from '../schemas/resource/cells.ts';

const { values: options } = parseArgs({
  options: {
    /** Where the gateway listens. */
    url: { type: 'string' },
    tenant: { type: 'string', default: 'demo' },
    /** Requests under way at once. */
    concurrency: { type: 'string', default: '16' },
  },
});
const config = readConfig();
const url = options.url ?? `http://127.0.0.1:${config.port}`;
/** Every so many deliveries are submitted twice, as a client does that missed the answer. */
const TWICE_EVERY = 5;
/** A server that is being restarted is waited for this long. */
const PATIENCE_MS = 120_000;
/** How long one request waits for an outcome. */
const WAIT_SECONDS = 20;

interface Delivery {
  readonly id: string;
  readonly row: Readonly<Record<string, unknown>>;
}

interface Status {
  readonly id: string;
  readonly status: 'accepted' | 'applied' | 'rejected' | 'dead_lettered';
  readonly reason?: string;
  readonly commitTimestamp?: string;
  readonly acceptedAt?: string;
}

const token = await signDevelopmentToken(config, {
  tenant: options.tenant,
  subject: 'demo',
  scopes: ['webhook-deliveries:read', 'webhook-deliveries:write'],
  ttlSeconds: 3600,
});

/** Tries again while the server is away or overloaded. */
async function call(
  path: string,
  init: { readonly method?: string; readonly headers?: Record<string, string>; readonly body?: string } = {},
): Promise<Response> {
  const until = performance.now() + PATIENCE_MS;
  return untilPasses(
    async () => {
      const response = await fetch(`${url}${path}`, { ...init, headers: { authorization: `Bearer ${token}`, ...init.headers } });
      if (response.status >= 500) throw new Error(`${init.method ?? 'GET'} ${path}: ${response.status} ${await response.text()}`);
      return response;
    },
    { backoff: { minMs: 100, maxMs: 1000 }, when: () => performance.now() < until },
  );
}

function deliveries(): Delivery[] {
  const events = createRequire(import.meta.url)('@octokit/webhooks-examples') as {
    readonly name: string;
    readonly examples: readonly Payload[];
  }[];
  return events.flatMap(({ name, examples }) =>
    examples.map((payload, i) => ({
      id: `${name}-${i}`,
      row: {
        event: name,
        action: payload.action ?? null,
        repository: payload.repository?.full_name ?? null,
        sender: payload.sender?.login ?? null,
        occurredAt: occurredAt(payload, name),
        payload,
      },
    })),
  );
}

interface Payload {
  readonly action?: string;
  readonly repository?: { readonly full_name?: string; readonly updated_at?: unknown };
  readonly sender?: { readonly login?: string };
  readonly [object: string]: unknown;
}

/** When the object the event is about was last changed, or its repository; null where the payload has no such time. */
function occurredAt(payload: Payload, event: string): string | null {
  const subject = payload[event] as { updated_at?: unknown; created_at?: unknown } | undefined;
  for (const time of [subject?.updated_at, subject?.created_at, payload.repository?.updated_at]) {
    const timestamp = typeof time === 'string' ? canonicalTimestamp(time) : undefined;
    if (timestamp !== undefined) return timestamp;
  }
  return null;
}

async function submit({ id, row }: Delivery): Promise<string> {
  const response = await call(`/v1/webhook-deliveries/${id}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json', 'idempotency-key': `demo-${id}` },
    body: JSON.stringify(row),
  });
  if (response.status !== 202) throw new Error(`PUT ${id}: ${response.status} ${await response.text()}`);
  return ((await response.json()) as { id: string }).id;
}

async function outcome(submission: string): Promise<Status> {
  for (;;) {
    const response = await call(`/v1/submissions/${submission}?wait=${WAIT_SECONDS}`);
    const status = (await response.json()) as Status;
    if (response.status !== 200) throw new Error(`status of ${submission}: ${response.status} ${JSON.stringify(status)}`);
    if (status.status !== 'accepted') return status;
  }
}

/** What the row says that the delivery does not; undefined where they agree. */
async function mismatch({ id, row }: Delivery, commitTimestamp: string | undefined): Promise<string | undefined> {
  const response = await call(`/v1/webhook-deliveries/${id}`);
  if (response.status !== 200) return `${id}: GET answered ${response.status}`;
  const { deliveryId, updatedAt, ...stored } = (await response.json()) as Record<string, unknown>;
  if (deliveryId !== id) return `${id}: the row has the key ${String(deliveryId)}`;
  // A duplicate that had changed anything would have left a later version.
  if (updatedAt !== commitTimestamp)
    return `${id}: the row's version is ${String(updatedAt)}, not that of its commit, ${commitTimestamp ?? 'none'}`;
  const field = Object.keys(row).find((name) => !isDeepStrictEqual(stored[name], row[name]));
  return field === undefined ? undefined : `${id}: ${field} reads ${JSON.stringify(stored[field])}`;
}

const counts = { submitted: 0, applied: 0, duplicates: 0, rejected: 0, mismatches: 0 };
const startedAt = new Date().toISOString();
const all = deliveries();
const bar = new SingleBar(
  { format: '{bar} {value}/{total} webhooks | {duration_formatted}', noTTYOutput: true, notTTYSchedule: 2000 },
  Presets.shades_classic,
);

async function demonstrate(delivery: Delivery, twice: boolean): Promise<void> {
  const receipts = [await submit(delivery), ...(twice ? [await submit(delivery)] : [])];
  counts.submitted += receipts.length;
  const statuses = await Promise.all(receipts.map(outcome));
  statuses.forEach((status, i) => {
    if (status.status !== 'applied') {
      counts.rejected += 1;
      process.stderr.write(`${delivery.id}: ${status.status} ${status.reason ?? ''}\n`);
    } else if (i > 0 || (status.acceptedAt ?? '') < startedAt) counts.duplicates += 1;
    else counts.applied += 1;
  });
  const different = new Set(statuses.map((s) => s.commitTimestamp)).size > 1;
  const why = different ? `${delivery.id}: its duplicate has another commit` : await mismatch(delivery, statuses[0]?.commitTimestamp);
  if (why !== undefined) {
    counts.mismatches += 1;
    process.stderr.write(`${why}\n`);
  }
  bar.increment();
}

bar.start(all.length, 0);
const waiting = [...all.entries()];
await Promise.all(
  Array.from({ length: Number(options.concurrency) }, async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) await demonstrate(next[1], next[0] % TWICE_EVERY === 0);
  }),
);
bar.stop();
process.stdout.write(
  `submitted ${counts.submitted}, applied ${counts.applied}, duplicates that changed nothing ${counts.duplicates}, rejected ${counts.rejected}, mismatches ${counts.mismatches}\n`,
);
process.exitCode = counts.mismatches + counts.rejected > 0 ? 1 : 0;
