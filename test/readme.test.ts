/**
 * README.md and docs/ say what is so. A block marked `sh run` is executed as it is printed, in order, README.md first
 * and then the pages of docs/, in one shell beside `npm start`; a block marked `output` after it is what it prints, where
 * ids and times stand for others. `<!-- file: PATH -->` makes a file of the block after it. Tables, commands, links and
 * names are compared with the code.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { basename, delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SETTINGS } from '../cli/config.ts';
import type { Adapter } from '../ports/adapter.ts';
import { cacheAdapters } from '../ports/cache/index.ts';
import { eventsAdapters } from '../ports/events/index.ts';
import { jobsAdapters } from '../ports/jobs/index.ts';
import { queueAdapters } from '../ports/queue/index.ts';
import { secretsAdapters } from '../ports/secrets/index.ts';
import { storeAdapters } from '../ports/store/index.ts';
import { topicAdapters } from '../ports/topic/index.ts';
import { PROBLEM_TYPES } from '../producers/gateway/problems.ts';
import { REASONS } from '../schemas/envelope/ledger.ts';
import { makeTemporaryFolder } from './temp.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const readme = read('README.md');

/** The files under a folder of the repository, from its root. */
function filesIn(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => statSync(join(root, path)).isFile());
}

/** In the order in which their blocks run. */
const guides = [
  'README.md',
  ...filesIn('docs')
    .filter((path) => path.endsWith('.md'))
    .sort(),
];
const pages = [...guides, 'CHANGELOG.md'];

interface Block {
  readonly language: string;
  /** What follows the language on the opening line. */
  readonly mark: string;
  readonly code: string;
  readonly line: number;
  /** Of the comment before it. */
  readonly file: string | undefined;
}

function blocksOf(page: string): Block[] {
  return [...page.matchAll(/(?:^<!-- file: (\S+) -->\n+)?^```(\w*) ?(.*)\n([^]*?)^```$/gm)].map((match) => {
    const [whole, file, language = '', mark = '', code = ''] = match;
    const line = page.slice(0, match.index + whole.indexOf('```')).split('\n').length;
    return { language, mark, code, line, file };
  });
}

/** Rows of a table, without its head, each the cells' texts. */
function rowsOf(table: string): string[][] {
  return table
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    )
    .slice(2);
}

/** The tables of a section, from its heading to the next of its rank. */
function tablesOf(path: string, heading: string): string[][][] {
  const [, text] = read(path).split(`\n${heading}\n`);
  if (text === undefined) throw new Error(`${path} has no heading ${heading}`);
  const rank = heading.split(' ', 1)[0] ?? '';
  const section = text.split(new RegExp(`^#{1,${rank.length}} `, 'm'), 1)[0] ?? '';
  return [...section.matchAll(/(?:^\|.*\n)+/gm)].map(([table]) => rowsOf(table));
}

/** The first table with a cell of this kind in each row. */
function tableOf(path: string, heading: string, isRow: (row: readonly string[]) => boolean = () => true): string[][] {
  const table = tablesOf(path, heading).find((rows) => rows.every(isRow));
  if (!table || table.length === 0) throw new Error(`no such table under ${heading} of ${path}`);
  return table;
}

const ticked = (cell = ''): string => /^`([^`]+)`$/.exec(cell)?.[1] ?? `not in backticks: ${cell}`;

/** All that is set as code on a page: blocks and spans. */
function codeOf(page: string): string[] {
  const blocks = blocksOf(page).filter(({ language }) => ['sh', '', 'text'].includes(language));
  const prose = page.replace(/^```[^]*?^```$/gm, '');
  return [...blocks.map(({ code }) => code), ...[...prose.matchAll(/`([^`\n]+)`/g)].map(([, span]) => span ?? '')];
}

