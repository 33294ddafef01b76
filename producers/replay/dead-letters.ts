/**
 * Where a write can end without being applied, as one list: what the applier gave up on (in the ledger), packs that it
 * could not open (parked), and what the bridge could not forward (the queue's dead letters).
 */
import type { DeadLetter as QueueLetter, HoldsDeadLetters } from '../../ports/queue/port.ts';
import type { Store } from '../../ports/store/port.ts';
import { checkEnvelope, type Envelope, type HistoryPlace } from '../../schemas/envelope/envelope.ts';
import { compareInstants, type HistoryRecord, isWithin, placeOf } from '../../schemas/envelope/history.ts';
import { Holds } from '../../schemas/envelope/holds.ts';
import { LEDGER, LEDGER_ENTRY_COLUMNS, type Outcome, PARKED, readLedgerEntry, type Verdict } from '../../schemas/envelope/ledger.ts';
import type { ResourceSet } from '../../schemas/resource/registry.ts';
import { attemptsOf, isStanding, readEntries } from './attempts.ts';
import { readHistory } from './history.ts';
import { scanPages } from './scan.ts';
import { isSelected, rangeOf, type Selection } from './select.ts';

interface Letter {
  /** As the commands take it: a submission id, `parked:HASH` or `queue:ID`. */
  readonly id: string;
  /** Stable where it is the pipeline's own reason; of the queue's letters, the bridge's words. */
  readonly reason: string;
  readonly detail?: string;
  /** When it ended there, RFC 3339. */
  readonly at: string;
  /** What its aggregate applied from behind here is newer than it. */
  readonly place: HistoryPlace;
  /** None where the message cannot be read. Of a message that was not opened they are what it says of itself. */
  readonly envelopes: readonly Envelope[];
}

export interface LedgerLetter extends Letter {
  readonly source: 'ledger';
  readonly outcome: Exclude<Outcome, 'applied'>;
  readonly record: HistoryRecord;
  readonly attempt: number;
}

/** A message that is no sound pack. */
export interface MessageLetter extends Letter {
  readonly source: 'parked' | 'queue';
  readonly attributes: Readonly<Record<string, string>>;
  readonly body: string;
}

export type DeadLetter = LedgerLetter | MessageLetter;

export interface DeadLetterParts {
  readonly store: Store;
  readonly queue: HoldsDeadLetters;
  readonly resources: ResourceSet;
}

export interface LetterSelection extends Selection {
  /** Rejected submissions too, whose callers know that they were not applied. */
  readonly rejected?: boolean;
  /** Those alone, whatever their outcome, closed ones too. */
  readonly ids?: readonly string[];
}

/** Packs read whole at once, and their ids. */
const PARKED_ROWS = 20;
const PARKED_IDS = 1000;
const PARKED_PREFIX = 'parked:';
const QUEUE_PREFIX = 'queue:';

/** Each source oldest first. */
export async function* listDeadLetters(parts: DeadLetterParts, selection: LetterSelection): AsyncGenerator<DeadLetter> {
  yield* ledgerLetters(parts, selection);
  yield* parkedLetters(parts.store, selection);
  const ofQueue: MessageLetter[] = [];
  await visitQueueLetters(parts.queue, selection, (letters) => {
    ofQueue.push(...letters);
    return Promise.resolve(letters.map(() => false));
  });
  yield* ofQueue;
}

/** What the applier gave up on and nobody has closed, oldest outcome first. */
export async function* ledgerLetters(
  { store, resources }: Pick<DeadLetterParts, 'store' | 'resources'>,
  selection: LetterSelection,
): AsyncGenerator<LedgerLetter> {
  const { ids, rejected = false } = selection;
  if (ids) {
    for (const id of new Set(ids.filter((one) => !isMessageId(one)))) {
      const last = (await attemptsOf(store, id)).at(-1);
      if (last && last.verdict.outcome !== 'applied' && isSelected(last, selection)) yield ledgerLetter(last);
    }
    return;
  }
  for await (const records of readHistory(store, { ...rangeOf(selection, resources), refused: true })) {
    const refused = records.filter(
      (record) =>
        record.verdict.outcome !== 'applied' && (rejected || record.verdict.outcome === 'dead_lettered') && isSelected(record, selection),
    );
    const entries = await readEntries(
      store,
      refused.map((record) => record.envelope.id),
    );
    for (const [i, record] of refused.entries()) {
      const entry = entries[i];
      if (isStanding(record, entry) && entry.closed === undefined) yield ledgerLetter(record);
    }
  }
}

export function ledgerLetter(record: HistoryRecord): LedgerLetter {
  const { envelope, verdict } = record;
  const { outcome, reason, detail } = verdict as Verdict & { outcome: LedgerLetter['outcome'] };
  return {
    id: envelope.id,
    source: 'ledger',
    outcome,
    reason: reason ?? 'none',
    ...(detail === undefined ? {} : { detail }),
    at: record.committedAt,
    place: placeOf(record),
    envelopes: [envelope],
    record,
    attempt: envelope.data.redrive?.attempt ?? 1,
  };
}

/** Oldest first, by the time when they were parked. Memory grows with their number, by their ids alone. */
export async function* parkedLetters(store: Store, selection: LetterSelection): AsyncGenerator<MessageLetter> {
  const { ids } = selection;
  if (ids?.every((id) => !id.startsWith(PARKED_PREFIX)) === true) return;
  const inOrder = (await parkedIds(store)).filter((id) => ids?.includes(`${PARKED_PREFIX}${id}`) ?? true);
  for (let at = 0; at < inOrder.length; at += PARKED_ROWS) {
    const keys = inOrder.slice(at, at + PARKED_ROWS).map((id) => [id]);
    const rows = await store.read(PARKED, keys, ['parked_id', 'parked_at', 'reason', 'detail', 'attributes', 'body']);
    for (const cells of rows) {
      const letter = cells && parkedLetter(cells as readonly string[]);
      if (letter && isLetterSelected(letter, selection)) yield letter;
    }
  }
}

