/** The secrets suite on every adapter. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { vi } from 'vitest';
import { openSecrets } from '../../ports/secrets/index.ts';
import { makeTemporaryFolder } from '../temp.ts';
import { secretsConformance } from './secrets.ts';

secretsConformance('env', async () => ({
  secrets: await openSecrets('env:'),
  store: (name, value) => {
    vi.stubEnv(`SPANWAY_SECRET_${name.toUpperCase().replaceAll('-', '_')}`, value);
    return Promise.resolve();
  },
  remove: () => {
    vi.unstubAllEnvs();
    return Promise.resolve();
  },
}));

secretsConformance('file', async () => {
  const folder = await makeTemporaryFolder();
  return {
    secrets: await openSecrets(`file:${folder.path}`),
    store: (name, value) => writeFile(join(folder.path, name), value),
    remove: folder.remove,
  };
});
