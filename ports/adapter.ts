/** A URL picks the adapter of a port: its scheme names it. */
import { AdapterConfigError } from './errors.ts';

/** Opens one implementation. It is imported only when a URL names it, so an SDK that is not used is not loaded. */
export type AdapterTable<T> = Readonly<Record<string, (url: URL) => Promise<T>>>;

/** @throws AdapterConfigError when the URL's scheme is none of the port's. */
export function openAdapter<T>(port: string, adapters: AdapterTable<T>, text: string): Promise<T> {
  const schemes = Object.keys(adapters).map((scheme) => `${scheme}:`);
  if (!URL.canParse(text)) {
    throw new AdapterConfigError(`${port}: ${JSON.stringify(text)} is no URL; expected one that starts with ${schemes.join(' or ')}`);
  }
  const url = new URL(text);
  const open = adapters[url.protocol.slice(0, -1)];
  if (!open)
    throw new AdapterConfigError(
      `${port}: ${JSON.stringify(text)} names no adapter; expected one that starts with ${schemes.join(' or ')}`,
    );
  return open(url);
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
