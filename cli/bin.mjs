#!/usr/bin/env node
/**
 * The `spanway` command. In a checkout of the repository it runs the sources and keeps the dependencies current; in
 * an installed package it runs the compiled files, since Node strips no types under node_modules.
 */
import { existsSync } from 'node:fs';
import module from 'node:module';
import { fileURLToPath } from 'node:url';
import { runUnderNode, SetupError } from './setup.mjs';

const source = fileURLToPath(new URL('main.ts', import.meta.url));
const compiled = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));

try {
  const isCheckout = existsSync(source);
  if (isCheckout) {
    const { ensureInstalled } = await import('./install.mjs');
    await ensureInstalled(fileURLToPath(new URL('..', import.meta.url)));
    // Half of what a short command costs is to strip types and to compile. It is kept beside the dependencies, since
    // nobody else writes there; the variable is for a newer Node than this one, in a process of its own.
    const cache = fileURLToPath(new URL('../node_modules/.cache/compiled', import.meta.url));
    process.env['NODE_COMPILE_CACHE'] ??= cache;
    // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- a Node older than 22.1 has none
    module.enableCompileCache?.(cache);
  }
  await runUnderNode(isCheckout ? source : compiled, process.argv.slice(2), { inProcess: true, endWithParent: true });
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(`spanway: ${error.message}`);
  process.exitCode = 1;
}
