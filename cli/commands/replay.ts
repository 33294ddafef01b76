/** `spanway replay` and `spanway export`: records of the ledger, or of a file, once more. */
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Presets, SingleBar } from 'cli-progress';
import { hasBoard } from '../../ports/jobs/index.ts';
import type { Job, Jobs } from '../../ports/jobs/port.ts';
import { openStore, storeIdentity } from '../../ports/store/index.ts';
import { compareTable } from '../../producers/replay/compare.ts';
import { Preview } from '../../producers/replay/diff.ts';
import { readEntries } from '../../producers/replay/attempts.ts';
import { ReplayError } from '../../producers/replay/errors.ts';
import { readLines } from '../../producers/replay/file.ts';
import { readHistory } from '../../producers/replay/history.ts';
import { isSelected, rangeOf, type Selection } from '../../producers/replay/select.ts';
import type { ReplayProgress, ReplaySpec } from '../../producers/replay/spec.ts';
import type { HistoryRecord } from '../../schemas/envelope/history.ts';
import { SpanwayError } from '../../schemas/errors.ts';
import { type Config, ConfigError } from '../config.ts';
import { openJobsOf } from '../installation.ts';
import { boardLink } from './jobs.ts';
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
} from '../operator.ts';
import { applySchema } from '../provision.ts';

export interface ReplayOptions extends SelectionOptions {
  readonly file?: string;
  readonly into?: string;
  readonly rate?: number;
  readonly dryRun: boolean;
  readonly detach: boolean;
  readonly json: boolean;
  readonly as?: string;
}

const LOOK_MS = 500;
/** How long a job may wait before its user is told what may be missing. */
const PATIENCE_MS = 5000;

export async function replayCommand(config: Config, options: ReplayOptions): Promise<void> {
  await withOperator(config, async (parts) => {
    const selection = selectionOf(options, parts.resources);
    const { into, rate } = options;
    const spec: ReplaySpec = {
      selection,
      ...(options.file === undefined ? {} : { file: resolve(options.file) }),
      ...(into === undefined ? {} : { into }),
      ...(rate === undefined ? {} : { rate }),
      by: operatorName(options.as),
    };
    if (spec.file !== undefined && (selection.from !== undefined || selection.to !== undefined))
      throw new ConfigError('--from and --to select commits of the ledger; a --file goes without them');
    if (into !== undefined && (await ofInto(() => storeIdentity(into))) === storeIdentity(config.store))
      throw new ConfigError('--into names the database of SPANWAY_STORE itself; a rebuild goes into another one');
    if (options.dryRun) return await preview(parts, spec, options.json);
    if (into !== undefined) await ofInto(() => applySchema({ ...config, store: into }, parts.resources));
    const jobs = await openJobsOf(config);
    try {
      const id = await jobs.add(spec);
      note(`job ${id}: spanway jobs pause|resume|cancel ${id}`);
      if (hasBoard(config.jobs)) note(boardLink(config, id));
      if (options.detach) {
        if (options.json) printJson({ job: id });
        else print(id);
        return;
      }
      const job = await follow(jobs, id, options.json);
      const counts = summary(job, options.json);
      const isCompared = job.state === 'completed' && into !== undefined && isWhole(spec);
      const isEqual = !isCompared || (await compare(parts, into, selection, options.json));
      if (job.state !== 'completed') process.exitCode = 1;
      else if (!isEqual || Object.entries(counts).some(([result, count]) => !GOOD.has(result) && count > 0)) process.exitCode = SOME_LEFT;
    } finally {
      await jobs.close();
    }
  });
}

/** What is wrong with the URL of an option is not said of the setting that has such a URL too. */
async function ofInto<T>(use: () => T | Promise<T>): Promise<T> {
  try {
    return await use();
  } catch (error) {
    throw error instanceof SpanwayError ? new ConfigError(`--into: ${error.message.replace(/^store: /, '')}`) : error;
  }
}

/** Whether nothing of this database, or of a tenant in it, is left out: then what is rebuilt must be equal to it. */
function isWhole({ file, selection }: ReplaySpec): boolean {
  return file === undefined && Object.keys(selection).every((name) => name === 'tenant');
}

const GOOD: ReadonlySet<string> = new Set(['applied', 'unchanged', 'left_out', 'rebuilt']);

