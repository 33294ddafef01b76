/** The names of secrets, as the port's doc has them. They become part of a path or a variable's name. */
import { MissingSecretError } from './port.ts';

/** @throws MissingSecretError for a name that no secret can have: a path, for one. */
export function checkName(name: string): void {
  if (!/^[a-z0-9]+(-[a-z0-9]+)*$/.test(name))
    throw new MissingSecretError(
      JSON.stringify(name.slice(0, 100)),
      'no secret has such a name; expected lower-case words joined by hyphens',
    );
}
