/** Every adapter that a URL can name runs its port's conformance suite. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cacheAdapters } from '../../ports/cache/index.ts';
import { eventsAdapters } from '../../ports/events/index.ts';
import { jobsAdapters } from '../../ports/jobs/index.ts';
import { queueAdapters } from '../../ports/queue/index.ts';
import { secretsAdapters } from '../../ports/secrets/index.ts';
import { STORE_SCHEMES } from '../../ports/store/index.ts';
import { topicAdapters } from '../../ports/topic/index.ts';
import { schemesMissing, schemesRun } from './coverage.ts';

const PORTS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  cache: cacheAdapters,
  events: eventsAdapters,
  jobs: jobsAdapters,
  queue: queueAdapters,
  secrets: secretsAdapters,
  store: Object.fromEntries(STORE_SCHEMES.map((scheme) => [scheme, scheme])),
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
