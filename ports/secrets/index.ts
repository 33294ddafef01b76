/** Opens the place of secrets that a URL names: `env:` or `file:DIR`. */
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type AdapterTable, openAdapter } from '../adapter.ts';
import type { Secrets } from './port.ts';

export const secretsAdapters: AdapterTable<Secrets> = {
  env: { options: [], open: async () => new (await import('./env.ts')).EnvSecrets() },
  file: { options: [], open: async (url) => new (await import('./file.ts')).FileSecrets(fileURLToPath(url)) },
};

/** @throws AdapterConfigError */
export function openSecrets(url: string): Promise<Secrets> {
  return openAdapter('secrets', secretsAdapters, absolute(url));
}

/** A URL parser takes `file:secrets` for `/secrets`; here it is a folder beside us, as in `sqlite:` URLs. */
function absolute(url: string): string {
  const [, relative, options = ''] = /^file:(?!\/)([^?#]+)(.*)$/i.exec(url) ?? [];
  return relative === undefined ? url : pathToFileURL(resolve(decodeURIComponent(relative))).href + options;
}
