/** The command line. Each command is imported when it is called, so that none waits for another's SDKs. */
import { Command, InvalidArgumentError } from 'commander';
import { SpanwayError } from '../schemas/errors.ts';
import { readConfig } from './config.ts';
import { endWithParent } from './setup.mjs';

endWithParent();

const program = new Command('spanway')
  .description(
    'Carries writes from an HTTP API in AWS to Cloud Spanner, exactly once in effect. Settings are environment variables; the README lists them.',
  )
  .showHelpAfterError();

program
  .command('dev')
  .description('every role in one process, on embedded adapters; data in SPANWAY_DATA_DIR')
  .option('--real', 'on real local servers, as far as they are found', false)
  .action(async (options: { real: boolean }) => (await import('./commands/dev.ts')).dev(readConfig(), options));

for (const [name, description] of [
  ['gateway', 'the HTTP API'],
  ['bridge', 'from the queue to the topic'],
  ['applier', 'from the topic to the database'],
] as const) {
  program
    .command(name)
    .description(`one role: ${description}`)
    .action(async () => (await import('./commands/roles.ts')).role(name, readConfig()));
}

program
  .command('token')
  .description('print a development token')
  .requiredOption('--tenant <id>', 'whose rows it may touch')
  .requiredOption('--subject <id>', 'who it is')
  .option('--scope <scopes>', 'what it may do, as in "orders:read orders:write"; default: everything')
  .option('--actor <id>', 'who acts for the subject')
  .option('--ttl <seconds>', 'how long it is valid; negative: expired', wholeNumber, 43_200)
  .action(async (options: import('./commands/token.ts').TokenOptions) =>
    (await import('./commands/token.ts')).token(readConfig(), options),
  );

program
  .command('issuer')
  .description('the development issuer as a process of its own')
  .action(async () => (await import('./commands/issuer.ts')).issuer(readConfig()));

program
  .command('key')
  .description('print a new line for the secrets pack-signing-keys and receipt-keys')
  .option('--ed25519', 'a pair instead: a line for pack-signing-keys, then one for pack-verification-keys', false)
  .action(async ({ ed25519 }: { ed25519: boolean }) => {
    const { newEd25519KeyLines, newKeyLine } = await import('./keys.ts');
    const lines = ed25519 ? Object.values(newEd25519KeyLines()) : [newKeyLine()];
    process.stdout.write(`${lines.join('\n')}\n`);
  });

program
  .command('policy')
  .description('what the access rules say')
  .command('explain')
  .argument('<method>')
  .argument('<path>', 'as in /v1/orders/o1')
  .description('whether a request is allowed, and what each rule says of it; exit code 1 if it is denied')
  .requiredOption('--as <claims>', 'who asks, as JSON: {"tenant":"t1","scopes":["orders:write"]}, and roles, client and actor as needed')
  .option('--body <json>', 'what it would carry')
  .action(async (method: string, path: string, options: import('./commands/policy.ts').ExplainOptions) =>
    (await import('./commands/policy.ts')).policyExplain(readConfig(), method, path, options),
  );

program
  .command('openapi')
  .description('print the OpenAPI document of the API')
  .action(async () => (await import('./commands/openapi.ts')).openapi(readConfig()));

const schema = program.command('schema').description('tables made from the resources');
schema
  .command('print')
  .description("print Spanner's DDL")
  .action(async () => (await import('./commands/schema.ts')).schemaPrint(readConfig()));
schema
  .command('apply')
  .description('make what is missing; nothing is dropped or altered')
  .option('--provision', 'make the queue, the topic, the bus and the database too (local servers)', false)
  .action(async (options: { provision: boolean }) => (await import('./commands/schema.ts')).schemaApply(readConfig(), options));
schema
  .command('check')
  .description('say how the database differs from the resources; exit code 1 if it does')
  .action(async () => (await import('./commands/schema.ts')).schemaCheck(readConfig()));

try {
  await program.parseAsync();
} catch (error) {
  // What Spanway throws says what to do; anything else is a fault, and its stack is wanted.
  process.stderr.write(error instanceof SpanwayError ? `spanway: ${error.message}\n` : `${(error as Error).stack ?? String(error)}\n`);
  process.exitCode = 1;
}

function wholeNumber(text: string): number {
  if (!/^-?\d{1,9}$/.test(text)) throw new InvalidArgumentError('it must be a whole number');
  return Number(text);
}
