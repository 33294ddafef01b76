/** Structured logs: JSON lines on standard output, readable lines where a person looks on. */
import { isatty } from 'node:tty';
import { type Logger, pino } from 'pino';
import type { Config } from './config.ts';

// Asked of the descriptor, since a thread's `process.stdout` is never a terminal.
const pretty = isatty(1) ? (await import('pino-pretty')).default : undefined;

/** `role`: the one that the process runs; without it each line's own child says. */
export function createLog(config: Pick<Config, 'logLevel'>, role?: string): Logger {
  const options = { level: config.logLevel, base: role === undefined ? {} : { role } };
  return pretty ? pino(options, pretty({ ignore: 'pid,hostname', sync: true })) : pino(options);
}
