/** A setting that names a JSON file: read, and what is wrong with it said in its own words. */
import { readFile } from 'node:fs/promises';
import type { ErrorObject } from 'ajv/dist/2020.js';
import { ConfigError } from './config.ts';

/** @throws ConfigError */
export async function readJson(file: string, variable: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as unknown;
  } catch (cause) {
    throw new ConfigError(`cannot read ${file} (${variable}); it must be a JSON file: ${(cause as Error).message}`);
  }
}

/**
 * Of a schema whose parts say with `expects` what they must be, checked with `verbose`:
 * `[0].algorithms[1] is "HS256"; it must be …`. The first error is the innermost; an `anyOf`
 * has its own after its parts'.
 */
export function complaint(found: readonly ErrorObject[]): string {
  const error = found.find(({ keyword }) => keyword === 'anyOf') ?? found[0];
  if (!error) return 'it is not valid';
  const place = error.instancePath.replace(/\/(\d+)(?=\/|$)/g, '[$1]').replaceAll('/', '.');
  const { missingProperty, additionalProperty } = error.params as { missingProperty?: string; additionalProperty?: string };
  if (missingProperty !== undefined) {
    const { expects } = (error.parentSchema?.['properties'] as Record<string, { expects: string }>)[missingProperty] ?? { expects: 'set' };
    return `${place}.${missingProperty} is missing; it must be ${expects}`;
  }
  if (additionalProperty !== undefined) {
    const known = Object.keys(error.parentSchema?.['properties'] as object);
    return `${place}.${additionalProperty} is no field of it; it may have ${known.join(', ')}`;
  }
  return `${place === '' ? 'the whole' : place} is ${JSON.stringify(error.data)}; it must be ${String(error.parentSchema?.['expects'] ?? 'a text that is not empty')}`;
}
