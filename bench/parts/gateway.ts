/** A running gateway: until it answers, and writes to it. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client, Command } from '../../test/fixtures/stacks.ts';
import { httpLoad } from './http-load.ts';

const LOOK_MS = 50;

/** Resolves once the gateway answers. Rejects where a process that it needs ends instead, with the end of what that printed. */
export async function ready(client: Client, commands: readonly Command[]): Promise<void> {
  const ended = commands.map(async (command) => {
    const status = await command.exited;
    throw new Error(`it ended with ${status}:\n${command.output.slice(-4000)}`);
  });
  const answers = async (): Promise<void> => {
    while (!(await client.call('GET', '/readyz').catch(() => undefined))) await sleep(LOOK_MS);
  };
  await Promise.race([answers(), ...ended]);
}

/** Resolves when all of `amount` writes, each an upsert of a row of its own, had their 202. `token`: of who may write orders. */
export async function accepted(
  url: string,
  { token, connections, amount }: { readonly token: string; readonly connections: number; readonly amount: number },
): Promise<void> {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const body = JSON.stringify({ customer: 'customer-1', status: 'open', total: '12.50' });
  const request = () => ({ method: 'PUT', path: `/v1/orders/${randomUUID()}`, headers, body });
  const statuses = await httpLoad({ url, connections, amount, request });
  if (statuses.get(202) !== amount) throw new Error(`not all of ${amount} were accepted: ${JSON.stringify([...statuses])}`);
}
