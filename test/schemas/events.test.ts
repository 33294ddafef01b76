/** The events as subscribers meet them: against their schemas, and through the rules of docs/events.md. */
import { readdirSync, readFileSync } from 'node:fs';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EVENT_SOURCE, eventType, type OutcomeEvent } from '../../ports/events/port.ts';
import { openSqliteEvents } from '../../ports/events/sqlite.ts';
import type { Envelope } from '../../schemas/envelope/envelope.ts';
import { OUTCOMES, REASONS } from '../../schemas/envelope/ledger.ts';
import { Bus, type DeliveredEvent, type Subscription } from '../fixtures/bus.ts';
import { redriveOf } from '../fixtures/applying.ts';
import { envelopeOf, orderUpsert } from '../fixtures/envelopes.ts';
import { type Pipeline, startPipeline } from '../fixtures/pipeline.ts';
import { describeWithServer } from '../servers.ts';

interface EventSchema {
  readonly $id: string;
  readonly title: string;
  readonly required: readonly string[];
  readonly properties: Readonly<Record<string, { readonly const?: string; readonly enum?: readonly string[] }>>;
}

const folder = new URL('../../schemas/events/', import.meta.url);
const schemas = new Map(
  readdirSync(folder).map((file) => {
    const schema = JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as EventSchema;
    return [file.replace(/\.json$/, ''), schema] as const;
  }),
);

/** With `sealed`, properties that the schema does not name are refused: what is sent must be documented. */
function validators(sealed: boolean): Map<string, ValidateFunction> {
  const ajv = new Ajv2020({ strict: true, strictRequired: true, allowUnionTypes: true, allErrors: true });
  (addFormats as unknown as (ajv: Ajv2020) => void)(ajv);
  return new Map([...schemas].map(([type, schema]) => [type, ajv.compile(sealed ? { ...schema, additionalProperties: false } : schema)]));
}

function errorsOf(event: OutcomeEvent, type = eventType(event.outcome)): unknown {
  const validate = validators(true).get(type) ?? expect.unreachable(`there is no schema for ${type}`);
  return validate(event) ? null : validate.errors;
}

/**
 * One submission of each kind: applied, applied for another tenant by an agent, rejected, rejected for its key and by a
 * constraint, dead-lettered, and the rejected one applied by a redrive. Answers the events by kind, with what `seen` gives.
 */
async function makeOneOfEach(
  pipeline: Pipeline,
  seen: (count: number) => Promise<readonly OutcomeEvent[]>,
): Promise<Readonly<Record<Kind, OutcomeEvent>>> {
  const withCaller = (envelope: Envelope, caller: object): Envelope => ({
    ...envelope,
    data: { ...envelope.data, caller: { ...envelope.data.caller, ...caller } },
  });
  const applied = envelopeOf([orderUpsert('o1')]);
  const line = { sku: 's', quantity: '1', unitPrice: '2.50' };
  const byAgent = withCaller(
    envelopeOf([orderUpsert('o1'), { op: 'upsert', resource: 'order-lines', key: ['o1', '7'], value: line }], { tenant: 't2' }),
    { actor: 'agent-7', client: 'app' },
  );
  const lines = envelopeOf([{ op: 'upsert', resource: 'order-lines', key: ['o1', '8'], value: line }]);
  const rejected = envelopeOf([{ op: 'update', resource: 'orders', key: ['late'], value: { note: 'x' } }]);
  const reused = envelopeOf([orderUpsert('o1', 'other')], { id: applied.id });
  const deadLettered = envelopeOf([{ op: 'upsert', resource: 'elsewhere', key: ['e1'], value: {} }]);
  const tooLong = envelopeOf([{ ...orderUpsert('long'), value: { ...orderUpsert('long').value, customer: 'x'.repeat(300) } }]);
  await pipeline.submit([applied, byAgent, lines, rejected, tooLong, deadLettered]);
  await pipeline.submit([reused, envelopeOf([orderUpsert('late')])]);
  const redriven = await redriveOf(pipeline.store, rejected, { overNewer: true });
  await pipeline.submit([redriven]);
  const events = await seen(9);
  const the = (envelope: Envelope, attempt?: number): OutcomeEvent =>
    events.find((e) => e.id.startsWith(`${envelope.id}.${envelope.data.payloadHash}`) && e.attempt === attempt) ??
    expect.unreachable(`there is no event of ${JSON.stringify(envelope.data.mutations)}`);
  return {
    applied: the(applied),
    byAgent: the(byAgent),
    lines: the(lines),
    rejected: the(rejected),
    reused: the(reused),
    tooLong: the(tooLong),
    deadLettered: the(deadLettered),
    redriven: the(redriven, 2),
  };
}

