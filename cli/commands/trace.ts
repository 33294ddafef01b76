/** `spanway trace`: one write's whole story, in order, with times. */
import type { Job } from '../../ports/jobs/port.ts';
import type { Selection } from '../../producers/replay/select.ts';
import { keyCells } from '../../producers/replay/select.ts';
import { type Story, trace } from '../../producers/replay/trace.ts';
import { readEntries } from '../../producers/replay/attempts.ts';
import { submissionIdOf } from '../../schemas/envelope/ids.ts';
import type { Config } from '../config.ts';
import { openJobsOf } from '../installation.ts';
import { note, type OperatorParts, print, printJson, segmentsOf, timesOf, withOperator } from '../operator.ts';

export interface TraceOptions {
  readonly tenant?: string;
  readonly from?: string;
  readonly to?: string;
  readonly json: boolean;
}

/** How far back a search goes that no index helps. */
const DEFAULT_FROM = '24h';
/** Jobs that are looked through. */
const REPLAYS = 200;

/** The exit code is 1 where nothing is found. */
export async function traceCommand(config: Config, subject: string, options: TraceOptions): Promise<void> {
  await withOperator(config, async (parts) => {
    const selection = await selectionFor(parts, subject, options);
    let found = 0;
    for await (const story of trace(parts, selection, await replays(config))) {
      found += 1;
      if (options.json) printJson(story);
      else tell(story);
    }
    const since = selection.from === undefined ? '' : ` since ${selection.from} (--from looks further back)`;
    if (found > 0 && selection.from !== undefined) note(`That is all${since}.`);
    if (found > 0) return;
    note(`Nothing is known of ${subject}${since}: it is on the queue or the topic, or it was never accepted.`);
    process.exitCode = 1;
  });
}

/** The last jobs; none, and a word of it, where they cannot be read: the story is worth more than they are. */
async function replays(config: Config): Promise<readonly Job[]> {
  const jobs = await openJobsOf(config);
  try {
    return await jobs.list(REPLAYS);
  } catch (error) {
    note(`replays are left out: ${(error as Error).message}`);
    return [];
  } finally {
    await jobs.close();
  }
}

/** A receipt's id, a submission's id, `resource/key`, or else a correlation id. */
async function selectionFor({ store, resources }: OperatorParts, subject: string, options: TraceOptions): Promise<Selection> {
  const { tenant, to } = options;
  const ofTenant = tenant === undefined ? {} : { tenant };
  const submissionId = submissionIdOf(subject);
  if (submissionId !== undefined && (submissionId !== subject || (await readEntries(store, [submissionId]))[0]))
    return { ...ofTenant, submissionId };
  const range = { ...ofTenant, ...timesOf({ from: options.from ?? DEFAULT_FROM, to }) };
  const slash = subject.indexOf('/');
  const resource = subject.slice(0, slash);
  if (slash < 1 || !resources.get(resource)) return { ...range, correlationId: subject };
  return { ...range, resource, key: keyCells(resource, segmentsOf(subject.slice(slash + 1)), resources) };
}

function tell({ submissionId, correlationId, tenant, row, mutations, steps }: Story): void {
  print(
    `submission ${submissionId}  ${row}${mutations > 1 ? ` and ${mutations - 1} more` : ''}  tenant ${tenant}  correlation id ${correlationId}`,
  );
  for (const { at, what, text } of steps) print(`  ${(at ?? '').padEnd(27)}  ${what.padEnd(13)}  ${text}`);
}
