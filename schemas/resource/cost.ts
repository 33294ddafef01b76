/** How many mutations Spanner counts for a write: https://cloud.google.com/spanner/quotas#limits-for */
import type { TableDefinition } from './table.ts';

/** Mutations of one commit. */
export const MAX_COMMIT_MUTATIONS = 80_000;

/**
 * An upper bound, for a plan before the commit; the exact count comes back with commit statistics. A write counts
 * one for each column; each index entry it may replace counts a delete and the entry's own columns. A delete counts
 * one and one for each index.
 */
export function mutationCost(table: TableDefinition, write: { readonly columns: number } | 'delete'): number {
  if (write === 'delete') return 1 + table.indexes.length;
  const indexes = table.indexes.reduce((sum, index) => sum + 1 + index.columns.length + table.primaryKey.length, 0);
  return write.columns + indexes;
}
