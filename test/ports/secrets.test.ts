/** What single adapters of the secrets port do beyond the suite. */
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { expect, it } from 'vitest';
import { EnvSecrets } from '../../ports/secrets/env.ts';
import { openSecrets } from '../../ports/secrets/index.ts';
import { MissingSecretError } from '../../ports/secrets/port.ts';
import { temporaryFolder } from '../temp.ts';

it('env: reads \\n as a line break and names the variable it missed', async () => {
  const secrets = new EnvSecrets({ SPANWAY_SECRET_PACK_SIGNING_KEYS: 'one\\ntwo' });
  expect(await secrets.get('pack-signing-keys')).toBe('one\ntwo');
  await expect(secrets.get('status-keys')).rejects.toThrow(/SPANWAY_SECRET_STATUS_KEYS is not set/);
});

it.each([
  ['value\n', 'value'],
  ['value\r\n', 'value'],
  ['value\n\n', 'value\n'],
  ['\nvalue', '\nvalue'],
])('file: takes one line break from the end: %j', async (text, value) => {
  const folder = await temporaryFolder();
  await writeFile(join(folder, 'key'), text);
  expect(await (await openSecrets(`file:${folder}`)).get('key')).toBe(value);
});

it('file: takes a relative folder from the working directory', async () => {
  const folder = await temporaryFolder();
  await writeFile(join(folder, 'key'), 'value');
  expect(await (await openSecrets(`file:${relative(process.cwd(), folder)}`)).get('key')).toBe('value');
});

it('file: follows links, as Kubernetes lays out its volumes', async () => {
  const folder = await temporaryFolder();
  await mkdir(join(folder, '..data'));
  await writeFile(join(folder, '..data', 'key'), 'value');
  await symlink(join('..data', 'key'), join(folder, 'key'));
  expect(await (await openSecrets(`file://${folder}`)).get('key')).toBe('value');
});

it('file: says which file it missed, and why it could not read one', async () => {
  const folder = await temporaryFolder();
  await mkdir(join(folder, 'folder'));
  const secrets = await openSecrets(`file:${folder}`);
  await expect(secrets.get('key')).rejects.toThrow(`there is no file ${join(folder, 'key')}`);
  await expect(secrets.get('folder')).rejects.toThrow(MissingSecretError);
  await expect(secrets.get('folder')).rejects.toThrow(/EISDIR/);
});

it('file: never reads outside its folder', async () => {
  const folder = await temporaryFolder();
  await mkdir(join(folder, 'secrets', 'inner'), { recursive: true });
  await writeFile(join(folder, 'key'), 'value');
  await writeFile(join(folder, 'secrets', 'inner', 'key'), 'value');
  const secrets = await openSecrets(`file:${join(folder, 'secrets')}`);
  await expect(secrets.get('../key')).rejects.toThrow(MissingSecretError);
  await expect(secrets.get('inner/key')).rejects.toThrow(MissingSecretError);
});
