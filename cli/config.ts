/** The settings: read from the environment once, checked, frozen. Who else may read it, `eslint.boundaries.js` says. */
import { join } from 'node:path';
import type { Rate } from '../producers/gateway/rate-limits.ts';
import { SpanwayError } from '../schemas/errors.ts';
import { MAX_COMMIT_MUTATIONS } from '../schemas/resource/cost.ts';
import { MAX_KEY_BYTES } from '../schemas/resource/validate.ts';

export class ConfigError extends SpanwayError {
  override readonly name = 'ConfigError';
  constructor(message: string) {
    super('config', message);
  }
}

type Env = Readonly<Record<string, string | undefined>>;

/** One setting: its variable, what it means, its default as it is shown, and how its text is read. */
interface Setting<T> {
  readonly variable: string;
  readonly meaning: string;
  readonly standard: string;
  readonly read: (text: string | undefined) => T;
}

function text(variable: string, standard: string, meaning: string): Setting<string> {
  return { variable, meaning, standard, read: (given) => given ?? standard };
}

function optional(variable: string, meaning: string, standard = 'none'): Setting<string | undefined> {
  return { variable, meaning, standard, read: (given) => given };
}

function integer(variable: string, standard: number, range: readonly [number, number], meaning: string): Setting<number> {
  return {
    variable,
    meaning: `${meaning} (${range[0]} to ${range[1]})`,
    standard: String(standard),
    read: (given) => {
      if (given === undefined) return standard;
      const value = /^\d{1,15}$/.test(given) ? Number(given) : Number.NaN;
      if (!(value >= range[0] && value <= range[1])) {
        throw new ConfigError(`${variable} is ${JSON.stringify(given)}; it must be a whole number from ${range[0]} to ${range[1]}`);
      }
      return value;
    },
  };
}

function optionalInteger(
  variable: string,
  standard: string,
  range: readonly [number, number],
  meaning: string,
): Setting<number | undefined> {
  const setting = integer(variable, 0, range, meaning);
  return { ...setting, standard, read: (given) => (given === undefined ? undefined : setting.read(given)) };
}

function choice<const C extends readonly string[]>(variable: string, standard: C[number], choices: C, meaning: string): Setting<C[number]> {
  return {
    variable,
    meaning: `${meaning} (${choices.join(', ')})`,
    standard,
    read: (given) => {
      if (given === undefined) return standard;
      if (!choices.includes(given))
        throw new ConfigError(`${variable} is ${JSON.stringify(given)}; it must be one of ${choices.join(', ')}`);
      return given;
    },
  };
}

/** At most as many as a bucket takes: `Bucket` in the cache port. */
const RATE = /^(\d{1,6}(?:\.\d{1,3})?)(?::(\d{1,7}))?$/;
export const RATE_FORM = 'RATE or RATE:BURST, with 0.001 to 100000 requests a second and a burst of 1 to 1000000';

/** `100`, or `100:500` for a burst that is not that of one second; undefined where it is neither. */
export function parseRate(text: string): Rate | undefined {
  const [, rate = '', given] = RATE.exec(text) ?? [];
  const perSecond = Number(rate);
  const burst = given === undefined ? Math.ceil(perSecond) : Number(given);
  return perSecond > 0 && perSecond <= 100_000 && burst >= 1 && burst <= 1_000_000 ? { perSecond, burst } : undefined;
}

function rate(variable: string, meaning: string): Setting<Rate | undefined> {
  return {
    variable,
    meaning,
    standard: 'no limit',
    read: (given) => {
      const parsed = given === undefined ? undefined : parseRate(given);
      if (given !== undefined && !parsed) throw new ConfigError(`${variable} is ${JSON.stringify(given)}; it must be ${RATE_FORM}`);
      return parsed;
    },
  };
}

