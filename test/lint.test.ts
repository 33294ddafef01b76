/** The architecture that ESLint enforces: what each folder may import, and who reads the environment. */
import { ESLint } from 'eslint';
import tseslint from 'typescript-eslint';
import { describe, expect, it } from 'vitest';
import { boundaries } from '../eslint.boundaries.js';

// The boundary rules work on paths and syntax alone, so they can judge files that are not there. That the real
// configuration has them, for each of these files, is a test of its own below.
const eslint = new ESLint({
  overrideConfigFile: true,
  overrideConfig: [{ files: ['**/*.ts'], languageOptions: { parser: tseslint.parser } }, ...boundaries],
});

async function complaints(filePath: string, text: string): Promise<(string | null)[]> {
  const [result] = await eslint.lintText(text, { filePath });
  return (result?.messages ?? []).map((m) => m.ruleId ?? m.message);
}

const refused: Record<string, readonly string[]> = {
  'producers/gateway/app.ts': [
    '@aws-sdk/client-sqs',
    '@google-cloud/spanner',
    'ioredis',
    'bullmq',
    'node:sqlite',
    '../replay/worker.ts',
    '../../consumers/bridge/bridge.ts',
    '../../ports/queue/sqs.ts',
    '../../ports/queue/index.ts',
    '../../ports/sqlite/database.ts',
    '../../ports/adapter.ts',
    '../../cli/config.ts',
    '../../test/temp.ts',
    '../../index.ts',
    'spanway',
  ],
  'producers/replay/worker.ts': ['../gateway/app.ts', '../../ports/jobs/bullmq.ts', 'bullmq', '@aws-sdk/client-new-service'],
  'consumers/bridge/bridge.ts': [
    '../applier/applier.ts',
    '../shared.ts',
    '../../ports/topic/pubsub.ts',
    '@google-cloud/pubsub',
    '../../cli/main.ts',
  ],
  'consumers/applier/applier.ts': [
    '../bridge/bridge.ts',
    '../../producers/gateway/app.ts',
    '../../ports/store/index.ts',
    '@google-cloud/spanner',
  ],
  'consumers/applier/deeper/file.ts': ['../../bridge/bridge.ts', '../../../ports/store/sqlite.ts'],
  'consumers/shared.ts': ['./bridge/bridge.ts', '../ports/queue/index.ts', '../cli/config.ts'],
  'schemas/resource/new.ts': [
    '../../ports/errors.ts',
    '../../ports/backoff.ts',
    '../../ports/queue/port.ts',
    '../../consumers/bridge/bridge.ts',
    '../../cli/config.ts',
    'ioredis',
  ],
  'ports/queue/sqs.ts': [
    '../topic/pubsub.ts',
    '../topic/index.ts',
    '../../cli/config.ts',
    '../../producers/gateway/app.ts',
    '@google-cloud/pubsub',
    'ioredis',
  ],
  'ports/queue/port.ts': ['@aws-sdk/client-sqs'],
  'ports/queue/index.ts': ['@aws-sdk/client-sqs'],
  'ports/aws.ts': ['@aws-sdk/client-sqs', './queue/sqs.ts'],
  'ports/errors.ts': ['./queue/sqs.ts', '@google-cloud/spanner', '../consumers/applier/applier.ts'],
  'cli/commands/gateway.ts': ['@aws-sdk/client-sqs', 'node:sqlite', '../../test/temp.ts', '../../bench/run.ts'],
  'index.ts': ['ioredis', './test/temp.ts'],
};

