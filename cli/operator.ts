/** What the operator's commands share: the adapters, selections from options, lines and JSON. */
import { statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { dirname, resolve } from 'node:path';
import type { Logger } from 'pino';
import { sqlitePath } from '../ports/adapter.ts';
import { openQueue } from '../ports/queue/index.ts';
import type { HoldsDeadLetters, Queue } from '../ports/queue/port.ts';
import { openSecrets } from '../ports/secrets/index.ts';
import { openStore } from '../ports/store/index.ts';
import type { Store } from '../ports/store/port.ts';
import type { RowChange } from '../producers/replay/diff.ts';
import { keyCells, type Selection } from '../producers/replay/select.ts';
import type { SenderParts } from '../producers/replay/sender.ts';
import { compareInstants } from '../schemas/envelope/history.ts';
import type { Verifier } from '../schemas/envelope/key-ring.ts';
import { canonicalTimestamp, timestampOf } from '../schemas/resource/cells.ts';
import type { ResourceSet } from '../schemas/resource/registry.ts';
import { type Config, ConfigError, SETTINGS } from './config.ts';
import { followSigner, followVerifier, PACK_KEYS } from './keys.ts';
import { createLog } from './log.ts';
import { ResourceFolder } from './resource-folder.ts';

/** How a command exits when some letters or records did not end as they should, or what was rebuilt differs. */
export const SOME_LEFT = 2;

export interface SelectionOptions {
  readonly from?: string;
  readonly to?: string;
  readonly tenant?: string;
  readonly resource?: string;
  readonly key?: string;
  readonly correlationId?: string;
  readonly reason?: string;
}

export interface OperatorParts {
  readonly store: Store;
  readonly queue: Queue & HoldsDeadLetters;
  readonly resources: ResourceSet;
  readonly log: Logger;
}

/**
 * An operator looks at what is there: a mistyped name must not make an empty database. What else is embedded is made with
 * its first use, in a folder that is there.
 * @throws ConfigError
 */
export function checkDataIsThere(config: Config, ...ports: readonly ('store' | 'queue' | 'jobs')[]): void {
  for (const port of ports) {
    if (!config[port].startsWith('sqlite:')) continue;
    const file = resolve(sqlitePath(port, new URL(config[port])));
    const path = port === 'store' ? file : dirname(file);
    if (statSync(path, { throwIfNoEntry: false })) continue;
    throw new ConfigError(
      `there is no data at ${path}: check SPANWAY_DATA_DIR (${config.dataDir}) and ${SETTINGS[port].variable} (${config[port]}); spanway dev and spanway schema apply make a new database`,
    );
  }
}

/** Opens what the command needs, and closes it when `work` has ended. */
export async function withOperator<T>(config: Config, work: (parts: OperatorParts) => Promise<T>): Promise<T> {
  checkDataIsThere(config, 'store', 'queue');
  const { current } = await ResourceFolder.open(config.schemas);
  const store = await openStore(config.store);
  const queue = await openQueue(config.queue);
  try {
    return await work({ store, queue, resources: current, log: createLog({ logLevel: 'silent' }) });
  } finally {
    await Promise.all([store.close(), queue.close()]);
  }
}

interface SendingParts {
  readonly sender: SenderParts;
  readonly verifier: () => Verifier;
}

/** What sends to the queue in the gateway's place; it needs the secrets of both ends. Interrupted by SIGINT. */
export async function withSending<T>(config: Config, { queue, log }: OperatorParts, work: (parts: SendingParts) => Promise<T>): Promise<T> {
  const secrets = await openSecrets(config.secrets);
  const signer = await followSigner(secrets, PACK_KEYS, config.packSignature, log);
  const verifier = await followVerifier(secrets, config.packSignature, log);
  const stopping = new AbortController();
  const interrupt = (): void => stopping.abort(new ConfigError('interrupted; what was sent is on its way, and asking again is safe'));
  process.once('SIGINT', interrupt);
  try {
    return await work({
      verifier: verifier.current,
      sender: {
        queue,
        signer: signer.current,
        signal: stopping.signal,
        settings: { ...config, backoff: { minMs: config.retryMinMs, maxMs: config.retryMaxMs } },
        onFailure: (error, attempt) => note(`cannot send to the queue (try ${attempt}): ${error.message}`),
      },
    });
  } finally {
    process.off('SIGINT', interrupt);
    signer.stop();
    verifier.stop();
  }
}

/** @throws ConfigError for a time that is none, or a key without a resource */
export function selectionOf(options: SelectionOptions, resources: ResourceSet): Selection {
  const { from, to, tenant, resource, key, correlationId, reason } = options;
  if (key !== undefined && resource === undefined) throw new ConfigError('--key needs --resource: a key says nothing without it');
  return {
    ...timesOf({ from, to }),
    ...(tenant === undefined ? {} : { tenant }),
    ...(resource === undefined ? {} : { resource }),
    ...(resource === undefined || key === undefined ? {} : { key: keyCells(resource, segmentsOf(key), resources) }),
    ...(correlationId === undefined ? {} : { correlationId }),
    ...(reason === undefined ? {} : { reason }),
  };
}

/** @throws ConfigError for a time that is none, or a range that holds none */
export function timesOf({
  from,
  to,
}: {
  readonly from: string | undefined;
  readonly to: string | undefined;
}): Pick<Selection, 'from' | 'to'> {
  const times = {
    ...(from === undefined ? {} : { from: instantOf('--from', from) }),
    ...(to === undefined ? {} : { to: instantOf('--to', to) }),
  };
  if (times.from !== undefined && times.to !== undefined && compareInstants(times.from, times.to) >= 0)
    throw new ConfigError(`--from ${times.from} is not before --to ${times.to}`);
  return times;
}

const UNITS_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** An instant as RFC 3339 or ISO 8601 has it, or how long ago: `90m`, `2h`, `7d`. */
function instantOf(option: string, text: string): string {
  const [, count, unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  const ms = count === undefined ? Date.parse(text) : Date.now() - Number(count) * (UNITS_MS[unit] ?? 0);
  if (Number.isNaN(ms)) {
    throw new ConfigError(
      `${option} is ${JSON.stringify(text)}; it must be a time like 2026-11-25T02:00:00Z, or how long ago: 90m, 2h, 7d`,
    );
  }
  // A timestamp may have more digits than a Date.
  return canonicalTimestamp(text) ?? timestampOf(ms);
}

/**
 * The parts of a key as it stands in a path, `o1/7`.
 * @throws ConfigError for a percent sign that encodes nothing
 */
export function segmentsOf(key: string): readonly string[] {
  try {
    return key.split('/').map(decodeURIComponent);
  } catch {
    const text = JSON.stringify(key);
    throw new ConfigError(
      `the key ${text} has a % that encodes no text: a key is written as in a path, % as %25 and / within a part as %2F`,
    );
  }
}

/** Who runs the command, for the record. */
export function operatorName(given: string | undefined): string {
  return given ?? userInfo().username;
}

export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** `1 job`, `2 jobs`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value));
}

/** Beside the result: what a script that reads the output does not want there. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

const SIGNS = { insert: '+', update: '~', delete: '-', none: '=', refused: '!' } as const;

/** What would change of a row, for people. */
export function changeLine({ row, change, fields, why }: RowChange): string {
  const texts = Object.entries(fields).map(([field, { from, to }]) =>
    change === 'update'
      ? `${field}: ${JSON.stringify(from)} -> ${JSON.stringify(to)}`
      : `${field}: ${JSON.stringify(change === 'delete' ? from : to)}`,
  );
  return [SIGNS[change], row, ...(why === undefined ? [] : [why]), texts.join(', ')].join('  ').trimEnd();
}
