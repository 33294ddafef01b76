/** Every adapter that a URL can name runs its port's conformance suite. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cacheAdapters } from '../../ports/cache/index.ts';
import { eventsAdapters } from '../../ports/events/index.ts';
import { jobsAdapters } from '../../ports/jobs/index.ts';
import { queueAdapters } from '../../ports/queue/index.ts';
import { openSecrets, secretsAdapters } from '../../ports/secrets/index.ts';
import { storeAdapters } from '../../ports/store/index.ts';
import { topicAdapters } from '../../ports/topic/index.ts';
import { type AdapterTable, openAdapter } from '../../ports/adapter.ts';
import { AdapterConfigError } from '../../ports/errors.ts';
import { schemesMissing, schemesRun } from './coverage.ts';

const PORTS: Readonly<Record<string, AdapterTable<unknown, [string]>>> = {
  cache: cacheAdapters,
  events: eventsAdapters,
  jobs: jobsAdapters,
  queue: queueAdapters,
  secrets: secretsAdapters,
  store: storeAdapters,
  topic: topicAdapters,
};

const ports = join(import.meta.dirname, '../../ports');
const tests = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith('.test.ts') && file !== 'registered.test.ts')
  .map((file) => readFileSync(join(import.meta.dirname, file), 'utf8'));

it('every port is looked at here', () => {
  const found = readdirSync(ports, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && readdirSync(join(ports, entry.name)).includes('port.ts'))
    .map((entry) => entry.name);
  expect(found.length).toBeGreaterThanOrEqual(6);
  expect(found.sort()).toEqual(Object.keys(PORTS).sort());
});

describe.each(Object.entries(PORTS))('the %s port', (port, adapters) => {
  it('has an embedded adapter and a real one, or two', () => {
    expect(Object.keys(adapters).length).toBeGreaterThanOrEqual(2);
  });

  it('has every adapter run by its conformance suite', () => {
    const run = new Set(tests.flatMap((text) => schemesRun(port, text)));
    expect(schemesMissing(adapters, run), `schemes without a call of the suite in test/conformance/*.test.ts`).toEqual([]);
    expect(
      [...run].filter((scheme) => !(scheme in adapters)),
      'suites that run for a scheme which no URL can name',
    ).toEqual([]);
  });
});

describe.each(Object.entries(PORTS).flatMap(([port, adapters]) => Object.keys(adapters).map((scheme) => [port, scheme] as const)))(
  'the URL of the %s port with %s:',
  (port, scheme) => {
    const { options = [] } = PORTS[port]?.[scheme] ?? {};

    it('is refused with an option that there is not, which would silently mean the default', async () => {
      for (const unknown of ['unheardOf', ...options.map((name) => name.slice(0, -1))]) {
        const opened = openAdapter(port, PORTS[port] ?? {}, `${scheme}:?${unknown}=1`, 'test');
        await expect(opened, unknown).rejects.toThrow(AdapterConfigError);
        await expect(opened, unknown).rejects.toThrow(
          `: unknown option "${unknown}"; ${options.length === 0 ? 'it takes none' : `allowed: ${options.join(', ')}`}`,
        );
      }
    });
  },
);

it('an option is refused without a word of the password and of other options', async () => {
  const opened = openAdapter('jobs', jobsAdapters, 'redis://user:hush-hush@127.0.0.1:1/3?tls=very-hush', 'test');
  await expect(opened).rejects.toThrow('jobs: redis://127.0.0.1:1/3: unknown option "tls"; it takes none');
});

it('a folder of secrets that is named from here is refused with an option too', async () => {
  await expect((async () => openSecrets('file:secrets?mode=1'))()).rejects.toThrow('unknown option "mode"');
});

describe('the reading of conformance tests', () => {
  const header = `import { type Fixture, thingConformance } from './thing.ts';\n`;

  it('finds calls by the suite’s name, in one line or more, with words after the scheme', () => {
    const text = `${header}thingConformance('one', a);\n  thingConformance(\n    "two, with faults",\n`;
    expect(schemesRun('thing', text)).toEqual(['one', 'two']);
  });

  it('finds nothing in comments, in other functions, and without the import', () => {
    const text = `${header}// thingConformance('one', a);\n/* thingConformance('two', a); */ notThingConformance('three'); x.thingConformance('four');`;
    expect(schemesRun('thing', text)).toEqual([]);
    expect(schemesRun('thing', `thingConformance('one', a);`)).toEqual([]);
    expect(schemesRun('other', `${header}thingConformance('one', a);`)).toEqual([]);
  });

  it('misses an adapter that is not run, and not a second name of one that is', () => {
    const [same, another] = [() => 1, () => 2];
    expect(schemesMissing({ redis: same, rediss: same, memory: another }, new Set(['redis']))).toEqual(['memory']);
    expect(schemesMissing({ redis: same }, new Set())).toEqual(['redis']);
    // A scheme that no adapter has covers nothing.
    expect(schemesMissing({ redis: same }, new Set(['unknown']))).toEqual(['redis']);
  });
});
