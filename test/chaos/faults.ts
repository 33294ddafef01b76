/** What goes wrong, and when: kills spread over the writes, and faults of connections and pauses all the while. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { RoleProcess } from './processes.ts';
import type { Fault } from './proxy.ts';
import { Rng } from '../../ports/rng.ts';
import type { ChaosStack } from './stack.ts';

export interface FaultCounts {
  readonly kills: Record<string, number>;
  /** Killed before it had started again. */
  killsAtStart: number;
  readonly connections: Record<string, number>;
  pauses: number;
}

export interface Faults {
  readonly counts: FaultCounts;
  /** Resolves when all kills are done. */
  readonly killed: Promise<void>;
  /** No more of them; every role is up and every connection passes when it resolves. */
  stop(): Promise<void>;
}

export interface FaultPlan {
  readonly seed: number;
  readonly kills: number;
  readonly submissions: number;
  readonly accepted: () => number;
}

export function startFaults(stack: ChaosStack, plan: FaultPlan): Faults {
  const counts: FaultCounts = { kills: {}, killsAtStart: 0, connections: {}, pauses: 0 };
  const stopping = new AbortController();
  const stopped = (): boolean => stopping.signal.aborted;
  /** Starts under way, of roles that were killed. */
  const starting = new Map<RoleProcess, Promise<void>>();

  async function kills(): Promise<void> {
    const rng = new Rng(plan.seed, 'kills');
    for (let i = 0; i < plan.kills; i += 1) {
      const at = Math.floor(((i + rng.next()) / plan.kills) * plan.submissions * 0.97);
      const role = rng.pick(stack.roles);
      const downMs = rng.chance(0.6) ? rng.int(0, 100) : rng.int(100, 2500);
      const atStart = rng.chance(0.1);
      while (plan.accepted() < at && !stopped()) await sleep(10);
      if (stopped()) return;
      if (starting.has(role)) {
        if (atStart) counts.killsAtStart += 1;
        else await starting.get(role);
      }
      await role.kill();
      counts.kills[role.name] = (counts.kills[role.name] ?? 0) + 1;
      const start = sleep(downMs)
        .then(() => role.start())
        .finally(() => {
          if (starting.get(role) === start) starting.delete(role);
        });
      starting.set(role, start);
      // Awaited before its next kill, or at the end.
      start.catch(() => {});
    }
  }

  async function connections(): Promise<void> {
    const rng = new Rng(plan.seed, 'connections');
    const underWay: Promise<void>[] = [];
    while (!stopped()) {
      // Each connection's way is disturbed as often on a stack with one proxy as on one with six.
      await sleep(rng.int(1500, 9000) / stack.proxies.length);
      const proxy = rng.pick(stack.proxies);
      const fault = drawFault(rng);
      const name = `${proxy.name} ${fault.kind}`;
      counts.connections[name] = (counts.connections[name] ?? 0) + 1;
      underWay.push(proxy.inject(fault));
    }
    await Promise.all(underWay);
  }

  async function pauses(): Promise<void> {
    const rng = new Rng(plan.seed, 'pauses of processes');
    while (!stopped()) {
      await sleep(rng.int(2000, 8000));
      const role = rng.pick(stack.roles);
      const ms = rng.int(200, 5000);
      if (starting.has(role) || stopped()) continue;
      counts.pauses += 1;
      await role.pause(ms);
    }
  }

  const killed = kills();
  const others = Promise.all([connections(), pauses()]);
  for (const part of [killed, others]) part.catch(() => {});
  return {
    counts,
    killed,
    async stop() {
      stopping.abort();
      await Promise.all([killed, others]);
      await Promise.all(starting.values());
    },
  };
}

const WEIGHTS = { cut: 4, refuse: 1, stall: 2, 'lose-answers': 3, slow: 2 } satisfies Record<Fault['kind'], number>;

function drawFault(rng: Rng): Fault {
  const ms = rng.chance(0.9) ? rng.int(50, 1500) : rng.int(1500, 7000);
  const kind = rng.weighted(WEIGHTS);
  if (kind === 'cut') return { kind };
  return kind === 'slow' ? { kind, ms, lagMs: rng.int(5, 200) } : { kind, ms };
}
