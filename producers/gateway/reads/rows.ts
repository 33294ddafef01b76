/** Rows as JSON, and what of them is shown. */
import { decodeCell } from '../../../schemas/resource/cells.ts';
import type { Field, Resource } from '../../../schemas/resource/define.ts';
import type { Cell } from '../../../schemas/resource/table.ts';

/** A row by the names of its fields. */
export type JsonRow = Readonly<Record<string, unknown>>;

/** `cells`: of `fields`, in their order. */
export function jsonRow(fields: readonly Field[], cells: readonly Cell[]): JsonRow {
  return Object.fromEntries(fields.map((field, i) => [field.name, decodeCell(field.type, cells[i] ?? null, field.asNumber)]));
}

/** What a caller sees of a row. `readable`: the fields beside the key that policy lets it see; `wanted`: those it asked for; undefined for all. */
export interface View {
  readonly resource: Resource;
  readonly readable: ReadonlySet<string> | undefined;
  readonly wanted: ReadonlySet<string> | undefined;
}

/** The fields of the resource that are shown, in their order. */
function shownFields({ resource, readable, wanted }: View): readonly Field[] {
  if (!readable && !wanted) return resource.fields;
  return resource.fields.filter(
    (field) => (!wanted || wanted.has(field.name)) && (!readable || readable.has(field.name) || resource.key.includes(field)),
  );
}

export function shownRow(row: JsonRow, view: View): JsonRow {
  return Object.fromEntries(shownFields(view).map((field) => [field.name, row[field.name]]));
}
