/** The command line. Each command is imported when it is called, so that none waits for another's SDKs. */
import { Command, InvalidArgumentError } from 'commander';
import { isReceiptId } from '../schemas/envelope/ids.ts';
import { complaintOf } from './complaint.ts';
import { readConfig, wasTakenByNpm } from './config.ts';
import { endWithParent } from './setup.mjs';

endWithParent();

/** 128 and SIGPIPE's number, as the shell says of a program that it ended. */
const PIPE_BROKEN = 141;

// A reader may have had enough, as `head` has; anything else is told.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(PIPE_BROKEN);
  process.stderr.write(`spanway: cannot write the output: ${error.message}; what is there of it is not all\n`);
  process.exit(1);
});

const program = new Command('spanway')
  .description(
    'Carries writes from an HTTP API in AWS to Cloud Spanner, exactly once in effect. Settings are environment variables; the README lists them.',
  )
  .showHelpAfterError()
  .configureOutput({
    outputError: (text, write) => {
      const [, option] = /required option '--([a-z-]+)/.exec(text) ?? [];
      write(text);
      if (option !== undefined && wasTakenByNpm(option))
        write(`npm took --${option} for its own: put -- before the options, as in npm run -s token -- --tenant t1 --subject me\n`);
    },
  });

program
  .command('dev')
  .description('every role in one process, on embedded adapters; data in SPANWAY_DATA_DIR')
  .option('--real', 'on real local servers, as far as they are found', false)
  .action(async (options: { real: boolean }) => (await import('./commands/dev.ts')).dev(readConfig(), options));

