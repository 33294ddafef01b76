import { SpanwayError } from '../../schemas/errors.ts';

/** A call no queue could carry out, whatever its state: too many entries, an entry over the limit. The caller has a bug. */
export class QueueMisuseError extends SpanwayError {
  override readonly name = 'QueueMisuseError';
  constructor(message: string, context: Record<string, unknown> = {}) {
    super('queue_misuse', message, { context });
  }
}
