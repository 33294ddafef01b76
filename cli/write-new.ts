/** Keys that a command makes for itself. */
import { rm, writeFile } from 'node:fs/promises';

/** Writes a file that its owner alone may read, unless it is there: another command may have been first. A failed write leaves none. */
export async function writeNew(path: string, text: string): Promise<void> {
  try {
    await writeFile(path, text, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return;
    // It was made here, and a part of a key would be taken for the key.
    if (syscall !== 'open') await rm(path, { force: true });
    // The system's error of a write does not say of which file.
    throw Object.assign(error as Error, { path });
  }
}
