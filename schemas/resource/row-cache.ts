/** Rows in the cache: what the gateway that keeps them and the applier that outdates them must agree on. */
import type { Cell, TableDefinition } from './table.ts';

/** `key`: whole, tenant first. */
export function rowCacheKey(table: TableDefinition, key: readonly Cell[]): string {
  return `row:${table.name}:${JSON.stringify(key)}`;
}

/** A timestamp as a version: microseconds since 1970, finer than which Spanner gives none. https://cloud.google.com/spanner/docs/commit-timestamp */
export function versionOf(timestamp: string): number {
  const micros = timestamp.slice(20, -1).slice(0, 6).padEnd(6, '0');
  return Math.floor(Date.parse(`${timestamp.slice(0, 19)}Z`) / 1000) * 1_000_000 + Number(micros);
}
