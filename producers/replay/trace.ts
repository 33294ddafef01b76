/** One write's whole story, out of what the ledger, its history and the dead letters have. */
import type { Envelope } from '../../schemas/envelope/envelope.ts';
import { compareInstants, type HistoryRecord, isWithin } from '../../schemas/envelope/history.ts';
import type { CommittedEntry, Outcome } from '../../schemas/envelope/ledger.ts';
import type { Carried } from '../../schemas/envelope/pack.ts';
import type { Job } from '../../ports/jobs/port.ts';
import { eventIdOf } from '../../schemas/envelope/ids.ts';
import { rowName } from '../../schemas/resource/cells.ts';
import { attemptsOf, readEntries } from './attempts.ts';
import { type DeadLetterParts, type MessageLetter, parkedLetters, visitQueueLetters } from './dead-letters.ts';
import { readHistory } from './history.ts';
import { isSelected, rangeOf, type Selection } from './select.ts';
import type { ReplayProgress, ReplaySpec } from './spec.ts';

export interface StoryStep {
  /** RFC 3339; absent where no clock of the pipeline's record has it. */
  readonly at?: string;
  readonly what: 'accepted' | 'queued' | 'bridged' | 'redriven' | Outcome | 'event' | 'closed' | 'replayed' | 'parked' | 'not_forwarded';
  /** For people. */
  readonly text: string;
}

export interface Story {
  readonly submissionId: string;
  readonly correlationId: string;
  readonly tenant: string;
  /** `orders/o1`, of the first mutation. */
  readonly row: string;
  readonly mutations: number;
  readonly steps: readonly StoryStep[];
}

/**
 * The stories of the selected submissions, in the order in which they first stood in history; then of those that lie in
 * a message which was never opened. A selection by `submissionId` is two reads a try; any other one looks through the
 * history of its time, by row or correlation id without the envelopes. `replays`: the jobs that may be part of them.
 */
export async function* trace(parts: DeadLetterParts, selection: Selection, replays: readonly Job[] = []): AsyncGenerator<Story> {
  const { store, resources } = parts;
  const told = new Set<string>();
  if (selection.submissionId !== undefined) {
    const story = await storyOf(parts, selection.submissionId, replays);
    if (story) {
      told.add(story.submissionId);
      yield story;
    }
  } else {
    // A replay looks at every commit, so that it can save how far it is; here nothing is saved.
    const { correlationId } = selection;
    const range = { ...rangeOf(selection, resources), ...(correlationId === undefined ? {} : { correlationId }) };
    for await (const records of readHistory(store, range)) {
      for (const record of records) {
        if (told.has(record.envelope.id) || !isSelected(record, selection)) continue;
        told.add(record.envelope.id);
        const story = await storyOf(parts, record.envelope.id, replays);
        if (story) yield story;
      }
    }
  }
  for (const letter of await messagesWith(parts, selection)) {
    for (const envelope of letter.envelopes) {
      const isMeant = isSelected({ envelope, verdict: { outcome: 'dead_lettered' } }, selection);
      if (isMeant && !told.has(envelope.id)) yield { ...headOf(envelope), steps: [accepted(envelope), strandedAt(letter)] };
    }
  }
}

async function messagesWith({ store, queue }: DeadLetterParts, selection: Selection): Promise<readonly MessageLetter[]> {
  const found: MessageLetter[] = [];
  for await (const letter of parkedLetters(store, selection)) found.push(letter);
  await visitQueueLetters(queue, selection, (letters) => {
    found.push(...letters);
    return Promise.resolve(letters.map(() => false));
  });
  return found;
}

async function storyOf({ store }: Pick<DeadLetterParts, 'store'>, id: string, replays: readonly Job[]): Promise<Story | undefined> {
  const [[entry], attempts] = await Promise.all([readEntries(store, [id]), attemptsOf(store, id)]);
  const [first] = attempts;
  if (!entry || !first) return undefined;
  return {
    ...headOf(first.envelope),
    steps: [
      accepted(first.envelope),
      ...attempts.flatMap((attempt) => stepsOf(attempt)),
      ...closedStep(entry),
      ...replays.filter((job) => hasReplayed(job, attempts)).map(replayedStep),
    ],
  };
}

