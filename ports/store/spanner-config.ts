/** What a `spanner:` URL says, and the client made from it. */
import { Spanner } from '@google-cloud/spanner';
import { AdapterConfigError } from '../errors.ts';

export interface SpannerConfig {
  readonly project: string;
  readonly instance: string;
  readonly database: string;
  /** `HOST:PORT` of an emulator; absent: Google Cloud, with the application default credentials. */
  readonly emulator?: string;
  /** The deadline of each request with its retries, in milliseconds. Default 30,000; 100 to 600,000. */
  readonly timeoutMs: number;
  /** How long a read-write transaction is run again after ABORTED, in milliseconds. Default 60,000; 100 to 600,000. */
  readonly transactionTimeoutMs: number;
}

const FORM = 'spanner://PROJECT/INSTANCE/DATABASE[?emulator=HOST:PORT&timeoutMs=30000&transactionTimeoutMs=60000]';
const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_TRANSACTION_TIMEOUT_MS = 60_000;

export function readSpannerUrl(url: URL): SpannerConfig {
  const fail = (what: string): never => {
    throw new AdapterConfigError(`store: ${url.href}: ${what}; expected ${FORM}`);
  };
  const [instance = '', database = '', ...rest] = url.pathname.slice(1).split('/');
  if (url.host === '' || instance === '' || database === '' || rest.length > 0) fail('project, instance and database are needed');
  // https://cloud.google.com/spanner/quotas#databases
  if (!/^[a-z][a-z0-9_-]{0,28}[a-z0-9]$/.test(database))
    fail(`${JSON.stringify(database)} is no database id (2 to 30 of a-z, 0-9, _ and -)`);

  const milliseconds = (name: string, preset: number): number => {
    const text = url.searchParams.get(name);
    const value = text === null ? preset : Number(text);
    if (!Number.isInteger(value) || value < 100 || value > 600_000) fail(`${name} is ${text}, not from 100 to 600000`);
    return value;
  };
  const emulator = url.searchParams.get('emulator');
  if (emulator !== null && !/^[^:/]+:\d+$/.test(emulator)) fail(`emulator is ${JSON.stringify(emulator)}, not HOST:PORT`);
  return {
    project: url.host,
    instance,
    database,
    ...(emulator === null ? {} : { emulator }),
    timeoutMs: milliseconds('timeoutMs', DEFAULT_TIMEOUT_MS),
    transactionTimeoutMs: milliseconds('transactionTimeoutMs', DEFAULT_TRANSACTION_TIMEOUT_MS),
  };
}

/** @throws AdapterConfigError when the environment names an emulator and the URL does not. */
export function makeClient(config: SpannerConfig): Spanner {
  if (config.emulator === undefined) {
    // The client would go there, with the sessions of Google Cloud, and the process would end.
    const host = process.env['SPANNER_EMULATOR_HOST'];
    if (host)
      throw new AdapterConfigError(
        `store: SPANNER_EMULATOR_HOST is ${host}, and the URL names no emulator; add ?emulator=${host} or unset it`,
      );
    return new Spanner({ projectId: config.project });
  }
  // An emulator is called without credentials. Left to find out the universe, the client would ask a metadata server,
  // which off Google Cloud takes a while and prints a warning.
  return withEmulator(config, () => new Spanner({ projectId: config.project, universeDomain: 'googleapis.com' }));
}

/**
 * The client takes the emulator's address, and whether to use multiplexed sessions, from the environment alone: the
 * first while a Spanner is made, the second while a Database is. They are set for just that time, so that a process
 * may use an emulator and Google Cloud side by side. Multiplexed sessions are off with the emulator only, whose
 * sessions are not multiplexed: the client would end the process with "Unable to release unknown resource".
 */
export function withEmulator<T>(config: SpannerConfig, make: () => T): T {
  if (config.emulator === undefined) return make();
  const settings = {
    SPANNER_EMULATOR_HOST: config.emulator,
    GOOGLE_CLOUD_SPANNER_MULTIPLEXED_SESSIONS: 'false',
    GOOGLE_CLOUD_SPANNER_MULTIPLEXED_SESSIONS_FOR_RW: 'false',
  };
  const before = Object.keys(settings).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, settings);
  try {
    return make();
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = value;
    }
  }
}
