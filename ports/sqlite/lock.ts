/** One owner at a time of a folder: an exclusive lock on a small database, which the system lets go of even at a SIGKILL. */
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { SpanwayError } from '../../schemas/errors.ts';

/** @throws SpanwayError (`folder_in_use`) while another process holds it. Returns what lets go of it. */
export function holdExclusive(path: string): () => void {
  mkdirSync(dirname(path), { recursive: true });
  const db = new DatabaseSync(path, { timeout: 0 });
  try {
    db.exec('BEGIN EXCLUSIVE');
  } catch (cause) {
    db.close();
    if ((cause as { errcode?: number }).errcode !== 5) throw cause;
    throw new SpanwayError(
      'folder_in_use',
      `${dirname(path)} is in use by another spanway dev: stop it, or give this one a folder of its own with SPANWAY_DATA_DIR`,
      { cause },
    );
  }
  return () => db.close();
}