function headOf({ id, correlationid, data }: Envelope): Omit<Story, 'steps'> {
  const [first] = data.mutations;
  return {
    submissionId: id,
    correlationId: correlationid,
    tenant: data.caller.tenant,
    row: rowName(first?.resource ?? '', first?.key ?? []),
    mutations: data.mutations.length,
  };
}

function accepted({ time, traceparent, data: { caller, mutations } }: Envelope): StoryStep {
  const { subject, actor, client, issuer } = caller;
  const who = actor === undefined ? `from ${subject}` : `from ${actor}, acting for ${subject}`;
  const what = mutations.map(({ op, resource, key }) => `${op} ${[resource, ...key.map(String)].join('/')}`).join(', ');
  const by = `${who}${client === undefined ? '' : `, by client ${client}`} (issuer ${issuer}): ${what}`;
  const trace = traceparent === undefined ? '' : `; trace ${traceparent.split('-')[1] ?? ''}`;
  return { at: time, what: 'accepted', text: `${by}; the queue had it before its 202${trace}` };
}

/** By the clocks of the brokers: they may differ from the gateway's and the database's. */
function carriedSteps({ queuedAt, bridgedAt }: Carried = {}): readonly StoryStep[] {
  return [
    {
      ...(queuedAt === undefined ? {} : { at: queuedAt }),
      what: 'queued',
      text: queuedAt === undefined ? UNKNOWN : "by the queue's clock",
    },
    {
      ...(bridgedAt === undefined ? {} : { at: bridgedAt }),
      what: 'bridged',
      text: bridgedAt === undefined ? UNKNOWN : "to the topic, by the topic's clock",
    },
  ];
}

const UNKNOWN = 'its time is not recorded';

function stepsOf({ envelope, verdict, committedAt, commit, position, carried }: HistoryRecord): readonly StoryStep[] {
  const { redrive } = envelope.data;
  const { outcome, reason, detail } = verdict;
  const why = [reason, detail].filter((part) => part !== undefined).join(': ');
  const event = eventIdOf(envelope, redrive?.attempt);
  return [
    ...(redrive
      ? [
          {
            at: redrive.time,
            what: 'redriven' as const,
            text: `by ${redrive.by}, try ${redrive.attempt}${redrive.overNewer ? ', over newer writes' : ''}`,
          },
        ]
      : []),
    ...carriedSteps(carried),
    { at: committedAt, what: outcome, text: `${why === '' ? '' : `${why}; `}commit ${commit}, place ${position}` },
    {
      what: 'event',
      text: `submission.${outcome}, id ${event}: sent after the commit, and before the message is acknowledged; when is not recorded`,
    },
  ];
}

function closedStep({ closed }: CommittedEntry): readonly StoryStep[] {
  return closed ? [{ at: closed.at, what: 'closed', text: `taken off the list of dead letters by ${closed.by}` }] : [];
}

/** A replay that has passed one of its outcomes. What a file held is known to nobody but its reader. */
function hasReplayed({ spec, progress }: Job, attempts: readonly HistoryRecord[]): boolean {
  const { selection, file } = spec as Partial<ReplaySpec>;
  const { after } = (progress ?? {}) as Partial<ReplayProgress>;
  if (!selection || file !== undefined || !after) return false;
  return attempts.some(
    (record) =>
      isSelected(record, selection) &&
      isWithin(record.committedAt, selection) &&
      compareInstants(record.committedAt, after.committedAt) <= 0,
  );
}

function replayedStep({ id, spec, addedAt, endedAt, state }: Job): StoryStep {
  const { by, into } = spec as ReplaySpec;
  const what = into === undefined ? 'sent to the queue again, which changes no outcome' : 'rebuilt in another database';
  return { at: endedAt ?? addedAt, what: 'replayed', text: `by ${by}, job ${id}, ${state}: ${what}` };
}

function strandedAt({ id, source, at, reason, detail }: MessageLetter): StoryStep {
  const why = `${reason}${detail === undefined ? '' : `: ${detail}`}`;
  const what = source === 'parked' ? 'parked' : 'not_forwarded';
  return { at, what, text: `${why}; dead letter ${id}. What it says of itself is not verified` };
}
