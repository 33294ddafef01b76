/**
 * Secrets from the environment: `env:`. `pack-signing-keys` is SPANWAY_SECRET_PACK_SIGNING_KEYS; the two characters
 * \n in it are a line break, since many tools cannot put one there. A process's environment does not change, so
 * these rotate with a restart: for a laptop and tests.
 */
import { checkName } from './name.ts';
import { MissingSecretError, type Secrets } from './port.ts';

export class EnvSecrets implements Secrets {
  readonly capabilities = { rotates: false };
  readonly #environment: Readonly<Record<string, string | undefined>>;

  constructor(environment: Readonly<Record<string, string | undefined>> = process.env) {
    this.#environment = environment;
  }

  async get(name: string): Promise<string> {
    checkName(name);
    const variable = `SPANWAY_SECRET_${name.replaceAll('-', '_').toUpperCase()}`;
    const value = this.#environment[variable];
    if (value === undefined || value === '')
      throw new MissingSecretError(name, `the environment variable ${variable} is ${value === undefined ? 'not set' : 'empty'}`);
    return Promise.resolve(value.replaceAll('\\n', '\n'));
  }
}
