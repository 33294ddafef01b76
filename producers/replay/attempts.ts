/** What became of submissions, try after try. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Store } from '../../ports/store/port.ts';
import { type CommitKey, type HistoryRecord } from '../../schemas/envelope/history.ts';
import type { Envelope } from '../../schemas/envelope/envelope.ts';
import {
  type CommittedEntry,
  KEY_REUSED,
  LEDGER,
  LEDGER_ENTRY_COLUMNS,
  readLedgerEntry,
  type Verdict,
} from '../../schemas/envelope/ledger.ts';
import { readCommits } from './history.ts';

/** What the ledger says of these submissions, in their order. */
export async function readEntries(store: Store, ids: readonly string[]): Promise<readonly (CommittedEntry | undefined)[]> {
  if (ids.length === 0) return [];
  const different = [...new Set(ids)];
  const rows = await store.read(
    LEDGER,
    different.map((id) => [id]),
    LEDGER_ENTRY_COLUMNS,
  );
  const entries = new Map(different.map((id, i) => [id, rows[i] && readLedgerEntry(rows[i])]));
  return ids.map((id) => entries.get(id));
}

/** What an entry under its id says of an envelope: the outcome of another payload is none of its own. */
export function verdictOn({ data }: Envelope, entry: CommittedEntry): Verdict {
  return entry.payloadHash === data.payloadHash ? entry : KEY_REUSED;
}

export interface Awaited {
  readonly envelope: Envelope;
  /** The commit of the outcome that it had: another one is waited for. */
  readonly replaces?: CommitKey;
}

const FIRST_LOOK_MS = 10;
const LONGEST_LOOK_MS = 500;

/**
 * The outcomes of what was sent, in its order; undefined where one did not come within `outcomeMs`. Asks the ledger,
 * ever more rarely.
 * @throws the signal's reason when it aborts
 */
export async function awaitOutcomes(
  store: Store,
  sent: readonly Awaited[],
  { outcomeMs, signal }: { readonly outcomeMs: number; readonly signal: AbortSignal },
): Promise<readonly (Verdict | undefined)[]> {
  const verdicts = new Map<Awaited, Verdict>();
  const until = performance.now() + outcomeMs;
  for (let pauseMs = FIRST_LOOK_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_LOOK_MS)) {
    const open = sent.filter((one) => !verdicts.has(one));
    const entries = await readEntries(
      store,
      open.map(({ envelope }) => envelope.id),
    );
    open.forEach((one, i) => {
      const entry = entries[i];
      const { replaces } = one;
      if (entry && !(entry.commit === replaces?.commit && entry.committedAt === replaces.committedAt))
        verdicts.set(one, verdictOn(one.envelope, entry));
    });
    if (verdicts.size === sent.length || performance.now() > until) return sent.map((one) => verdicts.get(one));
    await sleep(pauseMs, undefined, { signal });
  }
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