/** Until the job has ended: a bar in a terminal, else a line for each tenth, or each step as JSON. */
export async function follow(jobs: Jobs, id: string, json: boolean): Promise<Job> {
  const bar =
    !json && process.stderr.isTTY
      ? new SingleBar(
          { format: '{bar} {percentage}%  {records} records  {speed}/s  ETA {eta_formatted}  {state}', stream: process.stderr },
          Presets.shades_classic,
        )
      : undefined;
  bar?.start(1000, 0, { records: 0, speed: 0, state: 'waiting' });
  const began = performance.now();
  let shown = '';
  let isPatient = true;
  for (;;) {
    const job = await jobs.get(id);
    if (!job) throw new ReplayError('no_job', `there is no job ${id}`);
    const { counts = {}, fraction = 0 } = (job.progress ?? {}) as Partial<ReplayProgress>;
    const records = Object.values(counts).reduce((sum, count) => sum + count, 0);
    const speed = Math.round(records / ((performance.now() - began) / 1000));
    bar?.update(Math.round(fraction * 1000), { records, speed, state: job.state });
    const text = json
      ? JSON.stringify({ job: id, state: job.state, fraction, counts })
      : `${Math.floor(fraction * 10) * 10}%  ${records} records  ${job.state}`;
    if (!bar && text !== shown) (json ? print : note)(text);
    shown = text;
    if (job.endedAt !== undefined || job.state === 'cancelled') {
      bar?.stop();
      return job;
    }
    if (job.state === 'waiting' && isPatient && performance.now() - began > PATIENCE_MS) {
      isPatient = false;
      note('no worker has taken the job yet: is a spanway replay-worker running on this SPANWAY_JOBS?');
    }
    await sleep(LOOK_MS);
  }
}

function summary(job: Job, json: boolean): Readonly<Record<string, number>> {
  const { counts = {}, problems = [] } = (job.progress ?? {}) as Partial<ReplayProgress>;
  if (json) printJson({ job: job.id, state: job.state, counts, problems, ...(job.error === undefined ? {} : { error: job.error }) });
  else {
    for (const { submissionId, result, why } of problems) print(`${submissionId}  ${result}${why === undefined ? '' : `  ${why}`}`);
    const counted = Object.entries(counts).map(([result, count]) => `${count} ${result}`);
    print(`${job.state}: ${counted.join(', ') || 'no record is meant'}${job.error === undefined ? '' : `; ${job.error}`}`);
  }
  return counts;
}

/** Whether both databases hold the same rows of every resource. */
async function compare({ store, resources }: OperatorParts, into: string, { tenant }: Selection, json: boolean): Promise<boolean> {
  const target = await openStore(into);
  try {
    let isEqual = true;
    for (const table of resources.tables()) {
      const found = await compareTable(store, target, table, tenant);
      const differs = found.missing + found.different + found.extra > 0;
      isEqual &&= !differs;
      if (json) printJson(found);
      else {
        const how = `${found.missing} missing, ${found.different} different, ${found.extra} more, as ${found.examples.map((key) => key.join('/')).join(' ')}`;
        print(`table ${found.table}: ${counted(found.rows, 'row')}, ${differs ? how : 'equal'}`);
      }
    }
    return isEqual;
  } finally {
    await target.close();
  }
}

/** What would change of the rows as they are now; nothing is sent. */
async function preview(parts: OperatorParts, { selection, file, into }: ReplaySpec, json: boolean): Promise<void> {
  if (into !== undefined) throw new ConfigError('--dry-run looks at what a replay into this database would change; it goes without --into');
  const look = new Preview(parts.store, parts.resources);
  let [fresh, known, leftOut] = [0, 0, 0];
  for await (const { envelope, verdict } of file === undefined ? selectedRecords(parts, selection) : recordsOfFile(file, selection)) {
    const [entry] = await readEntries(parts.store, [envelope.id]);
    if (entry) known += 1;
    else if (verdict.outcome !== 'applied') leftOut += 1;
    else {
      fresh += 1;
      const changes = await look.of(envelope);
      if (json) printJson({ submissionId: envelope.id, changes });
      else for (const change of changes) print(changeLine(change));
    }
  }
  note(`${fresh} would be applied or refused, ${known} have their outcome, ${leftOut} were not applied and would be left out`);
}

async function* selectedRecords({ store, resources }: OperatorParts, selection: Selection): AsyncGenerator<HistoryRecord> {
  for await (const records of readHistory(store, rangeOf(selection, resources)))
    yield* records.filter((record) => isSelected(record, selection));
}

async function* recordsOfFile(path: string, selection: Selection): AsyncGenerator<HistoryRecord> {
  for await (const { record } of readLines(path, { needsCommit: false })) {
    if (record instanceof ReplayError) note(record.message);
    else if (isSelected(record, selection)) yield record;
  }
}

/** JSON lines, one a record, in the order in which they took effect. */
export async function exportCommand(config: Config, options: SelectionOptions): Promise<void> {
  await withOperator(config, async (parts) => {
    let count = 0;
    for await (const { committedAt, commit, position, verdict, envelope } of selectedRecords(
      parts,
      selectionOf(options, parts.resources),
    )) {
      count += 1;
      const line = `${JSON.stringify({ committedAt, commit, position, verdict, envelope })}\n`;
      if (!process.stdout.write(line)) await new Promise((drained) => process.stdout.once('drain', drained));
    }
    note(counted(count, 'record'));
  });
}
