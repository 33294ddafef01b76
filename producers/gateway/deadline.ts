/** No read waits longer than its caller was promised. */
import { UnavailableError } from './errors.ts';

/** Rejects with an UnavailableError after `timeoutMs`; what `read` comes to then is nobody's. */
export function withDeadline<T>(read: Promise<T>, timeoutMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new UnavailableError(`the database did not answer within ${timeoutMs} ms`)), timeoutMs);
    read.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
