/** How the tests run: one global set of real local servers, two processes. */
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/** Where CI wants the results as JSON. */
const report = process.env['SPANWAY_TEST_REPORT'];

export default defineConfig({
  // The package under its own name, as a user's resource file imports it.
  resolve: { alias: { spanway: fileURLToPath(new URL('./index.ts', import.meta.url)) } },
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: './test/global-setup.ts',
    testTimeout: 30_000,
    hookTimeout: 60_000,
    pool: 'forks',
    maxWorkers: 2,
    reporters: report === undefined || report === '' ? ['default'] : ['default', ['json', { outputFile: report }]],
  },
});
