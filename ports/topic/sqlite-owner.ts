/**
 * Who holds a key of the embedded topic. A lease outlives its holder by seconds; where the holder is known to be dead,
 * its keys are free at once, so that a restart goes on without a pause.
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { threadId } from 'node:worker_threads';

const THIS_THREAD = `${hostname()} ${process.pid} ${threadId}`;
const alive = new Set<string>();

export function newOwner(): string {
  const owner = `${THIS_THREAD} ${randomUUID()}`;
  alive.add(owner);
  return owner;
}

export function endOwner(owner: string): void {
  alive.delete(owner);
}

/** Whether the owner is known to have ended. Of one on another host nothing is known: its lease must run out. */
export function hasEnded(owner: string): boolean {
  const [host, pid] = owner.split(' ');
  if (host !== hostname()) return false;
  // A container's process often has the same number at every start.
  if (owner.startsWith(`${THIS_THREAD} `)) return !alive.has(owner);
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}