const allowed: Record<string, readonly string[]> = {
  'producers/gateway/app.ts': [
    './routes/write.ts',
    '../../ports/queue/port.ts',
    '../../ports/errors.ts',
    '../../schemas/errors.ts',
    'fastify',
    'node:crypto',
  ],
  'consumers/bridge/bridge.ts': ['./settings.ts', '../../ports/topic/port.ts', '../../ports/backoff.ts'],
  'consumers/applier/deeper/file.ts': ['../applier.ts', '../../../ports/store/port.ts'],
  'schemas/resource/new.ts': ['./table.ts', '../errors.ts', 'typebox'],
  'schemas/customers.ts': ['spanway'],
  'ports/queue/sqs.ts': ['@aws-sdk/client-sqs', './port.ts', '../errors.ts', '../../schemas/errors.ts', '../topic/port.ts'],
  'ports/queue/sqlite.ts': ['../sqlite/database.ts', 'node:sqlite'],
  'ports/queue/index.ts': ['./sqs.ts', './sqlite.ts', '../adapter.ts'],
  'ports/topic/pubsub.ts': ['@google-cloud/pubsub'],
  'ports/store/spanner.ts': ['@google-cloud/spanner'],
  'cli/commands/gateway.ts': ['../../producers/gateway/app.ts', '../../ports/queue/index.ts', '../config.ts', 'commander'],
  'test/some.test.ts': ['@aws-sdk/client-sqs', '../ports/queue/sqs.ts', 'node:sqlite'],
};

/** Those of the specifiers that a file cannot import. */
async function refusedOf(file: string, specifiers: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const specifier of specifiers) {
    const rules = await complaints(file, `import ${JSON.stringify(specifier)};`);
    if (rules.length === 1 && rules[0] === 'spanway/imports') found.push(specifier);
  }
  return found;
}

describe('imports', () => {
  it.each(Object.entries(refused))('%s cannot import what is not its own', async (file, specifiers) => {
    expect(await refusedOf(file, specifiers)).toEqual(specifiers);
  });

  it.each(Object.entries(allowed))('%s can import what it is built on', async (file, specifiers) => {
    expect(await refusedOf(file, specifiers)).toEqual([]);
  });

  it.each([
    "import type { SQSClient } from '@aws-sdk/client-sqs'; export type S = SQSClient;",
    "export type S = import('@aws-sdk/client-sqs').SQSClient;",
    "export { SQSClient } from '@aws-sdk/client-sqs';",
    "export * from '@aws-sdk/client-sqs';",
    "await import('@aws-sdk/client-sqs');",
    "await import('../../ports/queue/' + 'sqs.ts');",
  ])('a role cannot get at an adapter by %s', async (text) => {
    expect(await complaints('consumers/bridge/bridge.ts', text)).toEqual(['spanway/imports']);
  });
});

const withoutEnvironment = [
  'producers/gateway/app.ts',
  'consumers/bridge/bridge.ts',
  'schemas/resource/new.ts',
  'ports/queue/sqs.ts',
  'cli/commands/gateway.ts',
];

describe('the environment', () => {
  const reads = [
    'export const home = process.env.HOME;',
    'const { env } = process; export default env;',
    "import { env } from 'node:process'; export default env;",
  ];
  it.each(withoutEnvironment)('is not read by %s', async (file) => {
    for (const text of reads) expect(await complaints(file, text)).toHaveLength(1);
  });

  it('is read by the configuration', async () => {
    for (const text of reads) expect(await complaints('cli/config.ts', text)).toEqual([]);
  });
});

describe('eslint.config.js', () => {
  const real = new ESLint();

  it('holds these rules for every folder, as errors', async () => {
    const severity = async (file: string, rule: string): Promise<unknown> => {
      const config = (await real.calculateConfigForFile(file)) as { rules: Record<string, unknown[]> };
      return config.rules[rule]?.[0];
    };
    for (const file of [...Object.keys(refused), ...Object.keys(allowed)]) expect(await severity(file, 'spanway/imports'), file).toBe(2);
    for (const file of withoutEnvironment) {
      expect(await severity(file, 'no-restricted-properties'), file).toBe(2);
      expect(await severity(file, 'no-restricted-syntax'), file).toBe(2);
    }
  });

  it('refuses a floating promise, an any and a forgotten case', async () => {
    const text = `
      export function start(work: () => Promise<void>): void { work(); }
      export const loose: any = 1;
      export function name(color: 'red' | 'blue'): string { switch (color) { case 'red': return 'Red'; } return ''; }
    `;
    // The rules that know types need a path that tsconfig.json covers; the text is not that file's.
    const [result] = await real.lintText(text, { filePath: 'schemas/errors.ts' });
    expect(result?.messages.map((m) => m.ruleId).sort()).toEqual([
      '@typescript-eslint/no-explicit-any',
      '@typescript-eslint/no-floating-promises',
      '@typescript-eslint/switch-exhaustiveness-check',
    ]);
  }, 120_000);
});
