/**
 * Who holds a key of the embedded topic, or a group of the embedded queue. A hold outlives its holder by seconds; where
 * the holder is known to be dead, what it held is free at once, so that a restart goes on without a pause.
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

/** Whether the keys of an owner are anybody's. `leaseUntil` counts for those alone of whom nothing else is known. */
export function isFree(owner: string, leaseUntil: number, now: number): boolean {
  // A subscriber of this thread that is late to extend is only late. And a container's process often has the same
  // number at every start, so this process may find leases of its predecessor.
  if (owner.startsWith(`${THIS_THREAD} `)) return !alive.has(owner);
  return leaseUntil <= now || hasDied(owner);
}

function hasDied(owner: string): boolean {
  const [host, pid] = owner.split(' ');
  if (host !== hostname() || Number(pid) === process.pid) return false;
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}
