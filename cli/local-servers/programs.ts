/** Looks for the programs that local servers are made of. */
import { execFile } from 'node:child_process';
import { access, constants, realpath } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The full path of a program on PATH. */
export async function onPath(program: string): Promise<string | undefined> {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(folder, program);
    if (folder !== '' && (await isExecutable(path))) return path;
  }
  return undefined;
}

export async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

/** Whether a command ends well, and soon. */
export async function succeeds(program: string, args: readonly string[], timeoutMs = 5_000): Promise<boolean> {
  return run(program, args, { timeout: timeoutMs }).then(
    () => true,
    () => false,
  );
}

/** The Google Cloud SDK's folder: that of the real `bin/gcloud`. */
export async function cloudSdk(): Promise<string | undefined> {
  const gcloud = await onPath('gcloud');
  return gcloud === undefined ? undefined : dirname(dirname(await realpath(gcloud)));
}

/** `docker`, if an engine answers it. */
export async function docker(): Promise<string | undefined> {
  const program = await onPath('docker');
  return program !== undefined && (await succeeds(program, ['version', '--format', '{{.Server.Version}}'])) ? program : undefined;
}
