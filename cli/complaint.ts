/** What a command says where it ends for a reason that its user can mend: one line, which names the setting. */
import { dirname, isAbsolute, relative, resolve } from 'node:path';
import { sqlitePath } from '../ports/adapter.ts';
import type { SpanwayError } from '../schemas/errors.ts';
import { type Config, SETTINGS } from './config.ts';

/** Undefined for a fault of the program, whose stack is wanted. `readConfig` is called only where the settings are needed. */
export function complaintOf(error: unknown, readConfig: () => Config): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if (!isSpanwayError(error)) return complaintOfFiles(error, (error as NodeJS.ErrnoException).path, readConfig);
  if (error.code === 'config') return error.message;
  if (error.code === 'adapter_config') return named(error.message);
  const { cause, context } = error;
  const ofFiles = cause instanceof Error ? complaintOfFiles(cause, context['path'] as string | undefined, readConfig) : undefined;
  return ofFiles ?? error.message;
}

/** One that comes from another thread has lost its class, not its fields. */
function isSpanwayError(error: Error): error is SpanwayError {
  return 'code' in error && 'context' in error;
}

/** The port that an adapter's message begins with, as the setting that names the adapter. */
function named(message: string): string {
  return message.replace(
    /^(queue|topic|store|events|cache|jobs|secrets): /,
    (_, port: 'queue' | 'topic' | 'store' | 'events' | 'cache' | 'jobs' | 'secrets') => `${SETTINGS[port].variable}: `,
  );
}

/** Of a failure to use the data folder or what else is embedded; `path`: where, if that is known. */
function complaintOfFiles(cause: Error, path: string | undefined, readConfig: () => Config): string | undefined {
  const isOfSystem = 'syscall' in cause && path !== undefined;
  if (!isOfSystem && !isOfSqliteFile(cause)) return undefined;
  const places = placesOf(readConfig()).filter(({ folder }) => path === undefined || isWithin(folder, path) || isWithin(path, folder));
  if (places.length === 0) return undefined;
  const settings = places.map(({ variable, value }) => `${variable} (${value})`).join(' or ');
  return `${settings} cannot be used: ${cause.message}; set it to a place that this user can read and write, on a disk with room`;
}

/**
 * Whether SQLite says it of the file and its disk, not of a statement: PERM, READONLY, IOERR, CORRUPT, FULL, CANTOPEN,
 * NOTADB. The low 8 bits are the primary code: https://www.sqlite.org/rescode.html
 */
function isOfSqliteFile(error: Error): boolean {
  return 'errcode' in error && [3, 8, 10, 11, 13, 14, 26].includes(Number(error.errcode) & 0xff);
}

/** The data folder, and each embedded adapter that lies elsewhere. */
function placesOf(config: Config): { readonly variable: string; readonly value: string; readonly folder: string }[] {
  const adapters = (['queue', 'topic', 'store', 'events', 'jobs'] as const)
    .filter((port) => config[port].startsWith('sqlite:'))
    .map((port) => ({
      variable: SETTINGS[port].variable,
      value: config[port],
      folder: dirname(sqlitePath(port, new URL(config[port]))),
    }));
  return [
    { variable: SETTINGS.dataDir.variable, value: config.dataDir, folder: config.dataDir },
    ...adapters.filter(({ folder }) => !isWithin(config.dataDir, folder)),
  ];
}

function isWithin(folder: string, path: string): boolean {
  const way = relative(resolve(folder), resolve(path));
  return way !== '..' && !/^\.\.[/\\]/.test(way) && !isAbsolute(way);
}
