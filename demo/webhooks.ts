/**
 * `npm run demo`: every real GitHub webhook of `@octokit/webhooks-examples` into a running Spanway, some of them
 * twice, then each row read back and compared. It ends with exit code 1 if anything differs.
 */
import { createRequire } from 'node:module';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import { Presets, SingleBar } from 'cli-progress';
import { complaintOf } from '../cli/complaint.ts';
import { ConfigError, readConfig } from '../cli/config.ts';
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

let token = '';
let isWaiting = false;

/** Once, until there is an answer again: of what is waited for. */
function waitFor(what: string): void {
  if (!isWaiting) process.stderr.write(`${what}\n`);
  isWaiting = true;
}

/** Tries again while the server is away or overloaded. @throws ConfigError where it does not come, or takes no token of this folder. */
async function call(
  path: string,
  init: { readonly method?: string; readonly headers?: Record<string, string>; readonly body?: string } = {},
): Promise<Response> {
  const until = performance.now() + PATIENCE_MS;
  return untilPasses(
    async () => {
      const headers = { authorization: `Bearer ${token}`, ...init.headers };
      const response = await fetch(`${url}${path}`, { ...init, headers }).catch((error: unknown) => {
        throw new ConfigError(`no answer from ${url}: start Spanway with npm start (${reasonOf(error)})`);
      });
      if (response.status >= 500)
        throw new ConfigError(`${init.method ?? 'GET'} ${url}${path} is answered with ${response.status}: ${await response.text()}`);
      isWaiting = false;
      return response;
    },
    { backoff: { minMs: 100, maxMs: 1000 }, when: () => performance.now() < until, onFailure: ({ message }) => waitFor(message) },
  );
}

/** As `fetch` has it: its own message says only that it failed. */
function reasonOf(error: unknown): string {
  const { code, message } = ((error as Error).cause ?? error) as NodeJS.ErrnoException;
  return code ?? message;
}

/** @throws ConfigError unless the answer has this status */
async function expectStatus(response: Response, status: number, what: string): Promise<void> {
  if (response.status === status) return;
  const text = await response.text();
  switch (response.status) {
    case 401:
      throw new ConfigError(
        `${url} does not take the token of ${config.dataDir}: set SPANWAY_DATA_DIR as it was for npm start; an issuer other than that of spanway dev has no token for the demo (401)`,
      );
    case 403:
      throw new ConfigError(
        `${url} does not let the demo write: the access rules of webhook-deliveries (SPANWAY_SCHEMAS) must allow webhook-deliveries:read and webhook-deliveries:write (403: ${text})`,
      );
    default:
      throw new ConfigError(`${what} is answered with ${response.status}: ${text}`);
  }
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
  await expectStatus(response, 202, `PUT ${id}`);
  return ((await response.json()) as { id: string }).id;
}

async function outcome(submission: string): Promise<Status> {
  for (;;) {
    const response = await call(`/v1/submissions/${submission}?wait=${WAIT_SECONDS}`);
    await expectStatus(response, 200, `the status of ${submission}`);
    const status = (await response.json()) as Status;
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

try {
  if (!/^https?:$/.test(URL.parse(url)?.protocol ?? ''))
    throw new ConfigError(`--url is ${JSON.stringify(url)}; it must be an http or https URL, as http://127.0.0.1:8080`);
  token = await signDevelopmentToken(config, {
    tenant: options.tenant,
    subject: 'demo',
    scopes: ['webhook-deliveries:read', 'webhook-deliveries:write'],
    ttlSeconds: 3600,
  });
  bar.start(all.length, 0);
  const waiting = [...all.entries()];
  await Promise.all(
    Array.from({ length: Number(options.concurrency) }, async () => {
      for (let next = waiting.shift(); next; next = waiting.shift()) await demonstrate(next[1], next[0] % TWICE_EVERY === 0);
    }),
  );
} catch (error) {
  const complaint = complaintOf(error, () => config);
  if (complaint === undefined) throw error;
  bar.stop();
  process.stderr.write(`demo: ${complaint}\n`);
  // What the others still wait for would say no more.
  process.exit(1);
}
bar.stop();
process.stdout.write(
  `submitted ${counts.submitted}, applied ${counts.applied}, duplicates that changed nothing ${counts.duplicates}, rejected ${counts.rejected}, mismatches ${counts.mismatches}\n`,
);
process.exitCode = counts.mismatches + counts.rejected > 0 ? 1 : 0;
