/** Records of a file: JSON lines as `spanway export` writes them, or envelopes alone. */
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { checkEnvelope } from '../../schemas/envelope/envelope.ts';
import type { HistoryRecord } from '../../schemas/envelope/history.ts';
import { ReplayError } from './errors.ts';

export interface Line {
  /** From 1. */
  readonly line: number;
  /** A ReplayError (`not_an_export`) where the line is none. */
  readonly record: HistoryRecord | ReplayError;
}

/** Its lines in their order, blank ones left out. `needsCommit`: an envelope alone, which no commit is known of, is no record. */
export async function* readLines(path: string, { needsCommit }: { readonly needsCommit: boolean }): AsyncGenerator<Line> {
  let line = 0;
  for await (const text of createInterface({ input: createReadStream(path), crlfDelay: Infinity })) {
    line += 1;
    if (text.trim() !== '') yield { line, record: parseLine(path, line, text, needsCommit) };
  }
}

function parseLine(path: string, line: number, text: string, needsCommit: boolean): HistoryRecord | ReplayError {
  try {
    const value = JSON.parse(text) as Partial<HistoryRecord> & { readonly specversion?: string };
    const isBare = value.specversion !== undefined;
    const envelope = checkEnvelope(isBare ? value : value.envelope);
    const { committedAt = '', commit = '', position = 0, verdict = { outcome: 'applied' } } = isBare ? {} : value;
    if (needsCommit && (committedAt === '' || commit === ''))
      return new ReplayError('not_an_export', `${path}:${line}: it names no commit; a rebuild needs what spanway export wrote`);
    return { envelope, verdict, commit, committedAt, position };
  } catch (cause) {
    return new ReplayError('not_an_export', `${path}:${line}: ${(cause as Error).message}`, { cause });
  }
}
