/**
 * Compares rows with their seals, in the database or in an exported file, and names each that is changed, missing or
 * added. Memory: the rows of one interval.
 */
import type { Store } from '../../../ports/store/port.ts';
import { type CommitKey, compareInstants } from '../../../schemas/envelope/history.ts';
import type { Verifier } from '../../../schemas/envelope/key-ring.ts';
import { LEDGER_DAYS } from '../../../schemas/envelope/ledger.ts';
import { SEAL_DAYS } from '../../../schemas/envelope/seals.ts';
import { ReplayError } from '../errors.ts';
import { type AuditedRow, compareLedger, LedgerCensus, readAudited } from './audited.ts';
import { type Entry, entryText, readEntry } from './rows.ts';
import { areUnderRoot, CHAIN_START, faultOf, mayBeGoneBefore, readLastSeal, readSeals, type SealRecord, type SealRow } from './seal.ts';

type FindingKind = 'row_changed' | 'row_missing' | 'row_added' | 'seal_changed' | 'seal_missing' | 'chain_broken' | 'line_unreadable';

/** One thing that is not as it was sealed. */
export interface Finding {
  readonly kind: FindingKind;
  readonly why: string;
  /** The number of the seal. */
  readonly seal?: number;
  readonly submissionId?: string;
  /** The commit timestamp of the row as it was sealed, or else as it is there. */
  readonly committedAt?: string;
  /** Where the row is, of a database. */
  readonly table?: 'spanway_commits' | 'spanway_ledger';
  /** Of a file. */
  readonly line?: number;
}

export interface Verified {
  /** Sound ones. */
  readonly seals: number;
  /** Rows that are as they were sealed. */
  readonly rows: number;
  /** Sealed rows that their age limit has removed. */
  readonly aged: number;
  /** Rows in gaps of the chain, or under a seal that is not sound: nothing can be said of them. */
  readonly unchecked: number;
  /** Rows behind the last seal. */
  readonly unsealed: number;
  /** The commit timestamp of the first of them. */
  readonly unsealedFrom?: string;
  /** What the sound seals cover. */
  readonly from?: string;
  readonly to?: string;
  /** `NUMBER:HASH` of the last sound seal: kept elsewhere, it shows later that no seal was removed or made again. */
  readonly head?: string;
  readonly findings: number;
  /** The time of the database. */
  readonly readAt?: string;
}

export interface Expected {
  readonly number: number;
  readonly hash: string;
}

interface VerifyOptions {
  readonly verifier: Verifier;
  /** A seal that is known from elsewhere. */
  readonly expected?: Expected;
  readonly report: (finding: Finding) => void;
}

/** @throws ReplayError where there are no seals and none is expected, or the expected one is older than those that are kept */
export async function verifyDatabase(store: Store, options: VerifyOptions): Promise<Verified> {
  const { last, readTimestamp: now } = await readLastSeal(store);
  if (!last && !options.expected) throw noSeals('this database');
  const rowsGoneBefore = mayBeGoneBefore(now, LEDGER_DAYS);
  const check = new Check({ ...options, rowsGoneBefore, sealsGoneBefore: mayBeGoneBefore(now, SEAL_DAYS) });
  const census = await LedgerCensus.take(store, { from: rowsGoneBefore, to: now });
  const inLedger = async (rows: readonly AuditedRow[]): Promise<void> => {
    const found = await compareLedger(store, rows);
    for (const [i, row] of rows.entries()) {
      const { submissionId, committedAt } = row;
      const finding = found[i];
      if (finding?.state === 'stands') census.found(row);
      const place = { submissionId, committedAt, table: 'spanway_ledger' } as const;
      if (finding?.state === 'changed') check.report({ kind: 'row_changed', ...place, why: finding.why });
      if (finding?.state === 'absent' && compareInstants(committedAt, rowsGoneBefore) >= 0)
        check.report({ kind: 'row_missing', ...place, why: 'the history has it, and the ledger has not' });
    }
  };
  for await (const { seal, commits, isLast } of bySeal(check.sound(readSeals(store)), readAudited(store, { to: now }))) {
    const rows = commits.flatMap((commit) => commit.rows);
    for (const { fault, committedAt, commit } of commits) {
      if (fault === undefined) continue;
      check.report({ kind: 'row_changed', committedAt, table: 'spanway_commits', why: `the commit ${commit}: ${fault}` });
    }
    if (seal) await inLedger(check.interval(seal, rows, { table: 'spanway_commits' }));
    else {
      check.outside(rows, isLast);
      await inLedger(rows);
    }
  }
  for await (const { submissionId, committedAt } of census.added()) {
    if (check.hasNamed(submissionId)) continue;
    const why = 'the ledger has it, and the history has not';
    check.report({ kind: 'row_added', submissionId, committedAt, table: 'spanway_ledger', why });
  }
  return { ...check.end(), readAt: now };
}

/** A line of an exported file, read: a seal, or a row of the seal before it. */
export type ExportLine = SealRecord | Entry | { readonly unreadable: string };

