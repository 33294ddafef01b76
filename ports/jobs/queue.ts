/** BullMQ's names of the jobs, without BullMQ. */
export const QUEUE = 'jobs';

/** Before every key, so that a server can be shared with others. */
export function prefixOf(namespace: string): string {
  return `spanway:${namespace}`;
}

/** Where the board shows a job. */
export function boardPathOf(id: string): string {
  return `/queue/${QUEUE}/${encodeURIComponent(id)}`;
}
