/** Resource files: every `.ts` or `.js` file at the top of a folder whose default export is a resource. */
import { watch } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { resolveSpanway } from './resolve-spanway.ts';
import { ResourceDefinitionError } from '../schemas/errors.ts';
import { isResource, type Resource } from '../schemas/resource/define.ts';
import { ResourceSet, type ResourceSource } from '../schemas/resource/registry.ts';

export class ResourceFolder implements ResourceSource {
  readonly #folder: string;
  #current: ResourceSet;

  private constructor(folder: string, current: ResourceSet) {
    this.#folder = folder;
    this.#current = current;
  }

  /** @throws ResourceDefinitionError naming the file and what to change. */
  static async open(folder: string): Promise<ResourceFolder> {
    const path = resolve(folder);
    return new ResourceFolder(path, await load(path));
  }

  get current(): ResourceSet {
    return this.#current;
  }

  /** Reads the files again. @throws ResourceDefinitionError; then the set before stays. */
  async reload(): Promise<void> {
    this.#current = await load(this.#folder);
  }

  /**
   * Follows changes of the files: `prepare` makes ready for the new set (its tables), then it is in use. A set that
   * cannot be used is reported and the one before stays.
   */
  follow(prepare: (next: ResourceSet) => Promise<void>, report: (error: unknown) => void): () => void {
    let pending: NodeJS.Timeout | undefined;
    let last = Promise.resolve();
    const reload = async (): Promise<void> => {
      try {
        const next = await load(this.#folder);
        await prepare(next);
        this.#current = next;
      } catch (error) {
        report(error);
      }
    };
    const watcher = watch(this.#folder, () => {
      // An editor writes a file in several steps; one reload follows the last of them.
      clearTimeout(pending);
      pending = setTimeout(() => {
        last = last.then(reload);
      }, 100);
    });
    watcher.on('error', report);
    return () => {
      clearTimeout(pending);
      watcher.close();
    };
  }
}

async function load(folder: string): Promise<ResourceSet> {
  let names: string[];
  try {
    names = (await readdir(folder)).filter((name) => /\.(?:ts|mts|js|mjs)$/.test(name) && !/\.(?:d|test|spec)\.[a-z]+$/.test(name)).sort();
  } catch (cause) {
    throw new ResourceDefinitionError(`cannot read the folder of resources ${folder} (SPANWAY_SCHEMAS): ${(cause as Error).message}`);
  }
  const resources: Resource[] = [];
  const hooks = resolveSpanway(`${pathToFileURL(folder).href}/`);
  try {
    for (const name of names) {
      const file = join(folder, name);
      const resource = await importResource(file);
      if (resource) resources.push(resource);
    }
  } finally {
    hooks.deregister();
  }
  if (resources.length === 0) {
    throw new ResourceDefinitionError(
      `there is no resource in ${folder} (SPANWAY_SCHEMAS): add a file with "export default defineResource({ … })"`,
    );
  }
  return new ResourceSet(resources);
}

/** A file without a default export is a helper of the others. */
async function importResource(file: string): Promise<Resource | undefined> {
  // The query makes a changed file a new module.
  const url = `${pathToFileURL(file).href}?at=${(await stat(file)).mtimeMs}`;
  let module: { default?: unknown };
  try {
    module = (await import(url)) as { default?: unknown };
  } catch (cause) {
    // Its message and its place in the file are all that is wanted of it: a log line would say the message of a cause again.
    const { message, stack = '' } = cause as Error;
    const [place = ''] = /^:\d+(?::\d+)?/.exec(stack.split(url)[1] ?? '') ?? [];
    throw new ResourceDefinitionError(`cannot load ${file}${place}: ${message}`);
  }
  if (module.default === undefined) return undefined;
  if (!isResource(module.default)) throw new ResourceDefinitionError(`${file}: its default export is not made by defineResource`);
  return module.default;
}
