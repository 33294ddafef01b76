import { SpanwayError } from '../../schemas/errors.ts';

/** What an operator asked for cannot be done as it is asked. The text says what to change. */
export class ReplayError extends SpanwayError {
  override readonly name = 'ReplayError';
}