/** Every setting, in the order in which the README lists them. */
export const SETTINGS = {
  port: integer('PORT', 8080, [0, 65535], 'Port of the gateway, and of `spanway issuer`; 0 takes a free one'),
  host: text('SPANWAY_HOST', '127.0.0.1', 'Address that the gateway, `spanway board` and `spanway issuer` listen on; 0.0.0.0 for all'),
  dataDir: text('SPANWAY_DATA_DIR', '.spanway', 'Folder of the embedded adapters, the development keys and secrets'),
  schemas: text('SPANWAY_SCHEMAS', 'schemas', 'Folder of the resource files'),
  logLevel: choice(
    'SPANWAY_LOG_LEVEL',
    'info',
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
    'Lines below it are not written',
  ),
  queue: optional('SPANWAY_QUEUE', 'Queue: `sqs:QUEUE_URL` or `sqlite:FILE`', '`sqlite:` in the data folder'),
  topic: optional('SPANWAY_TOPIC', 'Topic: `pubsub://PROJECT/TOPIC` or `sqlite:FILE`', '`sqlite:` in the data folder'),
  store: optional('SPANWAY_STORE', 'Database: `spanner://PROJECT/INSTANCE/DATABASE` or `sqlite:FILE`', '`sqlite:` in the data folder'),
  events: optional('SPANWAY_EVENTS', 'Outcome events: `eventbridge:BUS` or `sqlite:FILE`', '`sqlite:` in the data folder'),
  cache: text(
    'SPANWAY_CACHE',
    'memory:',
    'Cache, outcome signals and rate limits: `redis://HOST:PORT`, `rediss://…`, or `memory:` in one process',
  ),
  jobs: optional('SPANWAY_JOBS', 'Replay jobs: `redis://HOST:PORT`, `rediss://…` or `sqlite:FILE`', '`sqlite:` in the data folder'),
  boardPort: integer('SPANWAY_BOARD_PORT', 8081, [0, 65535], 'Port of `spanway board`, on `SPANWAY_HOST`; 0 takes a free one'),
  boardUrl: optional('SPANWAY_BOARD_URL', 'Where people open the board; commands link to it', '`http://127.0.0.1:` and the port'),
  boardScope: text('SPANWAY_BOARD_SCOPE', 'spanway:operate', 'The scope that a token must have for the board'),
  secrets: optional('SPANWAY_SECRETS', 'Secrets: `env:` or `file:FOLDER`', '`file:` secrets in the data folder'),
  oidcIssuer: optional('SPANWAY_OIDC_ISSUER', 'The `iss` of the tokens that are taken', 'needed by `spanway gateway`'),
  oidcJwksUrl: optional('SPANWAY_OIDC_JWKS_URL', "Where the issuer's keys are", "found by the issuer's discovery document"),
  oidcIssuers: optional(
    'SPANWAY_OIDC_ISSUERS',
    'JSON file with several issuers, in place of `SPANWAY_OIDC_ISSUER`; what an issuer does not say there, the settings below say',
  ),
  oidcAudience: text('SPANWAY_OIDC_AUDIENCE', 'spanway', 'The `aud` that a token must hold'),
  oidcAlgorithms: text('SPANWAY_OIDC_ALGORITHMS', 'RS256,PS256,ES256,EdDSA', 'Signature algorithms that are taken, asymmetric ones'),
  oidcTokenTypes: text('SPANWAY_OIDC_TOKEN_TYPES', 'at+jwt', 'The `typ` that a token may have: `at+jwt`, `JWT`, `none` where it has none'),
  oidcTenantClaim: text('SPANWAY_OIDC_TENANT_CLAIM', 'tenant', 'The claim that names the tenant'),
  oidcClockToleranceSeconds: integer('SPANWAY_OIDC_CLOCK_TOLERANCE_SECONDS', 5, [0, 300], 'How far the clocks may differ'),
  lambdaIdentity: text(
    'SPANWAY_LAMBDA_IDENTITY',
    'token',
    'What tells the gateway who calls, as a Lambda function: one or more of `token`, `authorizer`, `iam`, with commas between them',
  ),
  lambdaPrincipals: optional('SPANWAY_LAMBDA_PRINCIPALS', 'JSON file that says as whom IAM callers are taken, for `iam`'),
  lambdaBasePath: optional('SPANWAY_LAMBDA_BASE_PATH', 'What API Gateway puts before the paths of the API, as `/api`'),
  packSignature: choice(
    'SPANWAY_PACK_SIGNATURE',
    'hmac-sha256',
    ['hmac-sha256', 'ed25519'],
    'How packs are signed; with ed25519 the appliers cannot sign',
  ),
  shardCount: integer('SPANWAY_SHARDS', 10, [1, 10_000], 'Shards: the units of order on both brokers. Drain before you change it'),
  maxPackEnvelopes: integer(
    'SPANWAY_PACK_MAX_ENVELOPES',
    100,
    [1, 10_000],
    'Envelopes of one message; 1 for other subscribers that want one CloudEvent a message',
  ),
  maxPackBytes: integer(
    'SPANWAY_PACK_MAX_BYTES',
    262_144,
    [1024, 1_000_000],
    'Bytes of one message; an envelope that is larger goes alone',
  ),
  maxSends: integer('SPANWAY_MAX_SENDS', 4, [1, 256], 'Sends to the queue under way at once'),
  sendLingerMs: integer(
    'SPANWAY_SEND_LINGER_MS',
    5,
    [0, 1000],
    'How long a send waits to fill while others are under way; a lone write does not wait',
  ),
  maxPending: integer('SPANWAY_MAX_PENDING', 10_000, [1, 1_000_000], 'Writes that wait for the queue; past it they get 503'),
  maxPendingBytes: integer(
    'SPANWAY_MAX_PENDING_BYTES',
    67_108_864,
    [2_097_152, 4_294_967_296],
    'Bytes of the writes that wait for the queue; past it they get 503',
  ),
  acceptTimeoutMs: integer(
    'SPANWAY_ACCEPT_TIMEOUT_MS',
    5000,
    [50, 60_000],
    "How long a write waits for its turn at the queue, and then again for the queue's answer, before it gets 503",
  ),
  maxLoopDelayMs: integer(
    'SPANWAY_MAX_LOOP_DELAY_MS',
    250,
    [0, 60_000],
    'How late the event loop of the gateway may be, as a mean over a second, before writes get 503 unread; 0: however late',
  ),
  maxConnections: integer('SPANWAY_MAX_CONNECTIONS', 10_000, [1, 1_000_000], 'Connections at once; a new one past it is closed at once'),
  requestTimeoutSeconds: integer(
    'SPANWAY_REQUEST_TIMEOUT_SECONDS',
    30,
    [1, 600],
    'How long a request may take to arrive as a whole; past it 408',
  ),
  rateTenantWrites: rate('SPANWAY_RATE_TENANT_WRITES', 'Writes that each tenant may send: `RATE` a second, or `RATE:BURST`'),
  rateTenantReads: rate('SPANWAY_RATE_TENANT_READS', 'Reads that each tenant may send'),
  rateCallerWrites: rate('SPANWAY_RATE_CALLER_WRITES', 'Writes that each caller may send, a person or a service'),
  rateCallerReads: rate('SPANWAY_RATE_CALLER_READS', 'Reads that each caller may send'),
  rateAgentWrites: rate('SPANWAY_RATE_AGENT_WRITES', 'Writes that each agent may send for the callers of a tenant, together'),
  rateAgentReads: rate('SPANWAY_RATE_AGENT_READS', 'Reads that each agent may send for the callers of a tenant, together'),
  rateTenants: optional('SPANWAY_RATE_TENANTS', 'JSON file with other rates for some tenants'),
  maxBodyBytes: integer('SPANWAY_MAX_BODY_BYTES', 1_048_576, [1024, 10_485_760], "Bytes of a request's body"),
  maxHeaderBytes: integer('SPANWAY_MAX_HEADER_BYTES', 16_384, [4096, 131_072], "Bytes of a request's line and headers"),
  maxJsonDepth: integer('SPANWAY_MAX_JSON_DEPTH', 100, [8, 1000], "Levels of arrays and objects in a request's body"),
  maxKeyBytes: integer('SPANWAY_MAX_KEY_BYTES', MAX_KEY_BYTES, [16, MAX_KEY_BYTES], "Bytes of a row's key, without the tenant"),
  maxSubmissionBytes: optionalInteger(
    'SPANWAY_MAX_SUBMISSION_BYTES',
    'what the queue takes',
    [1024, 1_048_576],
    'Bytes of one submission as it travels',
  ),
  maxMutations: integer('SPANWAY_MAX_MUTATIONS', 500, [1, 10_000], 'Mutations of one submission'),
  maxWaitSeconds: integer('SPANWAY_MAX_WAIT_SECONDS', 30, [0, 600], 'Longest wait for an outcome in one request'),
  maxWaiters: integer(
    'SPANWAY_MAX_WAITERS',
    1000,
    [0, 100_000],
    'Requests that wait for an outcome at once; the next ones are answered without waiting',
  ),
  readTimeoutMs: integer('SPANWAY_READ_TIMEOUT_MS', 5000, [10, 600_000], 'How long a read may wait for the database; past it, it gets 503'),
  maxReads: integer(
    'SPANWAY_MAX_READS',
    2,
    [1, 256],
    'Reads of single rows of one table under way at once, strong ones and others each; what comes meanwhile is gathered',
  ),
  maxReadKeys: integer('SPANWAY_MAX_READ_KEYS', 500, [1, 10_000], 'Rows that are read together'),
  pageRows: integer('SPANWAY_PAGE_ROWS', 50, [1, 10_000], 'Rows of a page where the caller gives no limit'),
  maxPageRows: integer('SPANWAY_MAX_PAGE_ROWS', 1000, [1, 10_000], 'Rows of a page, children with a row, and keys of a batch, at most'),
  receiptTtlSeconds: integer('SPANWAY_RECEIPT_TTL_SECONDS', 86_400, [1, 2_592_000], 'How long the cache keeps a receipt for retries'),
  bridgeReceivers: integer(
    'SPANWAY_BRIDGE_RECEIVERS',
    4,
    [1, 256],
    'Batches of the bridge at once, each from its receive until it is forwarded',
  ),
  receiveWaitSeconds: integer('SPANWAY_RECEIVE_WAIT_SECONDS', 20, [0, 20], 'How long one receive waits for a message'),
  visibilitySeconds: integer(
    'SPANWAY_VISIBILITY_SECONDS',
    30,
    [2, 43_200],
    'How long a received message stays hidden from others; extended while it is forwarded',
  ),
  maxBatchCount: integer('SPANWAY_APPLY_BATCH_COUNT', 500, [1, 10_000], 'Submissions of one commit'),
  maxBatchBytes: integer(
    'SPANWAY_APPLY_BATCH_BYTES',
    2_097_152,
    [1024, 2_500_000],
    'Bytes of the envelopes of one commit; each JSON value that merges counts 32768 more',
  ),
  maxBatchMutations: integer(
    'SPANWAY_APPLY_BATCH_MUTATIONS',
    40_000,
    [1, MAX_COMMIT_MUTATIONS],
    'Mutations of one commit, as Spanner counts them',
  ),
  lingerMs: integer(
    'SPANWAY_APPLY_LINGER_MS',
    2,
    [0, 1000],
    'How long a batch may wait to fill while there is traffic; a lone write does not wait',
  ),
  parallelism: optionalInteger(
    'SPANWAY_APPLY_PARALLELISM',
    '8 on Spanner, 1 on the emulator and embedded',
    [1, 256],
    'Commits under way at once',
  ),
  maxAttempts: integer(
    'SPANWAY_APPLY_MAX_ATTEMPTS',
    5,
    [2, 100],
    'Tries of a submission that fails for no known reason, before it is dead-lettered',
  ),
  keyPatienceSeconds: integer(
    'SPANWAY_KEY_PATIENCE_SECONDS',
    180,
    [0, 3600],
    'How long the applier looks for a signing key that it does not know, before it parks the pack',
  ),
  maxOutstandingMessages: integer('SPANWAY_MAX_OUTSTANDING_MESSAGES', 1000, [1, 100_000], 'Packs the applier holds at once'),
  maxOutstandingBytes: integer(
    'SPANWAY_MAX_OUTSTANDING_BYTES',
    67_108_864,
    [1_048_576, 4_294_967_296],
    'Bytes of packs the applier holds at once',
  ),
  replayConcurrency: integer('SPANWAY_REPLAY_CONCURRENCY', 2, [1, 64], 'Replay jobs that one worker runs at once'),
  sealSeconds: integer('SPANWAY_SEAL_SECONDS', 30, [1, 86_400], 'How often the replay worker seals what is new in the ledger'),
  retryMinMs: integer('SPANWAY_RETRY_MIN_MS', 50, [1, 60_000], 'First wait before a failed call is tried again; it doubles, with jitter'),
  retryMaxMs: integer('SPANWAY_RETRY_MAX_MS', 10_000, [1, 600_000], 'Longest wait before a failed call is tried again'),
  stopSeconds: integer('SPANWAY_STOP_SECONDS', 20, [1, 600], 'How long a stop waits for what is under way'),
} as const;

