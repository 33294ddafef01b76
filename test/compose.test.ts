/**
 * The local stack's files against the code: no Docker engine is needed, and none could say whether a setting's name
 * or a command still exists.
 */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, matchesGlob } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { readConfig, SETTINGS } from '../cli/config.ts';
import { signDevelopmentToken, startDevelopmentIssuer } from '../cli/dev-issuer.ts';
import { PACK_KEYS, RECEIPT_KEYS, SEAL_KEYS } from '../cli/keys.ts';
import { MIN_NODE_MAJOR } from '../cli/setup.mjs';
import { cacheAdapters } from '../ports/cache/index.ts';
import { readEventBridgeUrl } from '../ports/events/eventbridge-config.ts';
import { eventsAdapters } from '../ports/events/index.ts';
import { jobsAdapters } from '../ports/jobs/index.ts';
import { queueAdapters } from '../ports/queue/index.ts';
import { readSqsUrl } from '../ports/queue/sqs-config.ts';
import { EnvSecrets } from '../ports/secrets/env.ts';
import { secretsAdapters } from '../ports/secrets/index.ts';
import { storeAdapters } from '../ports/store/index.ts';
import { readSpannerUrl } from '../ports/store/spanner-config.ts';
import { topicAdapters } from '../ports/topic/index.ts';
import { readPubsubUrl } from '../ports/topic/pubsub-client.ts';
import { parseKeyRing } from '../schemas/envelope/key-ring.ts';
import { temporaryFolder } from './temp.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('..', import.meta.url));
const textOf = (file: string): string => readFileSync(join(root, file), 'utf8');

interface Service {
  readonly image: string;
  readonly build?: { readonly context: string; readonly dockerfile: string };
  readonly pull_policy?: string;
  readonly entrypoint?: readonly string[];
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly tmpfs?: readonly string[];
  readonly restart?: string;
  readonly stop_grace_period: string;
  readonly healthcheck?: { readonly test: readonly string[] };
  readonly 'x-no-healthcheck'?: string;
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
}

const stack = parse(textOf('docker-compose.yml'), { merge: true }) as {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, unknown>>;
};
const services = Object.entries(stack.services);
/** Those of our own image, and of them those that run a command of Spanway's. */
const ours = services.filter(([, service]) => service.image === 'spanway:local');
const commands = ours.filter(([, service]) => service.entrypoint === undefined);
/** One-shots are those that others wait for until they have ended. */
const oneShots = new Set(
  services
    .flatMap(([, service]) => entriesOf(service.depends_on).filter(([, d]) => d.condition === 'service_completed_successfully'))
    .map(([n]) => n),
);

/** The ports that each image's documentation names. */
const IMAGES: Readonly<Record<string, { readonly ports: readonly number[]; readonly documentation: string }>> = {
  'kibertoad/fauxqs': { ports: [4566], documentation: 'https://github.com/kibertoad/fauxqs#running-with-docker' },
  'motoserver/moto': { ports: [5000], documentation: 'https://docs.getmoto.org/en/latest/docs/server_mode.html#run-using-docker' },
  'gcr.io/google.com/cloudsdktool/google-cloud-cli': { ports: [8085], documentation: 'https://cloud.google.com/pubsub/docs/emulator' },
  'gcr.io/cloud-spanner-emulator/emulator': { ports: [9010, 9020], documentation: 'https://cloud.google.com/spanner/docs/emulator#docker' },
  redis: { ports: [6379], documentation: 'https://hub.docker.com/_/redis' },
};

/** Where a setting's URL leads, as its adapter reads it. */
const ADDRESS_OF: Readonly<Record<string, (url: URL) => string | undefined>> = {
  [SETTINGS.queue.variable]: (url) => readSqsUrl(url).queueUrl,
  [SETTINGS.topic.variable]: (url) => `tcp://${readPubsubUrl(url).emulator ?? ''}`,
  [SETTINGS.store.variable]: (url) => `tcp://${readSpannerUrl(url).emulator ?? ''}`,
  [SETTINGS.events.variable]: (url) => readEventBridgeUrl(url).client.endpoint as string,
  [SETTINGS.cache.variable]: (url) => url.href,
  [SETTINGS.jobs.variable]: (url) => url.href,
  [SETTINGS.oidcJwksUrl.variable]: (url) => url.href,
};

