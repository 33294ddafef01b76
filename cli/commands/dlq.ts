/** `spanway dlq list|show|redrive|purge`: what ended without being applied, wherever it lies. */
import {
  closeLetter,
  type DeadLetter,
  isMeant,
  type LetterSelection,
  listDeadLetters,
  removeParked,
  visitQueueLetters,
} from '../../producers/replay/dead-letters.ts';
import { attemptsOf } from '../../producers/replay/attempts.ts';
import { Preview } from '../../producers/replay/diff.ts';
import { redrive, type Redriven } from '../../producers/replay/redrive.ts';
import { type Config, ConfigError } from '../config.ts';
import {
  changeLine,
  counted,
  note,
  operatorName,
  type OperatorParts,
  print,
  printJson,
  selectionOf,
  type SelectionOptions,
  SOME_LEFT,
  withOperator,
  withSending,
} from '../operator.ts';

export interface ListOptions extends SelectionOptions {
  /** Rejected submissions too. */
  readonly rejected: boolean;
  readonly json: boolean;
}

export interface RedriveOptions extends ListOptions {
  readonly all: boolean;
  readonly overNewer: boolean;
  readonly dryRun: boolean;
  readonly wait: number;
  readonly as?: string;
}

export interface PurgeOptions extends ListOptions {
  readonly all: boolean;
  readonly as?: string;
}

export async function dlqList(config: Config, options: ListOptions): Promise<void> {
  await withOperator(config, async (parts) => {
    let count = 0;
    for await (const letter of listDeadLetters(parts, lettersOf(parts, [], options))) {
      count += 1;
      if (options.json) printJson(summaryOf(letter));
      else print(lineOf(letter));
    }
    note(counted(count, 'dead letter'));
  });
}

/** The exit code is 1 where one is not found. */
export async function dlqShow(config: Config, ids: readonly string[], { json }: { readonly json: boolean }): Promise<void> {
  await withOperator(config, async (parts) => {
    const missing = new Set(ids);
    for await (const letter of listDeadLetters(parts, { ids })) {
      missing.delete(letter.id);
      const attempts = letter.source === 'ledger' ? await attemptsOf(parts.store, letter.id) : [];
      const shown = {
        ...summaryOf(letter),
        attempts: attempts.map(({ verdict, committedAt, commit, position, envelope }) => {
          const { attempt = 1, by, time } = envelope.data.redrive ?? {};
          const tried = { attempt, ...(by === undefined ? {} : { by, sentAt: time }) };
          return { ...tried, ...verdict, committedAt, commit, position };
        }),
        ...(letter.source === 'ledger'
          ? {}
          : { attributes: letter.attributes, body: letter.envelopes.length > 0 ? undefined : letter.body }),
        envelopes: letter.envelopes,
      };
      if (json) printJson(shown);
      else print(JSON.stringify(shown, null, 2));
    }
    tellMissing(missing);
  });
}

/** The exit code is 1 where one that is named is not found, and 2 where one was not applied. */
export async function dlqRedrive(config: Config, ids: readonly string[], options: RedriveOptions): Promise<void> {
  const { overNewer, dryRun } = options;
  await withOperator(config, async (parts) => {
    const selection = lettersOf(parts, ids, options);
    const counts = new Map<string, number>();
    const missing = new Set(ids);
    const look = new Preview(parts.store, parts.resources);
    await withSending(config, parts, async (sending) => {
      const by = operatorName(options.as);
      const how = { overNewer, dryRun, by, outcomeMs: options.wait * 1000, now: () => new Date() };
      for await (const { envelope, ...result } of redrive({ ...parts, ...sending }, selection, how)) {
        missing.delete(result.id);
        counts.set(result.result, (counts.get(result.result) ?? 0) + 1);
        const changes = dryRun && envelope ? await look.of(envelope) : [];
        if (options.json) printJson(dryRun ? { ...result, changes } : result);
        else for (const line of [resultLine(result), ...changes.map((change) => `  ${changeLine(change)}`)]) print(line);
      }
    });
    note([...counts].map(([result, count]) => `${count} ${result}`).join(', ') || 'no dead letter is meant');
    const good = (counts.get('applied') ?? 0) + (counts.get('would_send') ?? 0);
    if ([...counts.values()].reduce((sum, count) => sum + count, 0) > good) process.exitCode = SOME_LEFT;
    tellMissing(missing);
  });
}

