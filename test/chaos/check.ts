/**
 * The verdict on a run, from outside: what the API says, what the database holds, and what the model says they must.
 * Every violation is one line that names the writes.
 */
import { isDeepStrictEqual } from 'node:util';
import { type ChaosClient, outcomeOf } from './client.ts';
import { type DatabaseReader, inLedgerOrder, type LedgerRow } from '../fixtures/database.ts';
import { AggregateModel, type Fields, type Verdict } from './model.ts';
import type { Aggregate, Submission } from './workload.ts';

export interface Findings {
  readonly violations: readonly string[];
  /** Submissions by their outcome in the ledger. */
  readonly outcomes: Readonly<Record<Verdict, number>>;
  readonly rows: number;
}

/** Requests of the checks at once. */
const PARALLEL = 16;

export async function check(client: ChaosClient, database: DatabaseReader, aggregates: readonly Aggregate[]): Promise<Findings> {
  const violations: string[] = [];
  const ledger = await database.ledger();
  const byId = new Map(ledger.map((row) => [row.submissionId, row]));
  const outcomes: Record<Verdict, number> = {};
  for (const row of ledger) outcomes[verdictOf(row)] = (outcomes[verdictOf(row)] ?? 0) + 1;

  const submissions = aggregates.flatMap((aggregate) => aggregate.history);
  const ours = new Set(submissions.map((submission) => submission.submissionId));
  for (const row of ledger) if (!ours.has(row.submissionId)) violations.push(`the ledger has a submission that nobody sent: ${show(row)}`);
  for (const submission of submissions) {
    const row = byId.get(submission.submissionId);
    if (!row) violations.push(`lost: ${name(submission)} had its 202 (receipt ${submission.receipt ?? '?'}) and is not in the ledger`);
    else if (row.correlationId !== submission.correlationId || row.tenant !== submission.aggregate.tenant)
      violations.push(`${name(submission)} is in the ledger under another name: ${show(row)}`);
  }

  const models = new Map(aggregates.map((aggregate) => [aggregate, replay(aggregate, byId, violations)]));
  checkOrder(aggregates, ledger, violations);
  await checkCounts(database, [...models.values()], violations);
  await inParallel(submissions, (submission) => checkStatus(client, submission, byId.get(submission.submissionId), violations));
  let rows = 0;
  await inParallel([...models], async ([aggregate, model]) => {
    await checkRows(client, aggregate, model, violations);
    rows += (model.order ? 1 : 0) + model.lines.size;
  });
  return { violations, outcomes, rows };
}

/** Each write's outcome from the writes before it; the reads between them too. */
function replay(aggregate: Aggregate, byId: ReadonlyMap<string, LedgerRow>, violations: string[]): AggregateModel {
  const model = new AggregateModel();
  const reads = Map.groupBy(aggregate.reads, (read) => read.after);
  const confirm = (after: number): void => {
    for (const { order } of reads.get(after) ?? [])
      if (!isDeepStrictEqual(order, model.order))
        violations.push(
          `${aggregate.tenant}/${aggregate.orderId} after write ${after} was read as ${text(order)}, not ${text(model.order)}`,
        );
  };
  confirm(0);
  for (const submission of aggregate.history) {
    const row = byId.get(submission.submissionId);
    // A lost one is told already; without it, the rest is as the database has it.
    if (!row) continue;
    const expected = model.apply(submission.changes, submission.ifMatch, row.committedAt);
    if (verdictOf(row) !== expected) violations.push(`${name(submission)} must be ${expected}; the ledger says ${show(row)}`);
    confirm(submission.counter);
  }
  return model;
}

/** Per aggregate the ledger holds the counters 1, 2, 3, …, in the order in which they were accepted. */
function checkOrder(aggregates: readonly Aggregate[], ledger: readonly LedgerRow[], violations: string[]): void {
  const byAggregate = Map.groupBy(inLedgerOrder(ledger), (row) => row.correlationId.slice(0, row.correlationId.lastIndexOf('/')));
  for (const { tenant, orderId, history } of aggregates) {
    const rows = byAggregate.get(`${tenant}/${orderId}`) ?? [];
    const counters = rows.map((row) => Number(row.correlationId.split('/').at(-1)));
    const ids = new Set(rows.map((row) => row.aggregate));
    if (ids.size > 1) violations.push(`${tenant}/${orderId} is in the ledger as ${ids.size} aggregates`);
    const wrong = counters.findIndex((counter, i) => i > 0 && counter <= (counters[i - 1] ?? 0));
    if (wrong > 0) {
      const [before, after] = [rows[wrong - 1], rows[wrong]];
      violations.push(`${tenant}/${orderId} took effect out of order: ${before ? show(before) : ''} before ${after ? show(after) : ''}`);
    }
    if (counters.length !== history.length)
      violations.push(`${tenant}/${orderId}: ${history.length} writes were accepted, the ledger has ${counters.length}`);
  }
}

