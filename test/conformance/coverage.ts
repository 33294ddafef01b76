/**
 * Reads which adapters the conformance tests run: from the calls in their text, since a test file cannot see what
 * another one ran. A suite is a function imported from `./PORT.ts`; its first argument is a literal that begins with
 * the scheme: `cacheConformance('redis', …)`, `queueConformance('sqlite, with faults', …)`.
 */

/** The schemes for which this test file calls a suite of this port. */
export function schemesRun(port: string, text: string): string[] {
  const code = text.replace(/\/\*[^]*?\*\/|(?<![:'"`])\/\/.*$/gm, '');
  const imports = new RegExp(`import \\{([^}]*)\\} from '\\./${port}\\.ts'`, 'g');
  const suites = [...code.matchAll(imports)]
    .flatMap((found) => (found[1] ?? '').split(','))
    .map((name) => name.trim())
    .filter((name) => /^[a-z]\w*$/.test(name));
  return suites.flatMap((suite) => {
    const calls = new RegExp(`(?<![.\\w])${suite}\\(\\s*['"\`]([a-z]+)\\b`, 'g');
    return [...code.matchAll(calls)].map((call) => call[1] ?? '');
  });
}

/** Schemes that no suite runs. Those that open the same adapter count as one: `rediss:` is `redis:` over TLS. */
export function schemesMissing(adapters: Readonly<Record<string, unknown>>, run: ReadonlySet<string>): string[] {
  const covered = new Set([...run].map((scheme) => adapters[scheme]));
  return Object.keys(adapters).filter((scheme) => !covered.has(adapters[scheme]));
}