type Read = { readonly [K in keyof typeof SETTINGS]: ReturnType<(typeof SETTINGS)[K]['read']> };

/** The settings with the defaults that depend on others filled in. */
export interface Config extends Omit<Read, 'queue' | 'topic' | 'store' | 'events' | 'jobs' | 'boardUrl' | 'secrets'> {
  readonly queue: string;
  readonly topic: string;
  readonly store: string;
  readonly events: string;
  readonly jobs: string;
  /** Without a `/` at its end. */
  readonly boardUrl: string;
  readonly secrets: string;
  /** `NODE_ENV=production`: nothing meant for development works. */
  readonly production: boolean;
}

/** @throws ConfigError with the variable, what it was, and what it must be. */
export function readConfig(env: Env = process.env): Config {
  const known = new Set<string>(Object.values(SETTINGS).map((s) => s.variable));
  const unknown = Object.keys(env).find(
    (name) => name.startsWith('SPANWAY_') && !known.has(name) && !name.startsWith('SPANWAY_SECRET_') && !name.startsWith('SPANWAY_TEST_'),
  );
  if (unknown !== undefined) throw new ConfigError(`${unknown} is no setting of Spanway; the README lists them`);
  const entries = Object.entries(SETTINGS).map(([key, setting]) => {
    const given = env[setting.variable];
    return [key, setting.read(given === '' ? undefined : given)];
  });
  return complete(Object.fromEntries(entries) as Read, env['NODE_ENV'] === 'production');
}

