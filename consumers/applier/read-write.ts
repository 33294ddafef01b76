/**
 * A batch in one read-write transaction that reads before it writes: the ledger, so that a duplicate changes nothing,
 * the rows that conditions, inserts, updates and merges depend on, for a redrive what its aggregate has applied since, and
 * where writes wait behind dead letters, those.
 */
import type { CommitOptions, Store, StoreMutation, StoreTransaction } from '../../ports/store/port.ts';
import {
  type CommittedEntry,
  KEY_REUSED,
  LEDGER,
  LEDGER_ENTRY_COLUMNS,
  ledgerMutations,
  type LedgerWrite,
  readLedgerEntry,
  type Verdict,
} from '../../schemas/envelope/ledger.ts';
import { mergePatch } from '../../schemas/resource/merge-patch.ts';
import { type Cell, COMMIT_TIMESTAMP, type TableDefinition } from '../../schemas/resource/table.ts';
import { mayReplace, NewerApplied } from './redrive.ts';
import { WaitingLine } from './waiting.ts';
import type { PlannedWrite, Settled, Work } from './work.ts';

export async function applyReadWrite(store: Store, works: readonly Work[], options: CommitOptions): Promise<readonly Settled[]> {
  const { value, commitTimestamp } = await store.readWrite(options, async (transaction) => {
    const ledger = await readLedger(transaction, works);
    const standing = ({ envelope }: Work): CommittedEntry | undefined => {
      const before = ledger.get(envelope.id);
      return before && !mayReplace(before, envelope.data) ? before : undefined;
    };
    const fresh = works.filter((work) => !standing(work));
    const rows = await readRows(transaction, fresh);
    const newer = await NewerApplied.read(transaction, fresh);
    const waiting = await WaitingLine.read(transaction, fresh, ledger);
    const decided: (Verdict | CommittedEntry)[] = [];
    const decidedHere = new Map<string, { readonly verdict: Verdict; readonly payloadHash: string }>();
    const entries: LedgerWrite[] = [];
    const data: StoreMutation[] = [];
    for (const work of works) {
      const { id, data: submission } = work.envelope;
      const before = standing(work);
      if (before) {
        decided.push(before.payloadHash === submission.payloadHash ? before : KEY_REUSED);
        continue;
      }
      const twin = decidedHere.get(id);
      if (twin) {
        decided.push(twin.payloadHash === submission.payloadHash ? twin.verdict : KEY_REUSED);
        continue;
      }
      const refusal = waiting.refusalOf(work) ?? newer.refusalOf(work);
      const { verdict, mutations } = refusal ? { verdict: refusal, mutations: [] } : decide(work, rows);
      if (verdict.outcome === 'applied') newer.add(work);
      entries.push({ ...work, verdict, replaces: ledger.has(id), turn: waiting.settle(work, verdict) });
      data.push(...mutations);
      decidedHere.set(id, { verdict, payloadHash: submission.payloadHash });
      decided.push(verdict);
    }
    transaction.write([...ledgerMutations(entries), ...waiting.mutations(), ...data]);
    return decided;
  });
  return value.map((decision, i) => {
    if ('committedAt' in decision) {
      const { committedAt, attempt } = decision;
      return { verdict: verdictOf(decision), commitTimestamp: committedAt, duplicate: true, ...(attempt === undefined ? {} : { attempt }) };
    }
    const attempt = works[i]?.envelope.data.redrive?.attempt;
    return { verdict: decision, commitTimestamp, duplicate: decision === KEY_REUSED, ...(attempt === undefined ? {} : { attempt }) };
  });
}

async function readLedger(transaction: StoreTransaction, works: readonly Work[]): Promise<Map<string, CommittedEntry>> {
  const ids = [...new Set(works.map((work) => work.envelope.id))];
  const found = await transaction.read(
    LEDGER,
    ids.map((id) => [id]),
    LEDGER_ENTRY_COLUMNS,
  );
  return new Map(ids.flatMap((id, i) => (found[i] ? [[id, readLedgerEntry(found[i])] as const] : [])));
}

function verdictOf({ outcome, reason, detail }: CommittedEntry): Verdict {
  return { outcome, ...(reason === undefined ? {} : { reason }), ...(detail === undefined ? {} : { detail }) };
}

/** A row as the batch sees it on its way: what was read, then what earlier works of the batch did. */
type RowState = ReadonlyMap<string, Cell> | 'absent';

export class Rows {
  /** Parents of the tables that the batch writes. */
  readonly #parents: ReadonlyMap<string, string>;
  readonly #states = new Map<string, { readonly table: TableDefinition; readonly key: readonly Cell[]; readonly state: RowState }>();

  constructor(tables: Iterable<TableDefinition>) {
    this.#parents = new Map([...tables].flatMap((table) => (table.parent ? [[table.name, table.parent.table] as const] : [])));
  }

  get(write: PlannedWrite): RowState {
    return this.#states.get(rowId(write.mutation.table, write.key))?.state ?? 'absent';
  }

  /** As it was read. In dev, other columns of it may have been read by the definition before a change of the resource files. */
  put(write: PlannedWrite, state: RowState): void {
    const { key, mutation } = write;
    const before = this.get(write);
    const united = state === 'absent' || before === 'absent' ? state : new Map([...before, ...state]);
    this.#states.set(rowId(mutation.table, key), { table: mutation.table, key, state: united });
  }

