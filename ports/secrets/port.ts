/**
 * Where secrets come from. Names are lower-case words joined by hyphens.
 *
 * Duties of an adapter: `get` reads the current version each time it is called, so that a rotation needs no
 * restart, and throws MissingSecretError with the place it looked. A value never stands in an error or a log.
 */
import { SpanwayError } from '../../schemas/errors.ts';

export interface Secrets {
  readonly capabilities: SecretsCapabilities;
  get(name: string): Promise<string>;
}

export interface SecretsCapabilities {
  /** Whether a secret can change while the process runs. */
  readonly rotates: boolean;
}

export class MissingSecretError extends SpanwayError {
  override readonly name = 'MissingSecretError';
  constructor(secret: string, place: string) {
    super('missing_secret', `secret ${secret} is missing: ${place}`, { context: { secret } });
  }
}
