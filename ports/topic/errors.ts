import { SpanwayError } from '../../schemas/errors.ts';

/** A publish no topic could carry out, whatever its state: too many messages, or too large ones. The caller has a bug. */
export class TopicMisuseError extends SpanwayError {
  override readonly name = 'TopicMisuseError';
  constructor(message: string, context: Record<string, unknown> = {}) {
    super('topic_misuse', message, { context });
  }
}
