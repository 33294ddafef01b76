/** Secrets from a folder: `file:DIR`, one file each, as Kubernetes and Docker mount them. They are read anew each time. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { checkName } from './name.ts';
import { MissingSecretError, type Secrets } from './port.ts';

export class FileSecrets implements Secrets {
  readonly capabilities = { rotates: true };
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async get(name: string): Promise<string> {
    // A checked name has no dot and no slash, so it stays in the folder.
    checkName(name);
    const path = join(this.#folder, name);
    const text = await readFile(path, 'utf8').catch((error: unknown) => {
      const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
      throw new MissingSecretError(name, code === 'ENOENT' ? `there is no file ${path}` : `the file ${path} cannot be read (${code})`);
    });
    // Editors and `echo` put one line break at the end.
    const value = text.replace(/\r?\n$/, '');
    if (value === '') throw new MissingSecretError(name, `the file ${path} is empty`);
    return value;
  }
}