/** @throws ReplayError where there is no seal in it */
export async function verifyLines(lines: AsyncIterable<ExportLine>, name: string, options: VerifyOptions): Promise<Verified> {
  // What is past its age limit is not exported, so nothing may be missing.
  const check = new Check(options);
  let seal: SealRecord | undefined;
  let isSound = false;
  let rows: Entry[] = [];
  let line = 0;
  const close = (): void => {
    if (seal && isSound) check.interval(seal, rows, {});
    else check.outside(rows, false);
    rows = [];
  };
  for await (const read of lines) {
    line += 1;
    if ('unreadable' in read) check.report({ kind: 'line_unreadable', line, why: read.unreadable });
    else if ('seal' in read) {
      close();
      seal = read;
      isSound = check.next({ number: read.seal.number, sealedAt: read.seal.sealedAt, record: read }) !== undefined;
    } else if (seal) rows.push(read);
    else check.report({ kind: 'row_added', ...placeOf(read), line, why: 'it stands before the first seal' });
  }
  close();
  if (!seal) throw noSeals(name);
  return check.end();
}

interface CheckOptions extends VerifyOptions {
  /** Rows of commits before this time may be gone; absent: none may. */
  readonly rowsGoneBefore?: string;
  /** And seals that were made before this time. */
  readonly sealsGoneBefore?: string;
}

/** The chain, seal by seal, and the rows under each. */
class Check {
  readonly #options: CheckOptions;
  #count = { seals: 0, rows: 0, aged: 0, unchecked: 0, unsealed: 0, findings: 0 };
  #unsealedFrom: string | undefined;
  #first: SealRecord | undefined;
  #last: SealRecord | undefined;
  /** The seal before, sound or not. */
  #before: SealRow | undefined;
  #isExpectedSeen = false;
  /** Of submissions, so that none is named twice. */
  readonly #named = new Set<string>();

  constructor(options: CheckOptions) {
    this.#options = options;
  }

  report(finding: Finding): void {
    this.#count.findings += 1;
    if (finding.submissionId !== undefined) this.#named.add(finding.submissionId);
    this.#options.report(finding);
  }

  hasNamed(submissionId: string): boolean {
    return this.#named.has(submissionId);
  }

  async *sound(rows: AsyncIterable<SealRow>): AsyncGenerator<SealRecord, undefined> {
    for await (const row of rows) {
      const record = this.next(row);
      if (record) yield record;
    }
    return undefined;
  }

  /** The next of the chain; undefined where it is not as it was made. */
  next(row: SealRow): SealRecord | undefined {
    const before = this.#before;
    this.#before = row;
    const { number, record } = row;
    const seal = number;
    this.#checkGap(row, before);
    const { verifier, expected } = this.#options;
    if (expected?.number === number) {
      this.#isExpectedSeen = true;
      if (record?.hash !== expected.hash)
        this.report({ kind: 'seal_changed', seal, why: `its hash is not ${expected.hash}, which you expect` });
    }
    const why = record ? (faultOf(record, verifier) ?? faultOfRow(row, record)) : 'it cannot be read';
    if (why !== undefined || !record) {
      this.report({ kind: 'seal_changed', seal, why: `${why ?? ''}; its rows cannot be checked` });
      return undefined;
    }
    const previous = number === 1 ? CHAIN_START.hash : before?.number === number - 1 ? before.record?.hash : undefined;
    // Of a seal before that is changed itself, that was said.
    if (previous !== undefined && previous !== record.seal.previous && this.#isSound(before))
      this.report({ kind: 'chain_broken', seal, why: `it does not follow seal ${number - 1} as that is there` });
    this.#count.seals += 1;
    this.#first ??= record;
    this.#last = record;
    return record;
  }

  #isSound(row: SealRow | undefined): boolean {
    return row === undefined || row.record === this.#last;
  }

