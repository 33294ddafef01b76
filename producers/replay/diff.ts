/** What a submission would change of the rows as they are now, for people to look at. */
import type { Store } from '../../ports/store/port.ts';
import type { Envelope, Mutation } from '../../schemas/envelope/envelope.ts';
import { rowName } from '../../schemas/resource/cells.ts';
import { mergePatch } from '../../schemas/resource/merge-patch.ts';
import type { RegisteredResource, ResourceSet } from '../../schemas/resource/registry.ts';
import type { Cell } from '../../schemas/resource/table.ts';

export interface RowChange {
  readonly row: string;
  readonly change: 'insert' | 'update' | 'delete' | 'none' | 'refused';
  /** By field, what it is and what it would be. */
  readonly fields: Readonly<Record<string, { readonly from: Cell; readonly to: Cell }>>;
  readonly why?: string;
}

type Row = ReadonlyMap<string, Cell>;

/** Several are looked at one upon the other, as they would be applied. Memory grows with the rows they touch. */
export class Preview {
  readonly #store: Store;
  readonly #resources: ResourceSet;
  readonly #rows = new Map<string, Row | undefined>();

  constructor(store: Store, resources: ResourceSet) {
    this.#store = store;
    this.#resources = resources;
  }

  async of({ data }: Envelope): Promise<readonly RowChange[]> {
    const changes: RowChange[] = [];
    for (const mutation of data.mutations) changes.push(await this.#change(data.caller.tenant, mutation));
    return changes;
  }

  async #change(tenant: string, mutation: Mutation): Promise<RowChange> {
    const { op, resource: name, key, value = {}, merge = [] } = mutation;
    const row = rowName(name, key);
    const refused = (why: string): RowChange => ({ row, change: 'refused', fields: {}, why });
    const resource = this.#resources.get(name);
    if (!resource) return refused('unknown_resource');
    const id = JSON.stringify([name, tenant, key]);
    if (!this.#rows.has(id)) this.#rows.set(id, await this.#read(resource, [tenant, ...key]));
    const before = this.#rows.get(id);
    if (op === 'insert' && before) return refused('already_exists');
    if (op === 'update' && !before) return refused('not_found');
    const written = Object.entries(value).map(([field, cell]) => {
      const isMerge = merge.includes(field) && typeof cell === 'string';
      return [field, isMerge ? mergePatch(before?.get(field) ?? null, cell) : cell] as const;
    });
    const after = op === 'delete' ? undefined : new Map([...(before ?? []), ...written]);
    this.#rows.set(id, after);
    const fields: Record<string, { from: Cell; to: Cell }> = {};
    for (const field of new Set([...(before?.keys() ?? []), ...(after?.keys() ?? [])])) {
      const [from, to] = [before?.get(field) ?? null, after?.get(field) ?? null];
      if (JSON.stringify(from) !== JSON.stringify(to)) fields[field] = { from, to };
    }
    const change = before === undefined ? (after ? 'insert' : 'none') : after === undefined ? 'delete' : 'update';
    return { row, change: change === 'update' && Object.keys(fields).length === 0 ? 'none' : change, fields };
  }

  /** Without its version, which changes with every write. */
  async #read(resource: RegisteredResource, key: readonly Cell[]): Promise<Row | undefined> {
    const fields = resource.fields.filter(
      ({ column }) => column !== resource.version?.column && !resource.table.primaryKey.includes(column),
    );
    const [cells] = await this.#store.read(
      resource.table,
      [key],
      fields.map(({ column }) => column),
    );
    return cells && new Map(fields.map(({ name }, i) => [name, cells[i] ?? null]));
  }
}
