/** What every adapter of the events port must do. */
import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Events, OutcomeEvent } from '../../ports/events/port.ts';
import type { Provisionable } from '../../ports/adapter.ts';

export interface EventsFixture {
  readonly events: Events & Provisionable;
  /** Waits until a subscriber has seen this many different ids, or for some seconds; gives all it has seen. */
  subscriberSees(count: number): Promise<readonly OutcomeEvent[]>;
  remove(): Promise<void>;
}

/** An event that differs from every other one. */
export function outcomeEvent(fields: Partial<OutcomeEvent> = {}): OutcomeEvent {
  const submissionId = randomUUID();
  return {
    id: `${submissionId}.hash`,
    submissionId,
    outcome: 'applied',
    tenant: 'acme',
    subject: 'user-1',
    resource: 'orders',
    key: ['o1'],
    correlationId: randomUUID(),
    acceptedAt: '2026-11-24T10:00:00.000Z',
    commitTimestamp: '2026-11-24T10:00:00.123456Z',
    ...fields,
  };
}

const byId = (events: readonly OutcomeEvent[]): Map<string, OutcomeEvent> => new Map(events.map((event) => [event.id, event]));

export function eventsConformance(name: string, open: () => Promise<EventsFixture>): void {
  describe(`events: ${name}`, () => {
    let fixture: EventsFixture;
    beforeEach(async () => {
      fixture = await open();
    });
    afterEach(() => fixture.remove());

    it('shows a subscriber the whole event', async () => {
      const sent = outcomeEvent({
        outcome: 'rejected',
        reason: 'check_failed',
        detail: 'total: “−1” ≥ 0 ✗ 数\n"',
        actor: 'agent-7',
        key: ['acme', 'o/1', '12345678901234567890', null, true, 1.5],
        traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      });
      await fixture.events.send([sent]);
      expect(await fixture.subscriberSees(1)).toEqual([sent]);
    });

    it('takes more events in one call than one request holds', async () => {
      // EventBridge takes 10 a request.
      const sent = Array.from({ length: 55 }, () => outcomeEvent());
      await fixture.events.send(sent);
      expect(byId(await fixture.subscriberSees(sent.length))).toEqual(byId(sent));
    });

    it('takes more bytes in one call than one request holds', async () => {
      // EventBridge takes less than 1 MB a request; seven of these are more.
      const detail = 'é'.repeat(Math.ceil(1_000_000 / 14));
      const sent = Array.from({ length: 8 }, () => outcomeEvent({ detail }));
      await fixture.events.send(sent);
      expect([...byId(await fixture.subscriberSees(sent.length)).keys()].sort()).toEqual([...byId(sent).keys()].sort());
    });

    it('announces an outcome that is sent again under the same id', async () => {
      const [first, second] = [outcomeEvent(), outcomeEvent()];
      await fixture.events.send([first]);
      await fixture.events.send([first, second]);
      const seen = await fixture.subscriberSees(2);
      expect(byId(seen)).toEqual(byId([first, second]));
    });

    it('resolves when there is nothing to send', async () => {
      await expect(fixture.events.send([])).resolves.toBeUndefined();
    });

    it('keeps what is there when it is provisioned again', async () => {
      const [before, after] = [outcomeEvent(), outcomeEvent()];
      await fixture.events.send([before]);
      await fixture.events.provision();
      await fixture.events.send([after]);
      expect(byId(await fixture.subscriberSees(2))).toEqual(byId([before, after]));
    });

    it('answers a ping', async () => {
      await expect(fixture.events.ping()).resolves.toBeUndefined();
    });
  });
}
