/** BullMQ's names of the jobs, without BullMQ. */
export const PREFIX = 'spanway';
export const QUEUE = 'jobs';

/** Where the board shows a job. */
export function boardPathOf(id: string): string {
  return `/queue/${QUEUE}/${encodeURIComponent(id)}`;
}
