/** What one aggregate, an order with its lines, must look like after the accepted writes in their order. */

export type Fields = Readonly<Record<string, unknown>>;

/** One mutation: of the order, or of the line with this number. */
export interface Change {
  readonly op: 'insert' | 'update' | 'upsert' | 'delete';
  readonly line?: number;
  readonly value?: Fields;
}

/** `applied`, or `rejected` and the reason. */
export type Verdict = string;

const ORDER_FIELDS = ['customer', 'status', 'total', 'note', 'metadata'];
const LINE_FIELDS = ['sku', 'quantity', 'unitPrice'];

interface State {
  readonly order: Fields | undefined;
  /** The commit timestamp of the last write that touched the order's row. */
  readonly version: string | undefined;
  readonly lines: ReadonlyMap<number, Fields>;
}

export class AggregateModel {
  #state: State = { order: undefined, version: undefined, lines: new Map() };

  /** The order as the API shows it, without its key. */
  get order(): Fields | undefined {
    const { order, version } = this.#state;
    return order && { ...order, updatedAt: version };
  }

  get lines(): ReadonlyMap<number, Fields> {
    return this.#state.lines;
  }

  /** All changes or none. `committedAt` is what the ledger says of this submission. */
  apply(changes: readonly Change[], ifMatch: string | undefined, committedAt: string): Verdict {
    const { order, version } = this.#state;
    if (ifMatch !== undefined && (order === undefined || (ifMatch !== '*' && ifMatch !== version))) return 'rejected precondition_failed';
    let state = this.#state;
    for (const change of changes) {
      const next = change.line === undefined ? changeOrder(state, change, committedAt) : changeLine(state, change, change.line);
      if (typeof next === 'string') return `rejected ${next}`;
      state = next;
    }
    this.#state = state;
    return 'applied';
  }
}

function changeOrder(state: State, { op, value = {} }: Change, version: string): State | string {
  const { order } = state;
  switch (op) {
    case 'delete':
      // The lines go with it.
      return { order: undefined, version: undefined, lines: new Map() };
    case 'insert':
      return order ? 'already_exists' : { ...state, order: wholeRow(ORDER_FIELDS, value), version };
    case 'upsert':
      return { ...state, order: wholeRow(ORDER_FIELDS, value), version };
    case 'update':
      return order ? { ...state, order: patched(order, value), version } : 'not_found';
  }
}

function changeLine(state: State, { op, value = {} }: Change, line: number): State | string {
  const before = state.lines.get(line);
  const lines = new Map(state.lines);
  switch (op) {
    case 'delete':
      lines.delete(line);
      break;
    case 'update':
      if (!before) return 'not_found';
      lines.set(line, patched(before, value));
      break;
    case 'insert':
    case 'upsert':
      if (op === 'insert' && before) return 'already_exists';
      if (!state.order) return 'parent_not_found';
      lines.set(line, wholeRow(LINE_FIELDS, value));
  }
  return { ...state, lines };
}

function wholeRow(names: readonly string[], value: Fields): Fields {
  return Object.fromEntries(names.map((name) => [name, value[name] ?? null]));
}

function patched(row: Fields, value: Fields): Fields {
  const merged = Object.entries(value).map(([name, patch]) => [name, isObject(patch) ? mergePatch(row[name], patch) : patch] as const);
  return { ...row, ...Object.fromEntries(merged) };
}

/** RFC 7396, written anew on purpose: the model shares no code with what it checks. */
function mergePatch(target: unknown, patch: Fields): Fields {
  const result: Record<string, unknown> = isObject(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) Reflect.deleteProperty(result, name);
    else result[name] = isObject(value) ? mergePatch(result[name], value) : value;
  }
  return result;
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
