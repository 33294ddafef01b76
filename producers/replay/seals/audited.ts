/**
 * The history as it is verified: whatever somebody wrote there, it is read, and what is wrong about a row is said of it
 * and stops nothing.
 */
import type { Store } from '../../../ports/store/port.ts';
import type { Envelope } from '../../../schemas/envelope/envelope.ts';
import {
  COMMIT_RECORD_COLUMNS,
  type CommitKey,
  commitRowKey,
  compareInstants,
  isWithin,
  readCommit,
  TIME_SHARDS,
} from '../../../schemas/envelope/history.ts';
import { correlationMark } from '../../../schemas/envelope/ids.ts';
import { COMMITS, LEDGER, LEDGER_ENTRY_COLUMNS, type LedgerEntry, entryOf } from '../../../schemas/envelope/ledger.ts';
import type { Cell } from '../../../schemas/resource/table.ts';
import { readWhole } from '../history.ts';
import { scanPages } from '../scan.ts';
import { type Entry, entryOfRow, rowText } from './rows.ts';

const AUDITED_COLUMNS = [...COMMIT_RECORD_COLUMNS, 'aggregates', 'correlations'];

interface AuditedCommit extends CommitKey {
  readonly rows: readonly AuditedRow[];
  /** What is wrong about the commit's row as a whole. */
  readonly fault?: string;
}

export interface AuditedRow extends Entry {
  readonly text: string;
  /** What the ledger's entry of this try must be, while no redrive has replaced it. */
  readonly expected: LedgerEntry;
  readonly isRedrive: boolean;
}

export function readAudited(store: Store, range: { readonly from?: string; readonly to: string }): AsyncGenerator<AuditedCommit> {
  return readWhole(store, range, async (keys) => {
    const cells = await store.read(COMMITS, keys.map(commitRowKey), AUDITED_COLUMNS);
    return keys.flatMap((key, i) => (cells[i] ? [auditedCommit(key, cells[i])] : []));
  });
}

function auditedCommit({ committedAt, commit }: CommitKey, cells: readonly Cell[]): AuditedCommit {
  const key = { committedAt, commit };
  try {
    const records = readCommit(key, cells);
    const rows = records.map((record): AuditedRow => {
      const text = rowText(record);
      const expected = entryOf(record, commit, record.position);
      return { ...entryOfRow(record, text), text, expected, isRedrive: record.envelope.data.redrive !== undefined };
    });
    if (rows.length === 0) return { ...key, rows, fault: 'it holds no submission' };
    // By these a commit is found, and with others it would be passed over.
    const [aggregates, correlations] = cells.slice(COMMIT_RECORD_COLUMNS.length);
    const ofEnvelopes = (of: (envelope: Envelope) => string): string => JSON.stringify(records.map(({ envelope }) => of(envelope)));
    if (JSON.stringify(aggregates) !== ofEnvelopes(({ data }) => data.aggregate))
      return { ...key, rows, fault: 'its aggregates are not those of its envelopes' };
    // A commit from before there were marks has none, and is looked at for every correlation id.
    if (
      (correlations ?? null) !== null &&
      JSON.stringify(correlations) !== ofEnvelopes(({ correlationid }) => correlationMark(correlationid))
    )
      return { ...key, rows, fault: 'its correlations are not those of its envelopes' };
    return { ...key, rows };
  } catch {
    return { ...key, rows: [], fault: 'its envelopes cannot be read' };
  }
}

/** What the ledger says of the submission of a row of the history. */
type LedgerFinding = { readonly state: 'stands' | 'replaced' | 'absent' } | { readonly state: 'changed'; readonly why: string };

/** One answer for each row, in their order. */
export async function compareLedger(store: Store, rows: readonly AuditedRow[]): Promise<readonly LedgerFinding[]> {
  if (rows.length === 0) return [];
  const cells = await store.read(
    LEDGER,
    rows.map(({ submissionId }) => [submissionId]),
    LEDGER_ENTRY_COLUMNS,
  );
  return Promise.all(rows.map(async (row, i) => (cells[i] ? compareEntry(store, row, cells[i]) : { state: 'absent' })));
}

