/** What became of one submission, try after try. */
import type { Store } from '../../ports/store/port.ts';
import { type CommitKey, type HistoryRecord } from '../../schemas/envelope/history.ts';
import { type CommittedEntry, LEDGER, LEDGER_ENTRY_COLUMNS, readLedgerEntry } from '../../schemas/envelope/ledger.ts';
import { readCommits } from './history.ts';

/** What the ledger says of these submissions, in their order. */
export async function readEntries(store: Store, ids: readonly string[]): Promise<readonly (CommittedEntry | undefined)[]> {
  if (ids.length === 0) return [];
  const rows = await store.read(
    LEDGER,
    ids.map((id) => [id]),
    LEDGER_ENTRY_COLUMNS,
  );
  return rows.map((cells) => cells && readLedgerEntry(cells));
}

/** Oldest first. A redrive names the outcome that it replaced, so they hang together; the oldest may be past their age limit. */
export async function attemptsOf(store: Store, submissionId: string): Promise<readonly HistoryRecord[]> {
  const [entry] = await readEntries(store, [submissionId]);
  const attempts: HistoryRecord[] = [];
  let key: CommitKey | undefined = entry;
  while (key) {
    const [records = []] = await readCommits(store, [{ commit: key.commit, committedAt: key.committedAt }]);
    const record = records.find(({ envelope }) => envelope.id === submissionId);
    if (record) attempts.unshift(record);
    key = record?.envelope.data.redrive?.replaces;
  }
  return attempts;
}

/** Whether this record is the outcome that stands. */
export function isStanding(record: HistoryRecord, entry: CommittedEntry | undefined): entry is CommittedEntry {
  return entry?.commit === record.commit && entry.committedAt === record.committedAt && entry.position === record.position;
}
