/** Sealed rows as JSON lines, each seal before its rows: what `verifyLines` takes without the database. */
import type { Store } from '../../../ports/store/port.ts';
import { compareInstants } from '../../../schemas/envelope/history.ts';
import { LEDGER_DAYS } from '../../../schemas/envelope/ledger.ts';
import { readAudited } from './audited.ts';
import { readEntry, sha256Hex } from './rows.ts';
import { isSeal, mayBeGoneBefore, readable, readLastSeal, readSeals, type SealRecord } from './seal.ts';
import { bySeal, type ExportLine, noSeals } from './verify.ts';

interface Exported {
  readonly rows: number;
  readonly seals: number;
  /** What the seals cover, and the last one as `NUMBER:HASH`. */
  readonly from?: string;
  readonly to?: string;
  readonly head?: string;
  /** Seals in the range that are left out, since their rows may be past their age limit. */
  readonly aged: number;
  /** Up to here there are seals. */
  readonly sealedTo: string;
}

/**
 * Whole intervals, as far as they are in the range: so the first and the last row may be outside it by as much.
 * `write` resolves when it takes more. A commit that cannot be read is left out, so its rows are missing in the file.
 * @throws ReplayError where there are no seals, or one cannot be read
 */
export async function exportSealed(
  store: Store,
  { from, to }: { readonly from?: string; readonly to?: string },
  write: (line: string) => Promise<void>,
): Promise<Exported> {
  const { last, readTimestamp } = await readLastSeal(store);
  if (!last) throw noSeals('this database');
  const { seal: newest } = readable(last);
  const goneBefore = mayBeGoneBefore(readTimestamp, LEDGER_DAYS);
  const sealedTo = newest.to;
  const count = { rows: 0, seals: 0, aged: 0 };
  let [first, end]: [SealRecord | undefined, SealRecord | undefined] = [undefined, undefined];
  async function* wanted(): AsyncGenerator<SealRecord, undefined> {
    for await (const row of readSeals(store)) {
      const record = readable(row);
      const [oldest = '', latest = ''] = [record.entries.at(0), record.entries.at(-1)].map((text) => readEntry(text ?? '').committedAt);
      if (from !== undefined && compareInstants(latest, from) < 0) continue;
      if (to !== undefined && compareInstants(oldest, to) >= 0) return undefined;
      if (compareInstants(oldest, goneBefore) < 0) count.aged += 1;
      else yield record;
    }
  }
  const seals = wanted();
  const { value: start, done } = await seals.next();
  if (!done) {
    const rest = (async function* (): AsyncGenerator<SealRecord, undefined> {
      yield start;
      yield* seals;
    })();
    for await (const { seal, commits } of bySeal(rest, readAudited(store, { from: start.seal.from, to: sealedTo }))) {
      if (!seal) continue;
      first ??= seal;
      end = seal;
      count.seals += 1;
      await write(JSON.stringify(seal));
      for (const { text } of commits.flatMap((commit) => commit.rows)) {
        count.rows += 1;
        await write(text);
      }
    }
  }
  return {
    ...count,
    sealedTo,
    ...(first && end ? { from: first.seal.from, to: end.seal.to, head: `${end.seal.number}:${end.hash}` } : {}),
  };
}

export function readExportLine(text: string): ExportLine {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return { unreadable: 'it is not JSON' };
  }
  const line = (typeof parsed === 'object' && parsed !== null ? parsed : {}) as Record<string, unknown>;
  const { seal, hash, signature, entries, submissionId, committedAt } = line;
  if (isSeal(seal) && typeof hash === 'string' && typeof signature === 'string' && isTexts(entries))
    return { seal, hash, signature, entries };
  if (typeof submissionId === 'string' && typeof committedAt === 'string') return { submissionId, committedAt, hash: sha256Hex(text) };
  return { unreadable: 'it is neither a seal nor a row' };
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((one) => typeof one === 'string');
}
