/** `Read-Consistency`: how new the rows of an answer must be, as its caller says. */
import type { IncomingHttpHeaders } from 'node:http';
import { LRUCache } from 'lru-cache';
import { RequestError } from '../errors.ts';

export interface Consistency {
  /** 0: strong, every write that was answered before. Else, writes of the last so many milliseconds may be missing. */
  readonly maxStalenessMs: number;
  /** The receipt's id of a submission whose outcome is waited for first. */
  readonly after?: string;
  /** How old a row from the cache may be while the database cannot be read, in milliseconds. 0: it may not. */
  readonly staleIfErrorMs: number;
}

/** An hour, which is how long Spanner keeps earlier versions by default: https://cloud.google.com/spanner/docs/timestamp-bounds#maximum_timestamp_staleness */
export const MAX_STALENESS_SECONDS = 3600;

export const STRONG: Consistency = { maxStalenessMs: 0, staleIfErrorMs: 0 };

const FORM = `"strong", "max-staleness=SECONDS" or "after=SUBMISSION", and beside it "stale-if-error=SECONDS"; at most ${MAX_STALENESS_SECONDS} seconds`;

/** What the header says; without a bound the standard one is meant. */
interface Directives {
  readonly bound: Omit<Consistency, 'staleIfErrorMs'> | undefined;
  readonly staleIfErrorMs: number;
}

/** Callers say the same few things again and again. */
const understood = new LRUCache<string, Directives>({ max: 1000 });

/** `standard`: what a request without the header gets. @throws RequestError (`invalid_parameter`) */
export function consistencyOf(headers: IncomingHttpHeaders, standard: Consistency): Consistency {
  const given = headers['read-consistency'];
  if (given === undefined) return standard;
  if (typeof given !== 'string') throw malformed();
  let directives = understood.get(given);
  if (!directives) understood.set(given, (directives = directivesOf(given)));
  return { ...(directives.bound ?? standard), staleIfErrorMs: directives.staleIfErrorMs };
}

function malformed(): RequestError {
  return new RequestError('invalid_parameter', `Read-Consistency must be ${FORM}`);
}

function directivesOf(given: string): Directives {
  let bound: Directives['bound'];
  let staleIfErrorMs: number | undefined;
  for (const directive of given.split(/[,;]/).map((part) => part.trim())) {
    const [, name = '', value = ''] = /^([a-z-]+)(?:=(.+))?$/.exec(directive) ?? [];
    if (name === 'stale-if-error' && staleIfErrorMs === undefined) staleIfErrorMs = millisecondsOf(value) ?? fail(malformed());
    else if (bound !== undefined) throw malformed();
    else if (name === 'strong' && value === '') bound = { maxStalenessMs: 0 };
    else if (name === 'max-staleness') bound = { maxStalenessMs: millisecondsOf(value) ?? fail(malformed()) };
    else if (name === 'after' && value !== '') bound = { maxStalenessMs: 0, after: value };
    else throw malformed();
  }
  return { bound, staleIfErrorMs: staleIfErrorMs ?? 0 };
}

function millisecondsOf(text: string): number | undefined {
  const seconds = /^(\d{1,6}(?:\.\d{1,3})?)s?$/.exec(text)?.[1];
  return seconds === undefined || Number(seconds) > MAX_STALENESS_SECONDS ? undefined : Math.round(Number(seconds) * 1000);
}

function fail(error: Error): never {
  throw error;
}