  /** As a write leaves it; a row that goes takes its children along. Returns what takes it back. */
  set({ key, mutation: { table }, resource }: PlannedWrite, state: RowState): () => void {
    const id = rowId(table, key);
    const before = new Map([[id, this.#states.get(id) ?? { table, key, state: 'absent' as const }]]);
    if (state === 'absent') {
      for (const [otherId, row] of this.#states) {
        if (this.#isBelow(row.table, resource.table) && key.every((cell, i) => row.key[i] === cell)) before.set(otherId, row);
      }
    }
    for (const [otherId, row] of before) this.#states.set(otherId, { ...row, state: otherId === id ? state : 'absent' });
    return () => {
      for (const [otherId, row] of before) this.#states.set(otherId, row);
    };
  }

  /** Whether a table is interleaved in another, at any depth, as far as the batch's own tables tell. */
  #isBelow(table: TableDefinition, ancestor: TableDefinition): boolean {
    for (let name = table.parent?.table; name !== undefined; name = this.#parents.get(name)) if (name === ancestor.name) return true;
    return false;
  }
}

function rowId(table: TableDefinition, key: readonly Cell[]): string {
  return JSON.stringify([table.name, key]);
}

/** Reads, one request a table, every row that some work of the batch writes. */
export async function readRows(transaction: StoreTransaction, works: readonly Work[]): Promise<Rows> {
  const byTable = new Map<TableDefinition, { readonly columns: Set<string>; readonly writes: Map<string, PlannedWrite> }>();
  for (const write of works.flatMap((work) => ('writes' in work.plan ? work.plan.writes : []))) {
    const { table } = write.mutation;
    const wanted = byTable.get(table) ?? { columns: new Set(table.primaryKey.slice(0, 1)), writes: new Map<string, PlannedWrite>() };
    byTable.set(table, wanted);
    wanted.writes.set(rowId(table, write.key), write);
    if (write.resource.version) wanted.columns.add(write.resource.version.column);
    for (const column of write.merge) wanted.columns.add(column);
  }
  const rows = new Rows(byTable.keys());
  for (const [table, wanted] of byTable) {
    const columns = [...wanted.columns];
    const writes = [...wanted.writes.values()];
    const found = await transaction.read(
      table,
      writes.map((w) => w.key),
      columns,
    );
    writes.forEach((write, i) => {
      const cells = found[i];
      rows.put(write, cells ? new Map(columns.map((column, at) => [column, cells[at] ?? null])) : 'absent');
    });
  }
  return rows;
}

/** Whether a submission applies to the rows as they are now; if so they move on. All of its mutations or none. */
export function decide(work: Work, rows: Rows): { readonly verdict: Verdict; readonly mutations: readonly StoreMutation[] } {
  if ('verdict' in work.plan) return { verdict: work.plan.verdict, mutations: [] };
  const mutations: StoreMutation[] = [];
  const undo: (() => void)[] = [];
  for (const write of work.plan.writes) {
    const row = rows.get(write);
    const refusal = refusalOf(write, row);
    if (refusal) {
      for (const step of undo.reverse()) step();
      return { verdict: refusal, mutations: [] };
    }
    const mutation = merged(write, row);
    undo.push(rows.set(write, after(mutation, row)));
    mutations.push(mutation);
  }
  return { verdict: { outcome: 'applied' }, mutations };
}

function refusalOf({ resource, mutation, ifMatch }: PlannedWrite, row: RowState): Verdict | undefined {
  if (ifMatch !== undefined) {
    const version = row === 'absent' || !resource.version ? undefined : row.get(resource.version.column);
    if (row === 'absent' || (ifMatch !== '*' && (version !== ifMatch || ifMatch === COMMIT_TIMESTAMP))) {
      const detail = row === 'absent' ? 'there is no row' : 'the row has another version';
      return { outcome: 'rejected', reason: 'precondition_failed', detail };
    }
  }
  if (mutation.op === 'insert' && row !== 'absent')
    return { outcome: 'rejected', reason: 'already_exists', detail: `a row of ${resource.name} with this key is there` };
  if (mutation.op === 'update' && row === 'absent')
    return { outcome: 'rejected', reason: 'not_found', detail: `there is no row of ${resource.name} with this key` };
  return undefined;
}

/** The mutation with its merge patches resolved against the row. */
function merged({ mutation, merge }: PlannedWrite, row: RowState): StoreMutation {
  if (mutation.op === 'delete' || merge.length === 0 || row === 'absent') return mutation;
  const values = mutation.columns.map((column, i) => {
    const cell = mutation.values[i] ?? null;
    return merge.includes(column) && typeof cell === 'string' ? mergePatch(row.get(column) ?? null, cell) : cell;
  });
  return { ...mutation, values };
}

function after(mutation: StoreMutation, row: RowState): RowState {
  if (mutation.op === 'delete') return 'absent';
  // The version is not known before the commit, and COMMIT_TIMESTAMP in its place matches no entity tag.
  const written = mutation.columns.map((column, i) => [column, mutation.values[i] ?? null] as const);
  return new Map([...(row === 'absent' ? [] : row), ...written]);
}