for (const [name, description] of [
  ['gateway', 'the HTTP API'],
  ['bridge', 'from the queue to the topic'],
  ['applier', 'from the topic to the database'],
  ['replay-worker', 'runs replay jobs, and seals the ledger'],
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
  .description('print a new line for the secrets pack-signing-keys, seal-signing-keys and receipt-keys')
  .option(
    '--ed25519',
    'a pair instead: a line for pack-signing-keys or seal-signing-keys, then one for the verification keys of the same',
    false,
  )
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

program
  .command('trace')
  .argument('<what>', 'a submission id, a receipt id, a correlation id, or resource/key')
  .description("one write's whole story, with times; exit code 1 if nothing is known of it")
  .option('--tenant <id>', 'of this tenant')
  .option('--from <time>', 'how far back a correlation id or a row is looked for: 2026-11-25T02:00:00Z, or 90m, 2h, 7d; default 24h')
  .option('--to <time>', 'and up to when')
  .option('--json', 'one JSON object a line', false)
  .action(async (what: string, options: import('./commands/trace.ts').TraceOptions) =>
    (await import('./commands/trace.ts')).traceCommand(readConfig(), what, options),
  );

selecting(program.command('replay'), 'committed')
  .description('records of the ledger or a file once more, as a job; exit code 2 if one did not end well or a table differs')
  .option('--file <path>', 'JSON lines as spanway export writes them, or envelopes, in place of the ledger')
  .option('--into <url>', 'rebuild them in this database, and compare its tables')
  .option('--rate <records>', 'a second at most', positiveNumber)
  .option('--dry-run', 'send nothing; print what would change of the rows as they are now', false)
  .option('--detach', 'print the job and do not wait for it', false)
  .option('--json', 'one JSON object a line', false)
  .option('--as <name>', 'who does it, for the record; default: the user of the system')
  .action(async (options: import('./commands/replay.ts').ReplayOptions) =>
    (await import('./commands/replay.ts')).replayCommand(readConfig(), options),
  );
selecting(program.command('export'), 'committed')
  .description('print records of the ledger as JSON lines, in the order in which they took effect')
  .action(async (options: import('./operator.ts').SelectionOptions) =>
    (await import('./commands/replay.ts')).exportCommand(readConfig(), options),
  );

const audit = program.command('audit').description('who did what, when and on whose behalf, sealed against change');
audit
  .command('export')
  .description('print sealed rows of the ledger with their seals, as JSON lines')
  .option('--from <time>', 'committed from this time on: 2026-11-25T02:00:00Z, or how long ago: 90m, 2h, 7d')
  .option('--to <time>', 'committed before this time')
  .option('--out <path>', 'into this new file')
  .action(async (options: import('./commands/audit.ts').AuditExportOptions) =>
    (await import('./commands/audit.ts')).auditExport(readConfig(), options),
  );
audit
  .command('verify')
  .description(
    'name each row that was changed, removed or added since it was sealed; exit code 2 if there is one, 3 if rows are not sealed in time',
  )
  .option('--file <path>', 'an exported file, in place of the database')
  .option('--expect <seal>', 'a seal that must be there, as NUMBER:HASH: the last one of an earlier verify or export')
  .option('--json', 'one JSON object a line, the summary last', false)
  .action(async (options: import('./commands/audit.ts').AuditVerifyOptions) =>
    (await import('./commands/audit.ts')).auditVerify(readConfig(), options),
  );

const jobs = program.command('jobs').description('replays that run, wait or have ended');
jobs
  .command('list')
  .description('the last 50')
  .option('--json', 'one JSON object a line', false)
  .action(async (options: { json: boolean }) => (await import('./commands/jobs.ts')).jobsList(readConfig(), options));
jobs
  .command('show')
  .argument('<id>')
  .description('one, with its progress and problems')
  .action(async (id: string) => (await import('./commands/jobs.ts')).jobsShow(readConfig(), id));
for (const wish of ['pause', 'resume', 'cancel'] as const) {
  jobs
    .command(wish)
    .argument('<id>')
    .description(`${wish} one; exit code 1 if it has ended`)
    .action(async (id: string) => (await import('./commands/jobs.ts')).jobsSteer(readConfig(), id, wish));
}

program
  .command('board')
  .description('replay jobs in Redis as web pages, for operators; on the embedded adapter there is none: use spanway jobs')
  .action(async () => (await import('./commands/board.ts')).board(readConfig()));

const dlq = program.command('dlq').description('dead letters: what ended without being applied');
selectingLetters(dlq.command('list'))
  .description('list them')
  .action(async (options: import('./commands/dlq.ts').ListOptions) => (await import('./commands/dlq.ts')).dlqList(readConfig(), options));
dlq
  .command('show')
  .argument('<ids...>')
  .description('the envelope, every try and its errors; exit code 1 if one is no dead letter')
  .option('--json', 'one JSON object a line', false)
  .action(async (ids: string[], options: { json: boolean }) => (await import('./commands/dlq.ts')).dlqShow(readConfig(), ids, options));
selectingLetters(dlq.command('redrive').argument('[ids...]'))
  .description('send them again under their ids; exit code 2 if one was not applied')
  .option('--all', 'every one, without a filter', false)
  .option('--over-newer', 'also over what their rows have applied since', false)
  .option('--dry-run', 'send nothing; print what would be sent, and what it would change of the rows as they are now', false)
  .option('--wait <seconds>', 'how long outcomes are waited for', positiveNumber, 60)
  .option('--as <name>', 'who does it, for the record; default: the user of the system')
  .action(async (ids: string[], options: import('./commands/dlq.ts').RedriveOptions) =>
    (await import('./commands/dlq.ts')).dlqRedrive(readConfig(), ids, options),
  );
selectingLetters(dlq.command('purge').argument('[ids...]'))
  .description('take them off the list; outcomes stay in the ledger')
  .option('--all', 'every one, without a filter', false)
  .option('--as <name>', 'who does it, for the record; default: the user of the system')
  .action(async (ids: string[], options: import('./commands/dlq.ts').PurgeOptions) =>
    (await import('./commands/dlq.ts')).dlqPurge(readConfig(), ids, options),
  );

try {
  await program.parseAsync(idsLast(process.argv.slice(2)), { from: 'user' });
} catch (error) {
  const complaint = complaintOf(error, readConfig);
  process.stderr.write(complaint === undefined ? `${(error as Error).stack ?? String(error)}\n` : `spanway: ${complaint}\n`);
  process.exitCode = 1;
}

/** One receipt id in 64 begins with a hyphen; behind `--` it is taken for no option. */
function idsLast(words: readonly string[]): readonly string[] {
  const end = words.includes('--') ? words.indexOf('--') : words.length;
  const isId = (word: string, i: number): boolean => i < end && word.startsWith('-') && isReceiptId(word) && !takesValue(words[i - 1]);
  const ids = words.filter(isId);
  if (ids.length === 0) return words;
  return [...words.slice(0, end).filter((word, i) => !isId(word, i)), '--', ...ids, ...words.slice(end + 1)];
}

function takesValue(word: string | undefined, { options, commands }: Command = program): boolean {
  return options.some((option) => option.long === word && option.required) || commands.some((command) => takesValue(word, command));
}

/** Which records; `verb` says what becomes of their time. */
function selecting(command: Command, verb = 'ended'): Command {
  return command
    .option('--from <time>', `${verb} from this time on: 2026-11-25T02:00:00Z, or how long ago: 90m, 2h, 7d`)
    .option('--to <time>', `${verb} before this time`)
    .option('--tenant <id>', 'of this tenant')
    .option('--resource <name>', 'that write this resource')
    .option('--key <key>', 'and there this row: o1, or o1/7 where the key has several parts')
    .option('--correlation-id <id>', 'with this correlation id')
    .option('--reason <reason>', 'not applied for this reason');
}

function selectingLetters(command: Command): Command {
  return selecting(command)
    .option('--rejected', 'rejected submissions too; their callers know that they were not applied', false)
    .option('--json', 'one JSON object a line', false);
}

function wholeNumber(text: string): number {
  if (!/^-?\d{1,9}$/.test(text)) throw new InvalidArgumentError('it must be a whole number');
  return Number(text);
}

function positiveNumber(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('it must be a whole number, at least 1');
  return Number(text);
}