async function compareEntry(store: Store, row: AuditedRow, [text, committedAt]: readonly Cell[]): Promise<LedgerFinding> {
  const entry = parseEntry(text as string);
  if (!entry) return { state: 'changed', why: 'its entry cannot be read' };
  const { commit, position } = row.expected;
  if (entry.commit === commit && entry.position === position && committedAt === row.committedAt) {
    // Who closed a letter (`spanway dlq purge`), and behind which it waits, is written here alone.
    const { closed: _closed, turn: _turn, ...rest } = entry;
    const facts: Partial<LedgerEntry> = rest;
    const differing = namesOf(facts, row.expected).find((name) => JSON.stringify(facts[name]) !== JSON.stringify(row.expected[name]));
    return differing === undefined ? { state: 'stands' } : { state: 'changed', why: `its entry has another ${differing}` };
  }
  // A redrive writes its outcome over the one before, and names it: any other entry is no lawful one.
  const isLater = compareInstants(committedAt as string, row.committedAt) > 0;
  if (isLater && (await findRedrive(store, { ...entry, committedAt: committedAt as string }, row.submissionId)))
    return { state: 'replaced' };
  return { state: 'changed', why: 'its entry names another commit, which holds no redrive of it' };
}

type EntryName = keyof LedgerEntry;

function namesOf(...entries: readonly Partial<LedgerEntry>[]): readonly EntryName[] {
  return [...new Set(entries.flatMap((entry) => Object.keys(entry) as EntryName[]))];
}

function parseEntry(text: string): LedgerEntry | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    return typeof parsed === 'object' && parsed !== null ? (parsed as LedgerEntry) : undefined;
  } catch {
    return undefined;
  }
}

async function findRedrive(store: Store, at: CommitKey & { readonly position: number }, submissionId: string): Promise<boolean> {
  const row = await findRow(store, at);
  return row?.submissionId === submissionId && row.isRedrive;
}

async function findRow(
  store: Store,
  { commit, committedAt, position }: CommitKey & { readonly position: number },
): Promise<AuditedRow | undefined> {
  // Elsewhere nobody reads the history, so it would be compared with nothing.
  if (!TIME_SHARDS.includes(commit.slice(0, 1))) return undefined;
  const [cells] = await store.read(COMMITS, [commitRowKey({ commit, committedAt })], AUDITED_COLUMNS);
  return cells && auditedCommit({ commit, committedAt }, cells).rows[position];
}

const PAGE_ROWS = 5000;
const BUCKETS = 4096;

interface CensusRange {
  readonly from: string;
  readonly to: string;
}

/**
 * Finds ledger rows that the history knows nothing of, in memory that does not grow: counts of ids by their first
 * digits, of the ledger and then of the history, must be equal. Where they are not, the ledger rows are looked up.
 * The ledger is counted first: a redrive meanwhile then leaves too much in a count, and what is looked up is there.
 */
export class LedgerCensus {
  readonly #store: Store;
  readonly #range: CensusRange;
  readonly #counts = new Int32Array(BUCKETS);

  private constructor(store: Store, range: CensusRange) {
    this.#store = store;
    this.#range = range;
  }

  /** Of the rows whose commit is in this range. */
  static async take(store: Store, range: CensusRange): Promise<LedgerCensus> {
    const census = new LedgerCensus(store, range);
    for await (const [id] of census.#scan(['committed_at'])) census.#count(id as string, 1);
    return census;
  }

  /** A row of the history whose outcome stands in the ledger. */
  found({ submissionId, committedAt }: Entry): void {
    if (this.#covers(committedAt)) this.#count(submissionId, -1);
  }

  /** Once every row of the history was found: the ledger rows of none. */
  async *added(): AsyncGenerator<{ readonly submissionId: string; readonly committedAt: string }> {
    if (this.#counts.every((count) => count <= 0)) return;
    for await (const [id, committedAt, text] of this.#scan(['committed_at', 'entry'])) {
      if ((this.#counts[bucketOf(id as string)] ?? 0) <= 0) continue;
      const entry = parseEntry(text as string);
      const at = { commit: String(entry?.commit), committedAt: committedAt as string, position: Number(entry?.position) };
      const row = await findRow(this.#store, at);
      if (row?.submissionId !== id) yield { submissionId: id as string, committedAt: committedAt as string };
    }
  }

  #count(id: string, by: number): void {
    const bucket = bucketOf(id);
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + by;
  }

  #covers(committedAt: string): boolean {
    return isWithin(committedAt, this.#range);
  }

  /** Rows as the submission's id, then `columns`, of which the first is `committed_at`. */
  async *#scan(columns: readonly string[]): AsyncGenerator<readonly Cell[]> {
    for await (const rows of scanPages(this.#store, LEDGER, { prefix: [], limit: PAGE_ROWS }, columns))
      for (const row of rows) if (this.#covers(row[1] as string)) yield row;
  }
}

function bucketOf(id: string): number {
  return Number.parseInt(id.slice(0, 3), 16) || 0;
}
