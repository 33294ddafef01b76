/**
 * Which file may import what: the architecture as a lint rule. It works on paths alone and denies what no line
 * here allows, so that it also holds for folders and packages that are yet to come, for `import()` and for types.
 * (ESLint's own no-restricted-imports sees neither `import()` nor where a relative path leads.)
 */
import { posix, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('.', import.meta.url));

/**
 * What the files of a zone may import of this repository. The first zone that has a file is its zone; a file in
 * none may import everything. `own` is the part of the path that the zone's expression catches.
 * @typedef {{ files: RegExp, what: string, may: (target: string, own: string) => boolean }} Zone
 * @type {readonly Zone[]}
 */
const zones = [
  {
    files: /^((?:producers|consumers)\/[^/]+(?:\/|$))/,
    what: 'a role imports its own folder, schemas/, port interfaces (ports/*/port.ts), ports/errors.ts and ports/backoff.ts; cli/ gives it the rest',
    may: (target, own) => target.startsWith(own) || isSchema(target) || isPortInterface(target),
  },
  {
    files: /^schemas\//,
    what: 'schemas/ imports itself alone: everything else is built on it',
    may: isSchema,
  },
  {
    files: /^(ports\/[^/]+\/)/,
    what: "a port's folder imports itself, schemas/, other ports' interfaces, and what all adapters share (ports/*.ts, ports/sqlite/)",
    may: (target, own) =>
      target.startsWith(own) || isSchema(target) || isPortInterface(target) || /^ports\/(?:[^/]+|sqlite\/.+)$/.test(target),
  },
  {
    files: /^ports\//,
    what: 'what all ports share imports nothing but schemas/ and its like',
    may: (target) => isSchema(target) || /^ports\/[^/]+$/.test(target) || isPortInterface(target),
  },
  {
    files: /^(?:cli\/|index\.ts$)/,
    what: 'what is in the package imports nothing that is left out of it (test/, bench/)',
    may: (target) => !/^(?:test|bench)\//.test(target),
  },
];

/** @param {string} target */
function isSchema(target) {
  return target.startsWith('schemas/');
}

/** @param {string} target */
function isPortInterface(target) {
  return target === 'ports/errors.ts' || target === 'ports/backoff.ts' || /^ports\/[^/]+\/port\.ts$/.test(target);
}

/** Packages that tie a file to one vendor's system. */
const vendorPackage =
  /^(?:@aws-sdk|@smithy|@google-cloud|@grpc|@bull-board)\/|^(?:google-gax|google-auth-library|ioredis|bullmq|node:sqlite)(?:\/|$)/;

/**
 * Where each may be imported; a vendor package that is not here may not be imported at all.
 * @type {readonly (readonly [vendor: RegExp, adapters: RegExp])[]}
 */
const adaptersOf = [
  [/^@aws-sdk\/(?:client-sqs|core\/protocols)$/, /^ports\/queue\//],
  [/^@google-cloud\/pubsub$/, /^ports\/topic\//],
  [/^@google-cloud\/spanner$/, /^ports\/store\//],
  [/^@aws-sdk\/client-eventbridge$/, /^ports\/events\//],
  [/^@(?:aws-sdk\/client-secrets-manager|google-cloud\/secret-manager)$/, /^ports\/secrets\//],
  [/^ioredis$/, /^ports\/(?:cache|jobs)\//],
  [/^(?:bullmq$|@bull-board\/)/, /^ports\/jobs\//],
  [/^node:sqlite$/, /^ports\/(?:sqlite\/|[^/]+\/sqlite)/],
  // The types of the errors and call options that Google's clients share.
  [/^google-gax$/, /^ports\/(?:topic|store)\//],
];

/** A resource file may import the package by its name, as it would in a user's own repository. */
const resourceFile = /^(?:schemas|test|bench)\//;

/** These look at the vendors' systems from outside. */
const anyPackage = /^(?:test|bench)\//;

/**
 * Why a file must not import this, or undefined if it may.
 * @param {string} file from the root, with `/`
 * @param {string} specifier
 */
export function refusal(file, specifier) {
  if (/^(?:\.|\/|file:)/.test(specifier)) {
    const zone = zones.find((z) => z.files.test(file));
    const target = specifier.startsWith('.') ? posix.join(posix.dirname(file), specifier) : specifier;
    return zone === undefined || zone.may(target, zone.files.exec(file)?.[1] ?? '') ? undefined : zone.what;
  }
  if (specifier === 'spanway') return resourceFile.test(file) ? undefined : 'only a resource file imports the package by its name';
  if (anyPackage.test(file)) return undefined;
  if (!vendorPackage.test(specifier)) return undefined;
  const isInterface = /\/(?:port|index|errors)\.ts$/.test(file);
  const isAdapter = adaptersOf.some(([vendor, adapters]) => vendor.test(specifier) && adapters.test(file));
  return isAdapter && !isInterface ? undefined : "a vendor's package is imported in its adapter alone, under ports/";
}

/** @type {import('eslint').Rule.RuleModule} */
const importsRule = {
  meta: {
    type: 'problem',
    schema: [],
    messages: {
      refused: '{{file}} must not import {{specifier}}: {{why}}.',
      computed: '{{file}} must not import what only a run can tell: its imports are checked by their text.',
    },
  },
  create(context) {
    const file = relative(root, context.filename).split(sep).join('/');
    const isZoned = zones.slice(0, -1).some((z) => z.files.test(file));
    /** @param {import('estree').Node} node @param {import('estree').Node | null | undefined} source */
    const check = (node, source) => {
      if (source === null || source === undefined) return;
      if (source.type !== 'Literal' || typeof source.value !== 'string') {
        if (isZoned) context.report({ node, messageId: 'computed', data: { file } });
        return;
      }
      const why = refusal(file, source.value);
      if (why !== undefined) context.report({ node: source, messageId: 'refused', data: { file, specifier: source.value, why } });
    };
    return {
      ImportDeclaration: (node) => check(node, node.source),
      ExportNamedDeclaration: (node) => check(node, node.source),
      ExportAllDeclaration: (node) => check(node, node.source),
      ImportExpression: (node) => check(node, node.source),
      // `import('x').Y` in a type; ESLint's own node types end where TypeScript's begin.
      /** @param {import('estree').Node & { source: import('estree').Node }} node */
      TSImportType: (node) => check(node, node.source),
    };
  },
};

const environment = 'only cli/config.ts reads the environment: take what you need as a parameter';

/** @type {import('eslint').Linter.Config[]} */
export const boundaries = [
  {
    files: ['**/*.ts', '**/*.mjs', '**/*.js'],
    plugins: { spanway: { rules: { imports: importsRule } } },
    rules: { 'spanway/imports': 'error' },
  },
  {
    files: ['**/*.ts'],
    ignores: [
      'cli/config.ts',
      // Finds programs in PATH and hands the environment on to them.
      'cli/local-servers/**',
      // Its secrets are the environment's variables.
      'ports/secrets/env.ts',
      // Google's client takes two of its settings from the environment alone, and only before it is loaded.
      'ports/store/spanner*.ts',
      // Their switches are variables, and there is no configuration to take them from.
      'test/**',
      'bench/**',
      '*.config.ts',
    ],
    rules: {
      'no-restricted-properties': ['error', { object: 'process', property: 'env', message: environment }],
      'no-restricted-syntax': [
        'error',
        { selector: "ImportDeclaration[source.value=/^(node:)?process$/] ImportSpecifier[imported.name='env']", message: environment },
      ],
    },
  },
];