/** A shell's environment: without what `npm test` and vitest add to it, and with the machine's own Node first. */
function environment(added: Record<string, string>): NodeJS.ProcessEnv {
  const env = Object.entries(process.env).filter(([name]) => !/^(?:npm_|VITEST|NODE_ENV|PORT$|SPANWAY_)/.test(name));
  const bin = resolve(root, 'node_modules/.bin');
  const path = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => resolve(folder) !== bin);
  return { ...Object.fromEntries(env), PATH: path.join(delimiter), ...added };
}

/** One shell that is given block after block. */
class Shell {
  readonly #process: ChildProcess;
  #printed = '';

  constructor(env: NodeJS.ProcessEnv) {
    this.#process = spawn('bash', ['--noprofile', '--norc'], { cwd: root, env, stdio: ['pipe', 'pipe', 'inherit'] });
    this.#process.stdout?.on('data', (chunk: Buffer) => (this.#printed += chunk.toString()));
  }

  /** What it printed; rejects when it failed. */
  async run(code: string): Promise<string> {
    const end = randomUUID();
    this.#printed = '';
    this.#process.stdin?.write(`{\n${code}\n} </dev/null; printf '\\n%s %s\\n' ${end} "$?"\n`);
    for (;;) {
      const match = new RegExp(`^([^]*)\\n${end} (\\d+)\\n`).exec(this.#printed);
      if (match?.[2] === '0') return (match[1] ?? '').trim();
      if (match) throw new Error(`it ended with ${match[2]}, and printed: ${match[1]}`);
      await once(this.#process.stdout as NodeJS.ReadableStream, 'data');
    }
  }

  end(): void {
    this.#process.stdin?.end();
  }
}

/** Receipt ids, UUIDs, trace ids and instants: another run has others. */
const VARIES = /[\w-]{64}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{32}\b|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/g;

/** Instants without the zeros at the end of their fraction, as the ledger gives them, and columns after them not filled up. */
function plainInstants(text: string): string {
  return text
    .replace(/(\.\d*?)0+(?=Z)/g, '$1')
    .replaceAll('.Z', 'Z')
    .replace(/(?<=\dZ) +/g, ' ');
}

/** What a page shows with what varies as it is in this run: the same wherever the pages show the same. */
function inThisRun(shown: unknown, actual: unknown, known: Map<string, string>): unknown {
  if (typeof shown === 'string') {
    const values = typeof actual === 'string' ? [...actual.matchAll(VARIES)].map(([value]) => value) : [];
    [...shown.matchAll(VARIES)].forEach(([value], i) => {
      const found = values[i];
      if (found !== undefined && !known.has(value)) known.set(value, found);
    });
    return shown.replace(VARIES, (value) => known.get(value) ?? value);
  }
  if (typeof shown !== 'object' || shown === null) return shown;
  const other = (typeof actual === 'object' && actual !== null ? actual : {}) as Record<string, unknown>;
  const entries = Object.entries(shown).map(([name, value]) => [name, inThisRun(value, other[name], known)] as const);
  return Array.isArray(shown) ? entries.map(([, value]) => value) : Object.fromEntries(entries);
}

describe('the commands of README.md and docs/', () => {
  const printed = { url: 'http://127.0.0.1:8080' };
  const blocks = guides.flatMap((path) => blocksOf(read(path)).map((block) => ({ path, ...block })));
  const steps = blocks.filter(({ mark, file }) => mark === 'run' || file !== undefined);
  const known = new Map<string, string>();
  let folder: Awaited<ReturnType<typeof makeTemporaryFolder>>;
  let schemas: string;
  let server: ChildProcess;
  let shell: Shell;
  let url: string;
  let log = '';

  /** The match in what the server has printed, once it is there. */
  async function logged(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(log);
      if (match) return match;
      if (server.exitCode !== null) throw new Error(`npm start ended with ${server.exitCode}, and printed: ${log}`);
      await Promise.race([once(server.stdout as NodeJS.ReadableStream, 'data'), once(server, 'exit')]);
    }
  }

  beforeAll(async () => {
    folder = await makeTemporaryFolder();
    schemas = join(folder.path, 'schemas');
    await mkdir(schemas);
    for (const name of ['orders.ts', 'order-lines.ts', 'webhook-deliveries.ts'])
      await copyFile(join(root, 'schemas', name), join(schemas, name));
    // The defaults are a port and folders that others may use.
    const env = environment({ SPANWAY_DATA_DIR: join(folder.path, 'data'), SPANWAY_SCHEMAS: schemas });
    server = spawn('npm', ['start'], { cwd: root, env: { ...env, PORT: '0' }, stdio: ['ignore', 'pipe', 'inherit'] });
    server.stdout?.on('data', (chunk: Buffer) => (log += chunk.toString()));
    [, url = ''] = await logged(/listening on (http:\/\/\S+)/);
    shell = new Shell(env);
  }, 120_000);

  afterAll(async () => {
    shell.end();
    const ended = once(server, 'exit');
    server.kill('SIGTERM');
    await ended;
    await folder.remove();
  });

  it('are marked, most with what they print, and start with npm start', () => {
    const first = blocks.findIndex(({ code }) => code === 'npm start\n');
    expect(first).toBeGreaterThan(-1);
    expect(first).toBeLessThan(blocks.indexOf(steps[0] as (typeof steps)[number]));
    expect(steps.length).toBeGreaterThan(10);
    const outputs = blocks.filter(
      ({ mark, path }, i) => mark === 'output' && blocks[i - 1]?.mark === 'run' && blocks[i - 1]?.path === path,
    );
    expect(outputs.length).toBeGreaterThan(8);
    // Patterns are the events' own: test/schemas/events.test.ts.
    const marks = new Set(blocks.map(({ mark }) => mark.replace(/^pattern=.+/, 'pattern')));
    expect(marks).toEqual(new Set(['', 'run', 'output', 'pattern']));
    // An output that follows nothing that ran would be compared with nothing.
    expect(blocks.filter(({ mark }) => mark === 'output')).toEqual(outputs);
  });

  it('have nothing after what holds the terminal', () => {
    const holding = blocks.filter(({ language, code }) => language === 'sh' && /^(?:npm start|npx spanway dev)\b/m.test(code));
    expect(holding.length).toBeGreaterThan(1);
    for (const { code } of holding) expect(code).not.toMatch(/^(?:npm start|npx spanway dev)\b.*\n[^]*\S/m);
  });

  it.each(steps.map((step) => [step.path, step.line, step] as const))('%s, line %i', async (_path, _line, step) => {
    if (step.file !== undefined) {
      expect(dirname(step.file)).toBe('schemas');
      await writeFile(join(schemas, basename(step.file)), step.code);
      await logged(/resources read again/);
      return;
    }
    const actual = await shell.run(step.code.replaceAll(printed.url, url));
    const next = blocks[blocks.indexOf(step) + 1];
    if (next?.mark !== 'output') return;
    const [shown, answer] = [next.code.trim(), actual].map((text): unknown =>
      next.language === 'json' ? JSON.parse(plainInstants(text)) : plainInstants(text),
    );
    expect(answer).toEqual(inThisRun(shown, answer, known));
  });

  it('are answered by routes that exist', async () => {
    const calls = tableOf('README.md', '## HTTP contract').map(([call]) => ticked(call).split(' '));
    expect(calls.length).toBeGreaterThan(8);
    for (const [method = '', path = ''] of calls) {
      const filled = path.replace('{resource}', 'orders').replace('{key}', 'o1').replace('{id}', 'x').replace('{name}', 'validation');
      const response = await fetch(`${url}${filled}`, { method });
      // Without a token: what is there and what it does not show.
      expect([method, path, response.status]).toEqual([method, path, path.startsWith('/v1/') ? 401 : 200]);
    }
  });
});

describe('README.md and its pages', () => {
  it('lists every setting, in order, with its default and its meaning', () => {
    const settings = Object.values(SETTINGS).map(({ variable, standard, meaning }) => [`\`${variable}\``, standard, meaning]);
    expect(tablesOf('README.md', '## Settings')[0]).toEqual(settings);
  });

  it('has a form for every adapter with its options, and for no other', () => {
    const adapters: Readonly<Record<string, Readonly<Record<string, Pick<Adapter<unknown>, 'options'>>>>> = {
      SPANWAY_QUEUE: queueAdapters,
      SPANWAY_TOPIC: topicAdapters,
      SPANWAY_STORE: storeAdapters,
      SPANWAY_EVENTS: eventsAdapters,
      SPANWAY_CACHE: cacheAdapters,
      SPANWAY_JOBS: jobsAdapters,
      SPANWAY_SECRETS: secretsAdapters,
    };
    const shown: string[] = [];
    let setting = '';
    for (const [name = '', form = '', options = ''] of tablesOf('README.md', '## Settings')[1] ?? []) {
      if (name !== '') setting = ticked(name);
      const names = [...options.matchAll(/`(\w+)(?:`[:,]|=)/g)].map(([, option]) => option);
      shown.push([setting, /^`(\w+):/.exec(form)?.[1] ?? form, ...names.sort()].join(' '));
    }
    const there = Object.entries(adapters).flatMap(([name, schemes]) =>
      Object.entries(schemes).map(([scheme, { options }]) => [name, scheme, ...[...options].sort()].join(' ')),
    );
    expect(shown.sort()).toEqual(there.sort());
  });

  it('lists every problem type with its status', () => {
    const listed = tableOf('docs/http.md', '## Statuses and problems').map(([status, name]) => [Number(status), ticked(name)]);
    expect(new Map(listed.map(([status, name]) => [name, status]))).toEqual(
      new Map(Object.entries(PROBLEM_TYPES).map(([name, { status }]) => [name, status])),
    );
  });

  it('explains every reason of an outcome, and of what is parked', () => {
    const listed = tableOf('docs/http.md', '## Reasons of an outcome').map(
      ([outcome, reason]) => [ticked(outcome), ticked(reason)] as const,
    );
    expect(listed.map(([, reason]) => reason).sort()).toEqual([...REASONS].sort());
    const sources = filesIn('consumers/applier').map(read).join('\n');
    for (const [outcome, reason] of listed)
      if (outcome === 'dead_lettered') expect(sources).toContain(`{ outcome: 'dead_lettered', reason: '${reason}'`);

    const parked = filesIn('schemas/envelope').flatMap((path) => [...read(path).matchAll(/new PackError\(\s*'(\w+)'/g)]);
    expect(parked.length).toBeGreaterThan(3);
    for (const [, code = ''] of parked) expect(read('docs/dead-letters.md')).toContain(`\`${code}\``);
  });

  it('quotes log lines that the code writes', () => {
    const sources = ['cli', 'consumers', 'producers', 'ports'].flatMap(filesIn).map(read).join('\n');
    const spansOf = (path: string): string[] =>
      [...read(path).matchAll(/`([a-z][a-z';,]*(?: [a-z';,]+){2,})`/g)].map(([, span]) => span ?? '');
    expect(spansOf('docs/outages.md').length).toBeGreaterThan(6);
    const commands = /^(?:npm|npx|spanway|gcloud|docker|node) /;
    for (const line of guides.flatMap(spansOf).filter((span) => !commands.test(span)))
      expect(sources.replaceAll("\\'", "'")).toContain(line);
  });

  it('shows the result that the demo is tested for, and the version of the package', () => {
    const [, demo = 'no constant DEMO'] = /DEMO = '([^']+)'/.exec(read('test/e2e/real.test.ts')) ?? [];
    expect(readme).toContain(demo);
    const { version } = JSON.parse(read('package.json')) as { version: string };
    expect(new Set([...readme.matchAll(/spanway-(\d[\d.]*\d)\.tgz/g)].map(([, shown]) => shown))).toEqual(new Set([version]));
  });
});

describe.each(pages)('%s', (path) => {
  const page = read(path);

  it('links to what is there', () => {
    const slugsOf = (text: string): string[] =>
      [...text.replace(/^```[^]*?^```$/gm, '').matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
        heading
          .toLowerCase()
          .replace(/[^\p{L}\p{N} _-]/gu, '')
          .replaceAll(' ', '-'),
      );
    for (const [, link = ''] of page.replace(/^```[^]*?^```$/gm, '').matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(link)) continue;
      const [file = '', anchor] = link.split('#');
      const target = file === '' ? path : join(dirname(path), file);
      expect(existsSync(join(root, target)), `${link} in ${path}`).toBe(true);
      if (anchor !== undefined) expect(slugsOf(read(target)), `${link} in ${path}`).toContain(anchor);
    }
  });

  it('names settings that exist', () => {
    const variables: readonly string[] = Object.values(SETTINGS).map(({ variable }) => variable);
    for (const [name] of page.matchAll(/\bSPANWAY_[A-Z_]*[A-Z]\b/g))
      if (!name.startsWith('SPANWAY_SECRET_') && name !== 'SPANWAY_SECRET') expect(variables, `${name} in ${path}`).toContain(name);
  });

  it('names scripts of package.json that exist', () => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    for (const code of codeOf(page))
      for (const [, name = ''] of code.matchAll(/\bnpm (?:run (?:-s )?)?(start|test|(?<=run (?:-s )?)[\w-]+)/g))
        expect(Object.keys(scripts), `npm run ${name} in ${path}`).toContain(name);
  });
});