/** Rows that no aggregate of ours has are counted here. */
async function checkCounts(database: DatabaseReader, models: readonly AggregateModel[], violations: string[]): Promise<void> {
  const expected = {
    orders: models.filter((model) => model.order).length,
    order_lines: models.reduce((sum, model) => sum + model.lines.size, 0),
    spanway_parked: 0,
  };
  for (const [table, count] of Object.entries(expected) as [keyof typeof expected, number][]) {
    const found = await database.count(table);
    if (found !== count) violations.push(`${table} has ${found} rows, not ${count}`);
  }
}

async function checkStatus(client: ChaosClient, submission: Submission, row: LedgerRow | undefined, violations: string[]): Promise<void> {
  const { tenant } = submission.aggregate;
  const { status, body } = await client.call({ tenant, method: 'GET', path: `/v1/submissions/${submission.receipt ?? ''}` });
  const outcome = outcomeOf(body);
  if (status !== 200 || !outcome) {
    violations.push(`${name(submission)} has no outcome: its status is ${status} ${text(body)}`);
    return;
  }
  const expected = row && { verdict: verdictOf(row), commitTimestamp: row.outcome === 'applied' ? row.committedAt : undefined };
  if (!isDeepStrictEqual(outcome, expected))
    violations.push(`${name(submission)} has the status ${text(outcome)}, the ledger ${text(expected)}`);
  if (submission.outcome && !isDeepStrictEqual(outcome, submission.outcome))
    violations.push(`${name(submission)} was told as ${text(submission.outcome)} and is ${text(outcome)}`);
}

async function checkRows(client: ChaosClient, aggregate: Aggregate, model: AggregateModel, violations: string[]): Promise<void> {
  const { tenant, orderId } = aggregate;
  const read = async (path: string): Promise<Fields | undefined> => {
    const { status, body } = await client.call({ tenant, method: 'GET', path });
    if (status !== 200 && status !== 404) violations.push(`GET ${path} of ${tenant} was answered ${status} ${text(body)}`);
    const { orderId: _order, lineNumber: _line, ...fields } = body;
    return status === 200 ? fields : undefined;
  };
  const rows: [path: string, expected: Fields | undefined][] = [
    [`/v1/orders/${orderId}`, model.order],
    ...[1, 2, 3].map((line): [string, Fields | undefined] => [`/v1/order-lines/${orderId}/${line}`, model.lines.get(line)]),
  ];
  for (const [path, expected] of rows) {
    const found = await read(path);
    if (!isDeepStrictEqual(found, expected)) violations.push(`${path} of ${tenant} is ${text(found)}, not ${text(expected)}`);
  }
}

async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values();
  await Promise.all(
    Array.from({ length: PARALLEL }, async () => {
      for (const item of rest) await work(item);
    }),
  );
}

function verdictOf({ outcome, reason }: LedgerRow): Verdict {
  return reason === null ? outcome : `${outcome} ${reason}`;
}

function name({ correlationId, method, path, changes, ifMatch }: Submission): string {
  const what = changes.map(({ op, line }) => (line === undefined ? op : `${op} line ${line}`)).join(', ');
  return `${correlationId} (${method} ${path}: ${what}${ifMatch === undefined ? '' : ` if ${ifMatch}`})`;
}

function show({ correlationId, submissionId, outcome, reason, detail, committedAt, position }: LedgerRow): string {
  return `${correlationId} ${submissionId} ${outcome} ${reason ?? ''} at ${committedAt} #${position}${detail === null ? '' : ` (${detail})`}`;
}

function text(value: unknown): string {
  return value === undefined ? 'nothing' : JSON.stringify(value);
}
