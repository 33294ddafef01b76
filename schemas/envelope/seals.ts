import type { TableDefinition } from '../resource/table.ts';
import { LEDGER_DAYS } from './ledger.ts';

/** Longer than the rows are kept, so that a row that its age limit removed is told apart from one that is missing. */
export const SEAL_DAYS = LEDGER_DAYS + 30;

/**
 * Seals over the history, each of one interval of it and chained to the one before. Written by the replay worker, one
 * row in seconds, so that a key in the order of time makes no hot spot.
 */
export const SEALS: TableDefinition = {
  name: 'spanway_seals',
  columns: [
    { name: 'number', type: { scalar: 'INT64', array: false }, notNull: true },
    { name: 'sealed_at', type: { scalar: 'TIMESTAMP', array: false }, notNull: true },
    // What is signed, as JSON: bounds, count, Merkle root, the hash of the seal before.
    { name: 'seal', type: { scalar: 'STRING', array: false }, notNull: true },
    { name: 'hash', type: { scalar: 'STRING', array: false, maxLength: 64 }, notNull: true },
    { name: 'signature', type: { scalar: 'STRING', array: false, maxLength: 256 }, notNull: true },
    // The leaves under the root, a line each: so a row that differs can be named.
    { name: 'entries', type: { scalar: 'STRING', array: false }, notNull: true },
  ],
  primaryKey: ['number'],
  indexes: [],
  rowDeletionPolicy: { column: 'sealed_at', days: SEAL_DAYS },
  adopted: false,
};
