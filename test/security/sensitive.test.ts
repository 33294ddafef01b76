import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { applyBatch } from '../../consumers/applier/apply.ts';
import { Breaker } from '../../consumers/applier/breaker.ts';
import { planWork } from '../../consumers/applier/plan.ts';
import { defineResource, field, Type } from '../../index.ts';
import { StoreError } from '../../ports/errors.ts';
import { type Envelope } from '../../schemas/envelope/envelope.ts';
import { envelopeText } from '../../schemas/envelope/pack.ts';
import { ResourceSet } from '../../schemas/resource/registry.ts';
import { envelopeOf } from '../fixtures/envelopes.ts';
import { startTestGateway } from '../fixtures/gateways.ts';
import { FaultyStore, preparedStore, spannerUrl } from '../fixtures/stores.ts';
import { describeWithServer } from '../servers.ts';
import { makeTemporaryFolder } from '../temp.ts';

const SECRET = '078-05-1120';

const set = new ResourceSet([
  defineResource({
    name: 'patients',
    schema: Type.Object({
      patientId: field.generatedUuid(),
      ssn: Type.Optional(Type.String({ maxLength: 11, sensitive: true })),
      born: Type.Optional(Type.Unsafe<string>({ ...field.date(), sensitive: true })),
    }),
    key: ['patientId'],
    indexes: [{ fields: ['ssn'], unique: true }],
    access: [{ actions: ['read', 'insert', 'update', 'upsert', 'delete'], roles: ['clinic'] }],
  }),
]);

describe('a sensitive field', () => {
  it('cannot be in a key, which stands in URLs, logs and events', () => {
    const options = { name: 'cards', key: ['number'], access: [{ actions: ['read'], scope: 'x' }] } as const;
    const schema = Type.Object({ number: Type.String({ maxLength: 19, sensitive: true }) });
    expect(() => defineResource({ ...options, schema })).toThrow(/key field number must not be sensitive/);
  });

  it('reaches no log line and no problem document of the gateway, whatever is wrong with the body', async () => {
    const lines: unknown[] = [];
    const gateway = await startTestGateway({ resources: { current: set }, onLog: (line) => lines.push(line) });
    try {
      const authorization = `Bearer ${await gateway.token({ roles: ['clinic'] })}`;
      const put = (payload: string) =>
        gateway.call({ method: 'PUT', url: '/v1/patients/p1', headers: { authorization, 'content-type': 'application/json' }, payload });
      const bodies = [
        `{"ssn":"${SECRET}","born":tru}`,
        `{"ssn":"${SECRET}"`,
        `{"ssn":"${SECRET}"} "${SECRET}"`,
        `"${SECRET}`,
        `{"ssn":"${SECRET}, longer than it may be"}`,
        `{"ssn":["${SECRET}"]}`,
        `{"born":"${SECRET}"}`,
        `{"ssn":"${SECRET}","ssn":"${SECRET}"}`,
        `{"ssn":"${SECRET}","unknown":1}`,
      ];
      const answers: string[] = [];
      for (const body of bodies) {
        const { statusCode, payload } = await put(body);
        expect([400, 422]).toContain(statusCode);
        answers.push(payload);
      }
      const accepted = await put(`{"ssn":"${SECRET}"}`);
      expect(accepted.statusCode).toBe(202);
      const denied = await gateway.call({ method: 'PUT', url: '/v1/patients/p1', payload: { ssn: SECRET } });
      expect(denied.statusCode).toBe(403);
      expect(JSON.stringify(await gateway.queued())).toContain(SECRET);
      expect(JSON.stringify([answers, accepted.payload, denied.payload])).not.toContain(SECRET);
      expect(lines.length).toBeGreaterThan(0);
      expect(JSON.stringify(lines)).not.toContain(SECRET);
    } finally {
      await gateway.close();
    }
  });
});

/** A second patient with the number of the first, then failures that quote it. */
async function refusals(url: string): Promise<void> {
  const lines: string[] = [];
  const real = await preparedStore(url, set);
  const store = new FaultyStore(real);
  const context = {
    store,
    log: pino({}, { write: (line) => lines.push(line) }),
    settings: { backoff: { minMs: 1, maxMs: 2 }, maxAttempts: 3 },
    signal: new AbortController().signal,
    breaker: new Breaker({ opened: () => undefined, closed: () => undefined }),
  };
  const patient = (id: string): Envelope =>
    envelopeOf([{ op: 'upsert', resource: 'patients', key: [id], value: { ssn: SECRET, born: null } }]);
  const apply = async (id: string): Promise<unknown> => {
    const envelope = patient(id);
    const [settled] = await applyBatch(context, [planWork(envelope, envelopeText(envelope), set)]);
    return settled?.verdict;
  };
  try {
    expect(await apply('p1')).toEqual({ outcome: 'applied' });
    const refused = await apply('p2');
    expect(refused).toMatchObject({ outcome: 'rejected', reason: 'unique_violation' });
    const cause = new Error(`what the client says of ${SECRET}`);
    const fault = { when: 'before', error: new StoreError('unknown', `no one knows why ${SECRET}`, { cause }) } as const;
    store.faults.push(fault, fault, fault);
    const lost = await apply('p3');
    expect(lost).toMatchObject({ outcome: 'dead_lettered', reason: 'unknown_failure' });
    expect(JSON.stringify([refused, lost])).not.toContain(SECRET);
    expect(lines.length).toBeGreaterThan(0);
    expect(lines.join('')).not.toContain(SECRET);
  } finally {
    await real.close();
  }
}

describe('a sensitive field that the database refuses', () => {
  it('is not in the outcome or the log, though the store quotes it', async () => {
    const folder = await makeTemporaryFolder();
    try {
      await refusals(`sqlite:${folder.path}/spanway.db`);
    } finally {
      await folder.remove();
    }
  });
});

describeWithServer('spanner', 'a sensitive field that the Spanner emulator refuses', ({ spanner }) => {
  it('is not in the outcome or the log, though the emulator quotes it', () => refusals(spannerUrl(spanner.host)));
});
