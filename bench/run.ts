/** `npm run bench -- NAME`: one bench. Its last line is one JSON object, `{"bench":…,"figures":{…},"ratios":{…}}`. */
import { readdir } from 'node:fs/promises';
import '../test/fixtures/resolve-spanway.ts';

/** What a bench measured. Ratios are against the baselines it ran itself, on the same servers, in the same run. */
export interface Results {
  readonly figures: Readonly<Record<string, number>>;
  readonly ratios: Readonly<Record<string, number>>;
}

export interface Bench {
  /** Its measurements; lines for a person go to `say`. */
  readonly bench: (say: (line: string) => void, args: readonly string[]) => Promise<Results>;
}

const names = (await readdir(new URL('.', import.meta.url)))
  .filter((file) => file.endsWith('.ts') && file !== 'run.ts')
  .map((file) => file.slice(0, -3));
const [name = '', ...args] = process.argv.slice(2);
if (!names.includes(name)) {
  process.stderr.write(`usage: npm run bench -- NAME, one of ${names.join(', ')}\n`);
  process.exit(2);
}
const { bench } = (await import(new URL(`${name}.ts`, import.meta.url).href)) as Bench;
const { figures, ratios } = await bench((line) => process.stdout.write(`${line}\n`), args);
process.stdout.write(`${JSON.stringify({ bench: name, figures: rounded(figures), ratios: rounded(ratios) })}\n`);
// Clients of the emulators keep connections that nobody waits for.
process.exit(0);

function rounded(values: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, Number(value.toPrecision(4))]));
}
