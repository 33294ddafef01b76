/** The settings as they are where nobody sets any: what the benches measure. */
import { readConfig } from '../../cli/config.ts';

export const defaults = readConfig({});
export const backoff = { minMs: defaults.retryMinMs, maxMs: defaults.retryMaxMs };