const KINDS = ['applied', 'byAgent', 'lines', 'rejected', 'reused', 'tooLong', 'deadLettered', 'redriven'] as const;
type Kind = (typeof KINDS)[number];

describe('the schemas of events', () => {
  it('are one for each outcome, named by its detail type', () => {
    expect([...schemas.keys()].sort()).toEqual(OUTCOMES.map(eventType).sort());
    for (const outcome of OUTCOMES) {
      const schema = schemas.get(eventType(outcome));
      expect(schema).toMatchObject({ title: eventType(outcome), properties: { outcome: { const: outcome } } });
    }
  });

  it('name every reason once', () => {
    const named = [...schemas.values()].flatMap((schema) => schema.properties['reason']?.enum ?? []);
    expect(named.sort()).toEqual([...REASONS].sort());
  });

  it('say the same of what all events have', () => {
    const common = [...schemas.values()].map(({ properties: { outcome, reason, detail, ...rest } }) => {
      expect([outcome, reason, detail].length).toBe(3);
      return rest;
    });
    for (const one of common) expect(one).toEqual(common[0]);
  });
});

describe('events of the applier', () => {
  let pipeline: Pipeline;
  let events: Readonly<Record<Kind, OutcomeEvent>>;
  beforeAll(async () => {
    pipeline = await startPipeline();
    const listed = openSqliteEvents(new URL(`sqlite:${pipeline.folder}/spanway.db`));
    events = await makeOneOfEach(pipeline, async (count) => {
      for (;;) {
        const list = await listed.list({ limit: 100 });
        if (list.length >= count) return list.map(({ event }) => event);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    });
    await listed.close();
  });
  afterAll(() => pipeline.stop());

  it.each(KINDS)('%s: fits its schema, and no other', (kind) => {
    expect(errorsOf(events[kind])).toBeNull();
    for (const outcome of OUTCOMES) if (outcome !== events[kind].outcome) expect(errorsOf(events[kind], eventType(outcome))).not.toBeNull();
  });

  it('have the outcomes and reasons that they should', () => {
    expect(Object.fromEntries(KINDS.map((kind) => [kind, [events[kind].outcome, events[kind].reason ?? null]]))).toEqual({
      applied: ['applied', null],
      byAgent: ['applied', null],
      lines: ['applied', null],
      rejected: ['rejected', 'not_found'],
      reused: ['rejected', 'idempotency_key_reused'],
      tooLong: ['rejected', 'too_long'],
      deadLettered: ['dead_lettered', 'unknown_resource'],
      redriven: ['applied', null],
    });
    expect(events.redriven.attempt).toBe(2);
    expect(events.lines.key).toEqual(['o1', '8']);
  });

  it('would not fit with anything of them missing or wrong', () => {
    const event = events.rejected;
    for (const name of schemas.get('submission.rejected')?.required ?? [])
      expect(
        errorsOf(Object.fromEntries(Object.entries(event).filter(([key]) => key !== name)) as never, 'submission.rejected'),
      ).not.toBeNull();
    for (const wrong of [
      { reason: 'because' },
      { key: [] },
      { key: 'o1' },
      { acceptedAt: 'yesterday' },
      { attempt: 1 },
      { traceparent: 'x' },
      { detail: 'x'.repeat(2001) },
      { payload: {} },
    ])
      expect(errorsOf({ ...event, ...(wrong as object) }), JSON.stringify(wrong)).not.toBeNull();
    // A subscriber's validator takes what a later version adds.
    expect(validators(false).get('submission.rejected')?.({ ...event, later: 1 })).toBe(true);
  });
});

/** The patterns of docs/events.md, and which events each must match. */
const MATCHES: Readonly<Record<string, readonly Kind[]>> = {
  everything: KINDS,
  'dead-lettered': ['deadLettered'],
  'not-applied': ['rejected', 'reused', 'tooLong', 'deadLettered'],
  constraints: ['tooLong'],
  'reused-keys': ['reused'],
  'one-resource': ['applied', 'byAgent', 'redriven'],
  'one-tenant': ['byAgent'],
  agents: ['byAgent'],
  redriven: ['redriven'],
};

function documentedPatterns(): ReadonlyMap<string, unknown> {
  const text = readFileSync(new URL('../../docs/events.md', import.meta.url), 'utf8');
  return new Map([...text.matchAll(/```json pattern=(\S+)\n([^]*?)```/g)].map(([, name = '', json = '']) => [name, JSON.parse(json)]));
}

it('docs/events.md has the patterns that are tested', () => {
  expect([...documentedPatterns().keys()]).toEqual(Object.keys(MATCHES));
});

describeWithServer('eventbridge', 'the rules of docs/events.md, on moto', ({ eventbridge }) => {
  let bus: Bus;
  let pipeline: Pipeline;
  let events: Readonly<Record<Kind, OutcomeEvent>>;
  const subscriptions = new Map<string, Subscription>();
  let delivered: readonly DeliveredEvent[];

  beforeAll(async () => {
    bus = new Bus(eventbridge.endpoint);
    pipeline = await startPipeline(undefined, undefined, { eventsUrl: bus.urlAt(eventbridge.endpoint) });
    for (const [name, pattern] of documentedPatterns()) subscriptions.set(name, await bus.subscribe(pattern));
    await bus.putForeign();
    const all = subscriptions.get('everything') ?? expect.unreachable();
    events = await makeOneOfEach(pipeline, async (count) => {
      await all.receive((seen) => new Set(seen.map(({ detail }) => detail.id)).size >= count);
      return all.seen.map(({ detail }) => detail);
    });
    delivered = all.seen;
  });
  afterAll(async () => {
    await pipeline.stop();
    bus.close();
  });

  it('deliver events that fit the schema of their detail type', () => {
    expect(new Set(delivered.map((event) => event['detail-type']))).toEqual(new Set(OUTCOMES.map(eventType)));
    for (const event of delivered) {
      expect(event.source).toBe(EVENT_SOURCE);
      expect(errorsOf(event.detail, event['detail-type'])).toBeNull();
    }
  });

  // A server puts an event into every queue before it answers, so what a rule did not match by now it never does.
  it.each(Object.entries(MATCHES))('%s: matches what it says, and nothing else', async (name, kinds) => {
    const subscription = subscriptions.get(name) ?? expect.unreachable();
    const ids = (list: readonly OutcomeEvent[]): readonly string[] => [...new Set(list.map((event) => event.id))];
    const meant = new Set(kinds.map((kind) => events[kind].id));
    await subscription.receive((seen) => ids(seen.map(({ detail }) => detail)).filter((id) => meant.has(id)).length === meant.size);
    const matched = ids(subscription.seen.map(({ detail }) => detail));
    expect(subscription.seen.map(({ source }) => source)).not.toContain('elsewhere');
    expect(KINDS.filter((kind) => matched.includes(events[kind].id))).toEqual([...kinds]);
  });
});
