import { spawn, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const bin = fileURLToPath(new URL('../../cli/bin.mjs', import.meta.url));

/** `spanway key` with this as its standard output: how it ended, and what it said. */
async function keyInto(output: number | 'pipe'): Promise<{ readonly status: unknown; readonly said: string }> {
  const stdio: StdioOptions = ['ignore', output, 'pipe'];
  const command = spawn(process.execPath, [bin, 'key'], { stdio });
  command.stdout?.destroy();
  let said = '';
  command.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const [status] = (await once(command, 'close')) as [unknown];
  return { status, said };
}

describe('the output of a command', () => {
  it('ends quietly where its reader has had enough', async () => {
    expect(await keyInto('pipe')).toEqual({ status: 141, said: '' });
  });

  it('is said to be cut off where there is no room for it', async () => {
    const full = openSync('/dev/full', 'w');
    try {
      const { status, said } = await keyInto(full);
      expect(said).toMatch(/^spanway: cannot write the output: .*ENOSPC.*\n$/);
      expect(status).toBe(1);
    } finally {
      closeSync(full);
    }
  });
});