const SCHEMES: Readonly<Record<string, readonly string[]>> = {
  [SETTINGS.queue.variable]: Object.keys(queueAdapters),
  [SETTINGS.topic.variable]: Object.keys(topicAdapters),
  [SETTINGS.store.variable]: Object.keys(storeAdapters),
  [SETTINGS.events.variable]: Object.keys(eventsAdapters),
  [SETTINGS.cache.variable]: Object.keys(cacheAdapters),
  [SETTINGS.jobs.variable]: Object.keys(jobsAdapters),
  [SETTINGS.secrets.variable]: Object.keys(secretsAdapters),
};

const { instructions, environment: imageEnvironment } = readDockerfile();

function entriesOf<T>(map: Readonly<Record<string, T>> | undefined): [string, T][] {
  return Object.entries(map ?? {});
}

/** What the process in a container of this service finds. */
function environmentOf(service: Service): Readonly<Record<string, string>> {
  return { ...imageEnvironment, ...service.environment };
}

/** Every service that has started, or ended, before this one does. */
function before(name: string): ReadonlySet<string> {
  const direct = Object.keys(stack.services[name]?.depends_on ?? {});
  return new Set([...direct, ...direct.flatMap((other) => [...before(other)])]);
}

function repositoryOf(image: string): string {
  return image.replace(/:[^:/]*$/, '');
}

function portsOf(name: string): readonly number[] {
  const service = stack.services[name];
  if (service === undefined) return [];
  if (service.image === 'spanway:local') return [readConfig(environmentOf(service)).port];
  return IMAGES[repositoryOf(service.image)]?.ports ?? [];
}

function secondsOf(duration: string): number {
  expect(duration).toMatch(/^\d+s$/);
  return Number.parseInt(duration, 10);
}

function readDockerfile(): { instructions: readonly (readonly [string, string])[]; environment: Readonly<Record<string, string>> } {
  const lines = textOf('deploy/Dockerfile').replaceAll(/\\\n/g, ' ').split('\n');
  const read = lines
    .filter((line) => /^[A-Z]+ /.test(line))
    .map((line) => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)] as const);
  const last = read.slice(read.findLastIndex(([word]) => word === 'FROM'));
  const pairs = last.filter(([word]) => word === 'ENV').flatMap(([, rest]) => rest.split(/\s+/));
  return { instructions: read, environment: Object.fromEntries(pairs.map((pair) => pair.split('=', 2) as [string, string])) };
}

function argumentsOf(word: string): string[] {
  return instructions.filter(([w]) => w === word).map(([, rest]) => rest);
}

