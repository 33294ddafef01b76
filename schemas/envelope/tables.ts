/** The pipeline's own tables, beside the resources'. */
import type { TableDefinition } from '../resource/table.ts';
import { HOLDS } from './holds.ts';
import { COMMITS, LEDGER, PARKED } from './ledger.ts';
import { SEALS } from './seals.ts';

export const SYSTEM_TABLES: readonly TableDefinition[] = [LEDGER, COMMITS, HOLDS, PARKED, SEALS];
