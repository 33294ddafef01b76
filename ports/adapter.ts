/** A URL picks the adapter of a port: its scheme names it. */
import { AdapterConfigError } from './errors.ts';

/** One implementation of a port. */
export interface Adapter<T, Given extends readonly unknown[] = []> {
  /** The options that its URL may have, `?NAME=VALUE`. What each means is said where it is read. */
  readonly options: readonly string[];
  /** It is imported only when a URL names it, so an SDK that is not used is not loaded. */
  readonly open: (url: URL, ...given: Given) => Promise<T>;
}

/** By scheme. `Given`: what a port takes beside the URL. */
export type AdapterTable<T, Given extends readonly unknown[] = []> = Readonly<Record<string, Adapter<T, Given>>>;

/** @throws AdapterConfigError when the URL's scheme is none of the port's, or it has an option that the adapter does not know. */
export async function openAdapter<T, Given extends readonly unknown[]>(
  port: string,
  adapters: AdapterTable<T, Given>,
  text: string,
  ...given: Given
): Promise<T> {
  const { url, adapter } = adapterOf(port, adapters, text);
  return adapter.open(url, ...given);
}

/** The same as `openAdapter`, without opening it. */
export function adapterOf<A extends Pick<Adapter<unknown>, 'options'>>(
  port: string,
  adapters: Readonly<Record<string, A>>,
  text: string,
): { readonly url: URL; readonly adapter: A } {
  const schemes = Object.keys(adapters).map((scheme) => `${scheme}:`);
  if (!URL.canParse(text)) {
    throw new AdapterConfigError(`${port}: ${JSON.stringify(text)} is no URL; expected one that starts with ${schemes.join(' or ')}`);
  }
  const url = new URL(text);
  const adapter = adapters[url.protocol.slice(0, -1)];
  if (!adapter)
    throw new AdapterConfigError(
      `${port}: ${JSON.stringify(text)} names no adapter; expected one that starts with ${schemes.join(' or ')}`,
    );
  checkOptions(port, url, adapter.options);
  return { url, adapter };
}

/** A misspelt option would silently mean its default. */
function checkOptions(port: string, url: URL, known: readonly string[]): void {
  const unknown = [...url.searchParams.keys()].find((name) => !known.includes(name));
  if (unknown === undefined) return;
  const shown = new URL(url);
  // Who reads the error need not know the password.
  shown.username = shown.password = shown.search = shown.hash = '';
  const allowed = known.length === 0 ? 'it takes none' : `allowed: ${known.join(', ')}`;
  throw new AdapterConfigError(`${port}: ${shown.href}: unknown option ${JSON.stringify(unknown)}; ${allowed}`);
}

/**
 * The file of a `sqlite:` URL: `sqlite:.spanway/spanway.db`, `sqlite:/data/spanway.db`.
 * @throws AdapterConfigError for none, and for `:memory:`, which every port would have of its own.
 */
export function sqlitePath(port: string, url: URL): string {
  const path = decodeURIComponent(url.pathname);
  if (path !== '' && path !== ':memory:') return path;
  throw new AdapterConfigError(
    `${port}: ${JSON.stringify(url.href)} names no file; expected sqlite:PATH, for example sqlite:.spanway/spanway.db`,
  );
}

/** Of an adapter that can make what it uses (queues, a bus): for a laptop, compose and tests. In production, infrastructure code does it. */
export interface Provisionable {
  /** Makes what is missing; changes nothing that is there. */
  provision(): Promise<void>;
}