/** The exit code is 1 where one that is named is not found, and 2 where one was kept. */
export async function dlqPurge(config: Config, ids: readonly string[], options: PurgeOptions): Promise<void> {
  await withOperator(config, async (parts) => {
    const selection = lettersOf(parts, ids, options);
    const by = operatorName(options.as);
    const missing = new Set(ids);
    let [purged, kept] = [0, 0];
    const gone = (letter: DeadLetter): void => {
      purged += 1;
      if (options.json) printJson({ ...summaryOf(letter), purged: true });
      else print(`purged ${lineOf(letter)}`);
    };
    /** A message is removed whole, so a filter must mean all of it. */
    const isWhole = (letter: DeadLetter): boolean => {
      missing.delete(letter.id);
      if (letter.source === 'ledger' || letter.envelopes.every((envelope) => isMeant(envelope, selection))) return true;
      kept += 1;
      note(`kept ${letter.id}: it holds submissions too that the filter does not mean; spanway dlq purge ${letter.id} removes them all`);
      return false;
    };
    for await (const letter of listDeadLetters({ ...parts, queue: NO_LETTERS }, selection)) {
      if (!isWhole(letter)) continue;
      if (letter.source === 'ledger') {
        if (await closeLetter(parts.store, letter, by, new Date().toISOString())) gone(letter);
      } else {
        await removeParked(parts.store, letter);
        gone(letter);
      }
    }
    await visitQueueLetters(parts.queue, selection, (letters) => {
      const done = letters.map(isWhole);
      letters.filter((_, i) => done[i]).forEach(gone);
      return Promise.resolve(done);
    });
    note(`${purged} purged`);
    if (kept > 0) process.exitCode = SOME_LEFT;
    tellMissing(missing);
  });
}

/** The exit code is 1 where there are some. */
function tellMissing(ids: ReadonlySet<string>): void {
  for (const id of ids) note(`${id} is no dead letter`);
  if (ids.size > 0) process.exitCode = 1;
}

const NO_LETTERS = { visitDeadLetters: () => Promise.resolve() };

/** @throws ConfigError where a command that changes something is given neither ids, nor a filter, nor `--all` */
function lettersOf(
  { resources }: OperatorParts,
  ids: readonly string[],
  options: ListOptions & { readonly all?: boolean },
): LetterSelection {
  const selection = selectionOf(options, resources);
  if (options.all === false && ids.length === 0 && Object.keys(selection).length === 0)
    throw new ConfigError('name dead letters, or give a filter, or --all for every one');
  return { ...selection, rejected: options.rejected, ...(ids.length > 0 ? { ids } : {}) };
}

function summaryOf(letter: DeadLetter): Record<string, unknown> {
  const { id, source, reason, detail, at, envelopes } = letter;
  return {
    id,
    source,
    ...(letter.source === 'ledger' ? { outcome: letter.outcome, attempt: letter.attempt } : {}),
    reason,
    ...(detail === undefined ? {} : { detail }),
    at,
    submissions: envelopes.map((envelope) => {
      const [first] = envelope.data.mutations;
      const { tenant, subject, actor } = envelope.data.caller;
      const who = { tenant, subject, ...(actor === undefined ? {} : { actor }) };
      const { id: submissionId, correlationid: correlationId, time: acceptedAt } = envelope;
      return { submissionId, ...who, resource: first?.resource, key: first?.key, correlationId, acceptedAt };
    }),
  };
}

function lineOf({ id, at, reason, detail, envelopes }: DeadLetter): string {
  const [first] = envelopes;
  const row = first === undefined ? '(cannot be read)' : first.subject;
  const more = envelopes.length > 1 ? ` and ${envelopes.length - 1} more` : '';
  const tenant = first === undefined ? '' : `  tenant ${first.data.caller.tenant}`;
  return `${id}  ${at}  ${reason}  ${row}${more}${tenant}${detail === undefined ? '' : `  ${detail.split('\n', 1)[0] ?? ''}`}`;
}

function resultLine({ id, submissionId, resource, key, result, reason, detail }: Omit<Redriven, 'envelope'>): string {
  const why = [reason, detail].filter((part) => part !== undefined).join(': ');
  const row = resource === undefined ? '' : `  ${[resource, ...(key ?? [])].join('/')}`;
  const of = submissionId === undefined || submissionId === id ? '' : `  submission ${submissionId}`;
  return `${id}${of}${row}  ${result}${why === '' ? '' : `  ${why}`}`;
}
