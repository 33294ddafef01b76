/** What a command says where it ends for a reason that its user can mend: one line, which names the setting. */
import { dirname, isAbsolute, relative, resolve } from 'node:path';
import { sqlitePath } from '../ports/adapter.ts';
import type { SpanwayError } from '../schemas/errors.ts';
import { type Config, SETTINGS } from './config.ts';

/** Undefined for a fault of the program, whose stack is wanted. `readConfig` is called only where the settings are needed. */
export function complaintOf(error: unknown, readConfig: () => Config): string | undefined {
  const isOurs = isSpanwayError(error);
  if (isOurs && error.code === 'config') return error.message;
  if (isOurs && error.code === 'adapter_config') return named(error.message);
  const cause = isOurs ? error.cause : error;
  if (cause instanceof Error) {
    const names = placesOf(readConfig())
      .filter((place) => isOf(place, error as Error, cause))
      .map(({ variable, value }) => `${variable} (${value})`);
    if (names.length > 0)
      return `${names.join(' or ')} cannot be used: ${cause.message}; set it to a place that this user can read and write, on a disk with room`;
  }
  return isOurs ? error.message : undefined;
}

/** Whether the error may be of this place: of a file that could not be opened it is known, of one that is open it is not. */
function isOf(place: Place, error: Error, cause: Error): boolean {
  if ('code' in error && error.code === 'sqlite_open') return place.files.some((file) => error.message.includes(`cannot open ${file}: `));
  if (isOfSqlite(cause)) return true;
  // Of another file that is named, its own error says what is wrong.
  return error === cause && isAt(place, (cause as NodeJS.ErrnoException).path);
}

/** One that comes from another thread has lost its class, not its fields. */
function isSpanwayError(error: unknown): error is SpanwayError {
  return error instanceof Error && 'code' in error && 'context' in error;
}

/** The port that an adapter's message begins with, as the setting that names the adapter. */
function named(message: string): string {
  return message.replace(
    /^(queue|topic|store|events|cache|jobs|secrets): /,
    (_, port: 'queue' | 'topic' | 'store' | 'events' | 'cache' | 'jobs' | 'secrets') => `${SETTINGS[port].variable}: `,
  );
}

/** A setting, and where its data is. */
interface Place {
  readonly variable: string;
  readonly value: string;
  readonly folder: string;
  /** Of the embedded adapters, as they are opened. */
  readonly files: readonly string[];
}

/** The data folder, and each embedded adapter that lies elsewhere. */
function placesOf(config: Config): readonly Place[] {
  const others: Place[] = [];
  const own: string[] = [];
  for (const port of ['queue', 'topic', 'store', 'events', 'jobs'] as const) {
    const value = config[port];
    const file = value.startsWith('sqlite:') ? sqlitePath(port, new URL(value)) : undefined;
    if (file === undefined) continue;
    if (isWithin(config.dataDir, file)) own.push(file);
    else others.push({ variable: SETTINGS[port].variable, value, folder: dirname(file), files: [file] });
  }
  return [{ variable: SETTINGS.dataDir.variable, value: config.dataDir, folder: config.dataDir, files: own }, ...others];
}

/** A folder above may be the one that stands in the way. */
function isAt({ folder }: Place, path: string | undefined): boolean {
  return path !== undefined && (isWithin(folder, path) || isWithin(path, folder));
}

function isWithin(folder: string, path: string): boolean {
  const way = relative(resolve(folder), resolve(path));
  return way !== '..' && !/^\.\.[/\\]/.test(way) && !isAbsolute(way);
}

/**
 * What SQLite says of the file and its disk, not of a statement: PERM, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, NOTADB.
 * https://www.sqlite.org/rescode.html
 */
const OF_THE_FILE = new Set([3, 8, 10, 11, 13, 14, 26]);

function isOfSqlite(error: Error): boolean {
  // The low 8 bits are the primary code.
  return 'errcode' in error && OF_THE_FILE.has(Number(error.errcode) & 0xff);
}