  #checkGap({ number, record }: SealRow, before: SealRow | undefined): void {
    const { sealsGoneBefore } = this.#options;
    // A file may begin anywhere.
    if (!before && sealsGoneBefore === undefined) return;
    const expected = (before?.number ?? 0) + 1;
    if (number === expected) return;
    if (number < expected) {
      this.report({ kind: 'chain_broken', seal: number, why: `it stands behind seal ${expected - 1}` });
      return;
    }
    // The last of the missing ends where this one begins, and was made later than that: so it may be past its limit.
    if (record && sealsGoneBefore !== undefined && compareInstants(record.seal.from, sealsGoneBefore) <= 0) return;
    const missing = expected === number - 1 ? 'it is' : `seals ${expected} to ${number - 1} are`;
    this.report({
      kind: 'seal_missing',
      seal: number - 1,
      why: `${missing} not there before seal ${number}; their rows cannot be checked`,
    });
  }

  /** Answers the rows that are as they were sealed. */
  interval<Row extends Entry>({ seal, entries }: SealRecord, rows: readonly Row[], place: Pick<Finding, 'table'>): readonly Row[] {
    if (!areUnderRoot(entries, seal)) {
      const isWhole = areUnderRoot(rows.map(entryText), seal);
      const ofRows = isWhole ? 'its rows are' : 'its rows are not either, and which of them cannot be told';
      this.report({ kind: 'seal_changed', seal: seal.number, why: `its entries are not those under its root; ${ofRows}` });
      this.#count[isWhole ? 'rows' : 'unchecked'] += rows.length;
      return rows;
    }
    const sealed = new Map<string, Entry[]>();
    const take = (row: Row, isTheOne: (entry: Entry) => boolean): Entry | undefined => {
      const entriesOfId = sealed.get(row.submissionId) ?? [];
      const at = entriesOfId.findIndex(isTheOne);
      return at < 0 ? undefined : entriesOfId.splice(at, 1)[0];
    };
    for (const entry of entries.map(readEntry)) {
      const ofId = sealed.get(entry.submissionId);
      if (ofId) ofId.push(entry);
      else sealed.set(entry.submissionId, [entry]);
    }
    const same = rows.filter((row) => take(row, (entry) => entryText(entry) === entryText(row)));
    this.#count.rows += same.length;
    const isSame = new Set(same);
    const said = { seal: seal.number, ...place };
    for (const row of rows.filter((one) => !isSame.has(one))) {
      const entry = take(row, () => true);
      if (entry) this.report({ kind: 'row_changed', ...placeOf(entry), ...said, why: 'its content is not what was sealed' });
      else this.report({ kind: 'row_added', ...placeOf(row), ...said, why: 'it is in the time of the seal, and was not sealed' });
    }
    for (const entry of [...sealed.values()].flat()) {
      const { rowsGoneBefore } = this.#options;
      if (rowsGoneBefore !== undefined && compareInstants(entry.committedAt, rowsGoneBefore) < 0) this.#count.aged += 1;
      else this.report({ kind: 'row_missing', ...placeOf(entry), ...said, why: 'it was sealed, and is not there' });
    }
    return same;
  }

  /** Rows under no sound seal. */
  outside(rows: readonly Entry[], isBehindAll: boolean): void {
    if (!isBehindAll) this.#count.unchecked += rows.length;
    else {
      this.#count.unsealed += rows.length;
      this.#unsealedFrom ??= rows[0]?.committedAt;
    }
  }

  /** @throws ReplayError */
  end(): Verified {
    const { expected } = this.#options;
    if (expected && !this.#isExpectedSeen) {
      if (this.#first && expected.number < this.#first.seal.number)
        throw new ReplayError(
          'expected_seal',
          `seal ${expected.number} is older than the first that is here, ${this.#first.seal.number}: expect a later one`,
        );
      if (!this.#before || expected.number > this.#before.number)
        this.report({
          kind: 'seal_missing',
          seal: expected.number,
          why: `you expect it, and the last one is ${this.#before?.number ?? 0}`,
        });
    }
    const [first, last] = [this.#first?.seal, this.#last];
    return {
      ...this.#count,
      ...(this.#unsealedFrom === undefined ? {} : { unsealedFrom: this.#unsealedFrom }),
      ...(first && last ? { from: first.from, to: last.seal.to, head: `${last.seal.number}:${last.hash}` } : {}),
    };
  }
}

/** What stands beside the signed text in its row. */
function faultOfRow({ number, sealedAt }: SealRow, { seal }: SealRecord): string | undefined {
  if (seal.number !== number) return `it is seal ${seal.number} at the place of seal ${number}`;
  return sealedAt === seal.sealedAt ? undefined : 'its column sealed_at is not what it says';
}

/** Each seal with the commits in its interval; those before, between and behind the seals by themselves. */
export async function* bySeal<Commit extends CommitKey>(
  seals: AsyncGenerator<SealRecord, undefined>,
  commits: AsyncIterable<Commit>,
): AsyncGenerator<{ readonly seal?: SealRecord; readonly commits: readonly Commit[]; readonly isLast: boolean }> {
  const nextSeal = async (): Promise<SealRecord | undefined> => {
    const { value } = await seals.next();
    return value;
  };
  let seal = await nextSeal();
  let within: Commit[] = [];
  for await (const commit of commits) {
    while (seal && compareInstants(commit.committedAt, seal.seal.to) >= 0) {
      yield { seal, commits: within, isLast: false };
      [seal, within] = [await nextSeal(), []];
    }
    if (seal && compareInstants(commit.committedAt, seal.seal.from) >= 0) within.push(commit);
    else yield { commits: [commit], isLast: seal === undefined };
  }
  for (; seal; [seal, within] = [await nextSeal(), []]) yield { seal, commits: within, isLast: false };
}

function placeOf({ submissionId, committedAt }: Entry): Pick<Finding, 'submissionId' | 'committedAt'> {
  return { submissionId, committedAt };
}

export function noSeals(place: string): ReplayError {
  return new ReplayError(
    'no_seals',
    `there are no seals in ${place}: spanway replay-worker (spanway dev has one) makes them, some seconds behind the rows, with the key of the secret seal-signing-keys`,
  );
}