describe('docker-compose.yml', () => {
  it('has the whole stack', () => {
    expect(Object.keys(stack.services).sort()).toEqual(
      [
        'applier',
        'bridge',
        'eventbridge',
        'gateway',
        'issuer',
        'pubsub',
        'redis',
        'replay-worker',
        'schema',
        'spanner',
        'spanner-ready',
        'sqs',
      ].sort(),
    );
    expect([...oneShots].sort()).toEqual(['schema', 'spanner-ready']);
  });

  it.each(commands)('gives %s settings that exist and fit together', (_, service) => {
    const known = Object.values(SETTINGS).map((setting) => setting.variable);
    for (const name of Object.keys(environmentOf(service))) {
      if (name !== 'NODE_ENV' && !name.startsWith('SPANWAY_SECRET_')) expect(known).toContain(name);
    }
    expect(readConfig(environmentOf(service)).production).toBe(false);
  });

  it.each(commands)('runs a command of Spanway in %s', async (_, { command = [] }) => {
    const words = command.filter((word) => !word.startsWith('-'));
    const { stdout } = await run(process.execPath, [join(root, 'cli/main.ts'), ...words, '--help']);
    expect(stdout).toMatch(new RegExp(`^Usage: spanway ${words.join(' ')}( |\\n)`));
    for (const option of command.filter((word) => word.startsWith('-'))) expect(stdout).toMatch(new RegExp(`^ +${option} `, 'm'));
  });

  it.each(commands)('names adapters in %s that the ports have', (_, service) => {
    for (const [variable, schemes] of Object.entries(SCHEMES)) {
      const text = service.environment?.[variable];
      if (text !== undefined) expect(schemes).toContain(new URL(text).protocol.slice(0, -1));
    }
  });

  it.each(commands)('leads %s to servers of the stack, on ports that they have, once they answer', (name, service) => {
    for (const [variable, addressOf] of Object.entries(ADDRESS_OF)) {
      const text = service.environment?.[variable];
      if (text === undefined) continue;
      const { hostname, port } = new URL(addressOf(new URL(text)) ?? '');
      expect(Object.keys(stack.services)).toContain(hostname);
      expect(portsOf(hostname)).toContain(Number(port));
      expect([...before(name)], `${name} starts before ${hostname}`).toContain(hostname);
    }
  });

  it.each([
    ['gateway', ['queue', 'store', 'cache', 'oidcIssuer', 'oidcJwksUrl', 'secrets']],
    ['bridge', ['queue', 'topic']],
    ['applier', ['topic', 'store', 'events', 'cache', 'secrets']],
    ['schema', ['queue', 'topic', 'store', 'events']],
    ['issuer', []],
  ] as const)('gives %s what it uses, and no more', (name, settings) => {
    const given = Object.keys(stack.services[name]?.environment ?? {}).filter((v) => v !== 'NODE_ENV' && !v.startsWith('SPANWAY_SECRET_'));
    expect(given.sort()).toEqual(settings.map((setting) => SETTINGS[setting].variable).sort());
  });

  it('has keys that parse, for the services that use them, and says that they are for local use', async () => {
    const holders = { [PACK_KEYS]: ['applier', 'gateway', 'replay-worker'], [SEAL_KEYS]: ['replay-worker'], [RECEIPT_KEYS]: ['gateway'] };
    for (const [secret, names] of Object.entries(holders)) {
      const variable = `SPANWAY_SECRET_${secret.replaceAll('-', '_').toUpperCase()}`;
      expect(
        services
          .filter(([, service]) => service.environment?.[variable])
          .map(([name]) => name)
          .sort(),
      ).toEqual(names);
      for (const name of names) {
        const ring = parseKeyRing(secret, await new EnvSecrets(stack.services[name]?.environment).get(secret));
        expect(ring.current.id).toMatch(/local/);
      }
    }
    expect(textOf('docker-compose.yml')).toContain('FOR LOCAL USE ONLY');
  });

  it('has the gateway take the tokens of its issuer', async () => {
    const { environment } = stack.services['gateway'] as Service;
    const config = readConfig({ ...environment, [SETTINGS.dataDir.variable]: await temporaryFolder() });
    const issuer = await startDevelopmentIssuer(config, { host: '127.0.0.1', port: 0 });
    try {
      expect(config.oidcIssuer).toBe(issuer.issuer);
      const { pathname } = new URL(config.oidcJwksUrl ?? '');
      expect(pathname).toBe(new URL(issuer.jwksUrl).pathname);
      expect((await fetch(new URL(pathname, issuer.jwksUrl))).status).toBe(200);
      const token = await signDevelopmentToken(config, { tenant: 't1', subject: 'me', scopes: [], ttlSeconds: 60 });
      const [header = ''] = token.split('.');
      const { alg } = JSON.parse(Buffer.from(header, 'base64url').toString()) as { alg: string };
      expect(config.oidcAlgorithms.split(',')).toContain(alg);
    } finally {
      await issuer.stop();
    }
    // Its own container is no use to the gateway's: it must listen on more than that.
    expect(readConfig(environmentOf(stack.services['issuer'] as Service)).host).toBe('0.0.0.0');
  });

  it('publishes the gateway, to this machine alone', () => {
    const published = services.flatMap(([name, { ports = [] }]) => ports.map((port) => [name, port] as const));
    expect(published.map(([name]) => name)).toEqual(['gateway']);
    for (const [name, port] of published) {
      expect(port).toMatch(/^127\.0\.0\.1:(\$\{[A-Z_]+:-)?\d+\}?:\d+$/);
      expect(portsOf(name)).toContain(Number(port.split(':').at(-1)));
    }
  });

  it.each(services.filter(([name]) => !oneShots.has(name)))('tells whether %s is healthy, or why it cannot', (name, service) => {
    if (service.healthcheck) {
      expect(service['x-no-healthcheck']).toBeUndefined();
      expect(service.healthcheck.test[0]).toMatch(/^CMD(-SHELL)?$/);
      // A check asks the service's own port.
      const port = /127\.0\.0\.1:(\d+)/.exec(service.healthcheck.test.join(' '))?.[1];
      if (port !== undefined) expect(portsOf(name)).toContain(Number(port));
    } else expect(service['x-no-healthcheck']).toMatch(/\w/);
  });

  it('has no dependant start before what it needs is healthy, or has ended well', () => {
    for (const [name, service] of services) {
      for (const [other, { condition }] of entriesOf(service.depends_on)) {
        const needed = stack.services[other];
        if (oneShots.has(other)) expect(condition).toBe('service_completed_successfully');
        else if (needed?.healthcheck) expect(condition).toBe('service_healthy');
        // It cannot tell by itself, so a one-shot asks it, for all the others.
        else expect(oneShots, `${name} waits for ${other}, which does not tell whether it is healthy`).toContain(name);
      }
    }
  });

  it('has the roles wait for the schema, and the schema for the Spanner emulator', () => {
    for (const name of ['gateway', 'bridge', 'applier']) expect([...before(name)]).toContain('schema');
    expect([...before('schema')]).toContain('spanner');
    const { entrypoint = [], command = [] } = stack.services['spanner-ready'] as Service;
    const address = /http:\/\/([^/:]+):(\d+)/.exec([...entrypoint, ...command].join(' '));
    expect(address?.[1]).toBe('spanner');
    expect(portsOf('spanner')).toContain(Number(address?.[2]));
  });

  it('stops nothing before it has had its time', () => {
    for (const [name, service] of commands) {
      const { stopSeconds } = readConfig(environmentOf(service));
      expect(secondsOf(service.stop_grace_period), name).toBeGreaterThan(stopSeconds);
    }
  });

  it('starts a role again after a fault, and neither one-shots nor servers that would come back empty', () => {
    const restarted = services.filter(([, { restart = 'no' }]) => restart !== 'no').map(([name]) => name);
    expect(restarted.sort()).toEqual(['applier', 'bridge', 'gateway', 'issuer', 'replay-worker']);
  });

  it('builds one image, once', () => {
    const built = services.filter(([, service]) => service.build);
    expect(built.map(([, { image, build }]) => [image, build])).toEqual([
      ['spanway:local', { context: '.', dockerfile: 'deploy/Dockerfile' }],
    ]);
    for (const [name, service] of ours) {
      expect(service.pull_policy).toBe(service.build ? 'build' : 'never');
      // So that `docker compose up ${name}` builds it too; the issuer alone needs nothing else.
      if (!service.build && name !== 'issuer') expect([...before(name)]).toContain(built[0]?.[0]);
    }
  });

  it('pins the servers that this repository also runs without Docker to the same versions', () => {
    const { devDependencies } = JSON.parse(textOf('package.json')) as { devDependencies: Record<string, string> };
    expect(stack.services['sqs']?.image).toBe(`kibertoad/fauxqs:${devDependencies['fauxqs'] ?? ''}`);
    const moto = /VERSION = '([\d.]+)'/.exec(textOf('cli/local-servers/moto.ts'))?.[1];
    expect(stack.services['eventbridge']?.image).toBe(`motoserver/moto:${moto ?? ''}`);
  });

  it.each(services.filter(([, { image }]) => image !== 'spanway:local'))(
    'has a documented image with a fixed version for %s',
    (name, { image }) => {
      expect(IMAGES).toHaveProperty([repositoryOf(image)]);
      if (name === 'pubsub') expect(textOf('docker-compose.yml')).toMatch(/floating tag/);
      else expect(image).toMatch(/:\d+\.\d+\.\d+$/);
    },
  );

  it('runs the Redis that jobs need', () => {
    expect(stack.services['redis']?.command?.join(' ')).toBe('redis-server --maxmemory-policy noeviction --appendonly yes');
  });

  it('mounts folders that are there, read only, and volumes that are declared', () => {
    for (const [name, { volumes = [] }] of ours.map(([n, s]) => [n, s] as const)) {
      for (const [source = '', target, mode] of volumes.map((volume) => volume.split(':'))) {
        if (source.startsWith('.')) {
          expect(existsSync(join(root, source)), `${name}: ${source}`).toBe(true);
          expect([target, mode]).toEqual(['/app/schemas', 'ro']);
        } else {
          expect(stack.volumes).toHaveProperty(source);
          expect(target).toBe(readConfig(environmentOf(stack.services[name] as Service)).dataDir);
        }
      }
    }
    for (const [, { volumes = [] }] of commands) expect(volumes.some((volume) => volume.includes(':/app/schemas'))).toBe(true);
  });
});

