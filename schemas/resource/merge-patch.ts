/** JSON Merge Patch (RFC 7396) on the text of a JSON column. */
import { jsonText } from './cells.ts';

/** `target` and `patch` are JSON texts; a null target is a column without a value. */
export function mergePatch(target: unknown, patch: string): string {
  return jsonText(merge(typeof target === 'string' ? JSON.parse(target) : undefined, JSON.parse(patch)));
}

/** https://www.rfc-editor.org/rfc/rfc7396#section-2 */
function merge(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const result = new Map<string, unknown>(isObject(target) ? Object.entries(target) : []);
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) result.delete(name);
    else result.set(name, merge(result.get(name), value));
  }
  // Object.fromEntries defines own members, so a member named __proto__ is data like any other.
  return Object.fromEntries(result);
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
