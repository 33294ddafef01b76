/**
 * Runs a development tool or a script of this checkout under the Node that Spanway needs, with the dependencies
 * current: `node cli/run.mjs vitest run`, `node cli/run.mjs bench/run.ts bridge`.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureInstalled } from './install.mjs';
import { runUnderNode, SetupError } from './setup.mjs';

/** Packages whose command has another name than they have. */
const PACKAGE_OF = new Map([['tsc', 'typescript']]);

/**
 * The file that a tool's package gives as the command, or the script itself.
 * @param {string} tool
 */
function fileOf(tool) {
  if (/\.[mc]?[jt]s$/.test(tool)) return resolve(tool);
  const name = PACKAGE_OF.get(tool) ?? tool;
  try {
    const path = createRequire(import.meta.url).resolve(`${name}/package.json`);
    /** @type {unknown} */
    const manifest = JSON.parse(readFileSync(path, 'utf8'));
    const { bin } = /** @type {{ bin?: string | Record<string, string> }} */ (manifest);
    const file = typeof bin === 'string' ? bin : bin?.[tool];
    if (file !== undefined) return join(dirname(path), file);
  } catch {
    // No such package: the message below says so.
  }
  throw new SetupError(`${tool} is neither a script nor the command of an installed package`);
}

try {
  const [tool, ...args] = process.argv.slice(2);
  if (tool === undefined) throw new SetupError('usage: node cli/run.mjs TOOL|FILE [ARGUMENT …]');
  await ensureInstalled(fileURLToPath(new URL('..', import.meta.url)));
  await runUnderNode(fileOf(tool), args);
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(`spanway: ${error.message}`);
  process.exitCode = 1;
}
