/** All the resources of one Spanway, checked against each other. */
import { ResourceDefinitionError } from '../errors.ts';
import type { Resource } from './define.ts';
import type { TableDefinition } from './table.ts';
import { compileValidators, type Validators } from './validate.ts';

export interface RegisteredResource extends Resource {
  /** With the parent's table. */
  readonly table: TableDefinition;
  /** The top of its line of parents: itself where it has none. Its key identifies the aggregate. `waits`: behind dead letters. */
  readonly root: { readonly name: string; readonly keyLength: number; readonly waits: boolean };
  readonly validators: Validators;
}

/** A fixed set of resources. A change of the files makes a new one. */
export class ResourceSet {
  readonly #byName: ReadonlyMap<string, RegisteredResource>;

  /** @throws ResourceDefinitionError when two share a name or a table, or a parent is missing or does not fit. */
  constructor(resources: readonly Resource[]) {
    const declared = new Map<string, Resource>();
    const tables = new Map<string, string>();
    for (const resource of resources) {
      const table = resource.table.name.toLowerCase();
      if (declared.has(resource.name)) throw new ResourceDefinitionError(`two resources are named ${resource.name}`);
      const other = tables.get(table);
      if (other) throw new ResourceDefinitionError(`resources ${other} and ${resource.name} share the table ${resource.table.name}`);
      declared.set(resource.name, resource);
      tables.set(table, resource.name);
    }
    const registered = new Map<string, RegisteredResource>();
    const register = (resource: Resource, below: readonly string[]): RegisteredResource => {
      const done = registered.get(resource.name);
      if (done) return done;
      if (below.includes(resource.name)) throw new ResourceDefinitionError(`resource ${resource.name} is its own ancestor`);
      const entry = resource.parent
        ? child(resource, register(parentOf(resource, declared), [...below, resource.name]))
        : withTable(resource, resource.table, {
            name: resource.name,
            keyLength: resource.key.length,
            waits: resource.onDeadLetter === 'wait',
          });
      registered.set(resource.name, entry);
      return entry;
    };
    // Parents come before children, so that tables can be made in this order.
    for (const resource of resources) register(resource, []);
    this.#byName = registered;
  }

  get(name: string): RegisteredResource | undefined {
    return this.#byName.get(name);
  }

  /** Parents before their children. */
  all(): readonly RegisteredResource[] {
    return [...this.#byName.values()];
  }

  tables(): readonly TableDefinition[] {
    return this.all().map((r) => r.table);
  }
}

/** Where the current set is found by those who must follow its changes. */
export interface ResourceSource {
  readonly current: ResourceSet;
}

function parentOf(resource: Resource, declared: ReadonlyMap<string, Resource>): Resource {
  const name = resource.parent?.resource ?? '';
  const parent = declared.get(name);
  if (!parent) throw new ResourceDefinitionError(`resource ${resource.name}: its parent ${name} is not among the resources`);
  return parent;
}

function child(resource: Resource, parent: RegisteredResource): RegisteredResource {
  const fits =
    resource.key.length > parent.key.length &&
    resource.tenantColumn === parent.tenantColumn &&
    parent.key.every((field, i) => {
      const own = resource.key[i];
      return own?.column === field.column && own.type.scalar === field.type.scalar && own.type.maxLength === field.type.maxLength;
    });
  if (!fits) {
    throw new ResourceDefinitionError(
      `resource ${resource.name}: its key must be the key of its parent ${parent.name} (${parent.key.map((f) => f.name).join(', ')}; same columns and types), then fields of its own`,
    );
  }
  if (parent.fields.some((field) => field.name === resource.name)) {
    throw new ResourceDefinitionError(
      `resource ${resource.name}: its parent ${parent.name} has a field of this name, and a row is shown with its children by theirs`,
    );
  }
  const table: TableDefinition = {
    ...resource.table,
    parent: { table: parent.table.name, onDelete: resource.parent?.onDelete === 'cascade' ? 'cascade' : 'no action' },
  };
  return withTable(resource, table, parent.root);
}

function withTable(resource: Resource, table: TableDefinition, root: RegisteredResource['root']): RegisteredResource {
  return { ...resource, table, root, validators: compileValidators(resource) };
}