function complete(read: Read, production: boolean): Config {
  if (read.retryMaxMs < read.retryMinMs) {
    throw new ConfigError(`SPANWAY_RETRY_MAX_MS is ${read.retryMaxMs}; it must not be below SPANWAY_RETRY_MIN_MS, ${read.retryMinMs}`);
  }
  const embedded = `sqlite:${read.dataDir}/spanway.db`;
  return Object.freeze({
    ...read,
    // A file of its own: the gateway writes to the queue alone, and so waits for no commit of the applier.
    queue: read.queue ?? `sqlite:${read.dataDir}/queue.db`,
    topic: read.topic ?? embedded,
    store: read.store ?? embedded,
    events: read.events ?? embedded,
    jobs: read.jobs ?? `sqlite:${read.dataDir}/jobs.db`,
    boardUrl: boardUrlOf(read),
    secrets: read.secrets ?? `file:${secretsFolder(read)}`,
    production,
  });
}

/** In the data folder, one for each algorithm: its keys are not the other's. */
export function secretsFolder({ dataDir, packSignature }: Pick<Config, 'dataDir' | 'packSignature'>): string {
  return join(dataDir, packSignature === 'ed25519' ? 'secrets-ed25519' : 'secrets');
}

function boardUrlOf({ boardUrl, boardPort }: Read): string {
  if (boardUrl === undefined) return `http://127.0.0.1:${boardPort}`;
  const url = URL.parse(boardUrl);
  if (!url || !/^https?:$/.test(url.protocol) || url.pathname !== '/' || url.search !== '' || url.hash !== '')
    throw new ConfigError(
      `SPANWAY_BOARD_URL is ${JSON.stringify(boardUrl)}; it must be an http or https URL without a path, as https://board.example.com`,
    );
  return url.origin;
}

/** Whether npm took this option for its own: `npm run token --tenant t1` leaves it in the environment, with no `--` before it. */
export function wasTakenByNpm(option: string, env: Env = process.env): boolean {
  return env[`npm_config_${option.replaceAll('-', '_')}`] !== undefined;
}

/** The configuration with other adapters, as `spanway dev --real` needs it. */
export function withAdapters(
  config: Config,
  adapters: Partial<Pick<Config, 'queue' | 'topic' | 'store' | 'events' | 'jobs' | 'cache'>>,
): Config {
  return Object.freeze({ ...config, ...adapters });
}