describe('the command line', () => {
  /** What is said of a command: `schema apply` and the options that follow it. */
  const named = new Map<string, Set<string>>();
  for (const page of pages.map(read)) {
    for (const code of codeOf(page)) {
      for (const [, words = ''] of code.matchAll(/(?:\bspanway(?: --)?|\brm schema|npm run -s token --) ((?:[a-z]|--[a-z])[^\n`|]*)/g)) {
        const [first = '', second = ''] = words.trim().split(/[ )]+/);
        if (first === '--help') continue;
        const command =
          ['schema', 'policy', 'dlq', 'jobs', 'audit'].includes(first) && /^[a-z]+$/.test(second) ? `${first} ${second}` : first;
        const options = named.get(command) ?? new Set<string>();
        for (const [option] of words.replace(/ #.*$/, '').matchAll(/--[a-z]+/g)) options.add(option);
        named.set(command, options);
      }
    }
  }
  named.delete('--tenant');

  it('is described', () => {
    expect([...named.keys()]).toEqual(expect.arrayContaining(['dev', 'gateway', 'bridge', 'applier', 'token', 'key', 'schema print']));
  });

  it.each([...named])('has %s, with every option that is named', async (command, options) => {
    const bin = join(root, 'cli/bin.mjs');
    const { stdout } = await promisify(execFile)(process.execPath, [bin, ...command.split(' '), '--help']);
    expect(stdout).toMatch(new RegExp(`^Usage: spanway ${command}\\b`));
    for (const option of options) expect(stdout).toContain(option);
  });

  it('has no command that README.md leaves out', async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [join(root, 'cli/bin.mjs'), '--help']);
    const commands = [...stdout.matchAll(/^ {2}([a-z-]+)(?: \[options\])? {2,}/gm)]
      .map(([, command]) => command)
      .filter((c) => c !== 'help');
    expect(commands.length).toBeGreaterThan(6);
    const listed = tableOf('README.md', '## Commands').map(([command]) => ticked(command).split(' ')[1]);
    for (const command of commands) expect(listed).toContain(command);
  });
});