async function parkedIds(store: Store): Promise<readonly string[]> {
  const found: { readonly id: string; readonly at: string }[] = [];
  for await (const rows of scanPages(store, PARKED, { prefix: [], limit: PARKED_IDS }, ['parked_at']))
    for (const [id, at] of rows as readonly (readonly string[])[]) found.push({ id: id ?? '', at: at ?? '' });
  return found.sort((a, b) => compareInstants(a.at, b.at)).map(({ id }) => id);
}

function parkedLetter([id, at = '', reason = '', detail, attributes = '{}', body = '']: readonly string[]): MessageLetter {
  const text = Buffer.from(body, 'base64').toString('utf8');
  return {
    id: `${PARKED_PREFIX}${id}`,
    source: 'parked',
    reason,
    ...(detail ? { detail } : {}),
    at,
    place: { committedAt: at, position: 0 },
    envelopes: envelopesIn(text),
    attributes: JSON.parse(attributes) as Record<string, string>,
    body: text,
  };
}

/** Clocks of the bridge's broker and of the database may differ by this much; then a letter counts as older than it is. */
const CLOCK_SKEW_MS = 60_000;

/** The selected letters of the queue, a few at a time; `judge` says which are done with. */
export async function visitQueueLetters(
  queue: HoldsDeadLetters,
  selection: LetterSelection,
  judge: (letters: readonly MessageLetter[]) => Promise<readonly boolean[]>,
): Promise<void> {
  if (selection.ids?.every((id) => !id.startsWith(QUEUE_PREFIX)) === true) return;
  await queue.visitDeadLetters(async (shown) => {
    const letters = shown.map(queueLetter);
    const selected = letters.filter((letter) => isLetterSelected(letter, selection));
    const done = selected.length > 0 ? await judge(selected) : [];
    const gone = new Set(selected.filter((_, i) => done[i] === true));
    return letters.map((letter) => gone.has(letter));
  });
}

function queueLetter({ id, reason, deadAt, attributes, body }: QueueLetter): MessageLetter {
  return {
    id: `${QUEUE_PREFIX}${id}`,
    source: 'queue',
    reason: 'not_forwarded',
    detail: reason,
    at: deadAt,
    place: { committedAt: new Date(Date.parse(deadAt) - CLOCK_SKEW_MS).toISOString(), position: 0 },
    envelopes: envelopesIn(body),
    attributes,
    body,
  };
}

function isMessageId(id: string): boolean {
  return id.startsWith(PARKED_PREFIX) || id.startsWith(QUEUE_PREFIX);
}

/** A message counts by any of its envelopes; one that cannot be read, only where no envelope is asked for. */
function isLetterSelected(letter: MessageLetter, selection: LetterSelection): boolean {
  const { reason, ids, tenant, resource, correlationId, submissionId } = selection;
  if (ids !== undefined && !ids.includes(letter.id)) return false;
  if (reason !== undefined && letter.reason !== reason) return false;
  if (!isWithin(letter.at, selection)) return false;
  if (tenant === undefined && resource === undefined && correlationId === undefined && submissionId === undefined) return true;
  return letter.envelopes.some((envelope) => isMeant(envelope, selection));
}

/** Whether a selected message was selected by this one of its envelopes. */
export function isMeant(envelope: Envelope, { reason: _ofMessage, ...ofEnvelope }: LetterSelection): boolean {
  return isSelected({ envelope, verdict: { outcome: 'dead_lettered' } }, ofEnvelope);
}

function envelopesIn(body: string): readonly Envelope[] {
  try {
    return (JSON.parse(body) as unknown[]).map(checkEnvelope);
  } catch {
    return [];
  }
}

/** Takes a parked pack out of the list, for good. */
export async function removeParked(store: Store, letter: MessageLetter): Promise<void> {
  await store.commit([{ op: 'delete', table: PARKED, key: [letter.id.slice(PARKED_PREFIX.length)] }], { tag: 'spanway-dlq-purge' });
}

/**
 * Takes a ledger letter out of the list. Its row stays, with its outcome: without it a message that comes again would be
 * applied. Answers whether it was closed; another outcome may have come meanwhile.
 */
export async function closeLetter(store: Store, { id, record }: LedgerLetter, by: string, at: string): Promise<boolean> {
  const { value } = await store.readWrite({ tag: 'spanway-dlq-purge' }, async (transaction) => {
    const [cells] = await transaction.read(LEDGER, [[id]], LEDGER_ENTRY_COLUMNS);
    const found = cells && readLedgerEntry(cells);
    if (found?.committedAt !== record.committedAt) return false;
    const { committedAt: _, ...entry } = found;
    const { aggregate } = record.envelope.data;
    // What waited behind it in its aggregate waits no more.
    const holds = await Holds.read(transaction, entry.turn ? [aggregate] : []);
    if (entry.turn) holds.pass(aggregate, entry.turn);
    const values = [id, JSON.stringify({ ...entry, closed: { by, at } })];
    transaction.write([{ op: 'update', table: LEDGER, columns: ['submission_id', 'entry'], values }, ...holds.mutations()]);
    return true;
  });
  return value;
}