describe('deploy/Dockerfile', () => {
  const manifest = JSON.parse(textOf('package.json')) as {
    readonly bin: Record<string, string>;
    readonly files: readonly string[];
    readonly scripts: Record<string, string>;
    readonly dependencies: Record<string, string>;
    readonly allowScripts: Record<string, boolean>;
  };

  it('runs on the Node that Spanway needs, the one in package.json', () => {
    const images = argumentsOf('FROM')
      .map((rest) => rest.split(' ')[0] ?? '')
      .filter((image) => image !== 'base');
    expect(images).toEqual([`node:${manifest.dependencies['node'] ?? ''}-bookworm-slim`]);
    expect(Number.parseInt(images[0]?.split(':')[1] ?? '', 10)).toBe(MIN_NODE_MAJOR);
  });

  it('copies what is there', () => {
    for (const copy of argumentsOf('COPY')) {
      const words = copy.split(/\s+/);
      const from = words.find((word) => word.startsWith('--from='))?.slice('--from='.length);
      const sources = words.filter((word) => !word.startsWith('--')).slice(0, -1);
      if (from === undefined) for (const source of sources) expect(existsSync(join(root, source)), source).toBe(true);
      else expect(argumentsOf('FROM').map((rest) => / AS (\w+)$/.exec(rest)?.[1])).toContain(from);
    }
  });

  it('builds by what package.json has', () => {
    const npm = argumentsOf('RUN')
      .flatMap((rest) => rest.split('&&'))
      .map((c) => c.trim())
      .filter((c) => c.startsWith('npm '));
    expect(npm).toEqual(['npm ci --omit=dev --ignore-scripts', 'npm ci --ignore-scripts', 'npm pack']);
    // What `npm pack` compiles with, and what it ships the command in.
    expect(manifest.scripts['prepack']).toContain('tsconfig.build.json');
    expect(manifest.files).toEqual(expect.arrayContaining(['dist', 'cli/bin.mjs', 'cli/setup.mjs']));
    expect(argumentsOf('RUN').join()).toContain(`/app/${manifest.bin['spanway'] ?? ''} /usr/local/bin/spanway`);
    // No dependency but `node` needs an install script, or leaving them out would break it.
    expect(Object.keys(manifest.allowScripts).filter((name) => manifest.allowScripts[name])).toEqual(['node']);
  });

  it('has every example resource', () => {
    const resources = readdirSync(join(root, 'schemas')).filter(
      (file) => file.endsWith('.ts') && /^export default/m.test(textOf(`schemas/${file}`)),
    );
    expect(resources.length).toBeGreaterThan(0);
    const copied = argumentsOf('COPY')
      .find((rest) => rest.endsWith(' schemas/'))
      ?.split(' ')
      .slice(0, -1);
    expect(copied?.sort()).toEqual(resources.map((file) => `schemas/${file}`).sort());
  });

  it('runs as another user than root, in production, and listens beyond itself', () => {
    const last = instructions.slice(instructions.findLastIndex(([word]) => word === 'FROM')).map(([word, rest]) => `${word} ${rest}`);
    expect(last.indexOf('USER node')).toBeGreaterThan(last.findLastIndex((line) => line.startsWith('RUN ') || line.startsWith('COPY ')));
    expect(last).toContain('ENTRYPOINT ["spanway"]');
    expect(last).toContain(`EXPOSE ${SETTINGS.port.standard}`);
    expect(readConfig(imageEnvironment)).toMatchObject({ production: true, host: '0.0.0.0' });
  });
});

describe('.dockerignore', () => {
  const ignored = textOf('.dockerignore')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  const isIgnored = (path: string): boolean =>
    ignored.some((pattern) => matchesGlob(path, pattern) || matchesGlob(path.split('/')[0] ?? '', pattern));

  it.each(['.git', 'node_modules', 'dist', '.spanway', '.spanway/secrets/receipt-keys', '.env', 'spanway-0.1.0.tgz'])(
    'leaves out %s',
    (path) => {
      expect(isIgnored(path)).toBe(true);
    },
  );

  it('leaves in what the build reads', () => {
    const { include } = JSON.parse(textOf('tsconfig.build.json').replaceAll(/^\s*\/\/.*$/gm, '')) as { include: readonly string[] };
    const sources = argumentsOf('COPY')
      .filter((c) => !c.startsWith('--from'))
      .flatMap((c) => c.split(/\s+/).slice(0, -1));
    for (const path of [...include, ...sources, 'tsconfig.json', 'tsconfig.build.json', 'cli/bin.mjs', 'LICENSE']) {
      if (path !== '.') expect(isIgnored(path.replace(/\/\*\*.*/, '')), path).toBe(false);
    }
  });
});
