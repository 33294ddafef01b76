/** How many requests the gateway takes: what the settings say, and for some tenants what a file says. */
import { Ajv2020 } from 'ajv/dist/2020.js';
import { RATE_NAMES, type RateName, type Rates } from '../producers/gateway/rate-limits.ts';
import { type Config, ConfigError, parseRate, RATE_FORM, SETTINGS } from './config.ts';
import { complaint, readJson } from './json-file.ts';

const FILE = SETTINGS.rateTenants.variable;

const rate = { type: 'string', format: 'rate', expects: `"off", or ${RATE_FORM}` };

const isTenants = new Ajv2020({
  strict: false,
  verbose: true,
  formats: { rate: (text: string) => text === 'off' || parseRate(text) !== undefined },
}).compile<Readonly<Record<string, Partial<Record<RateName, string>>>>>({
  type: 'object',
  expects: 'an object of tenants',
  additionalProperties: {
    type: 'object',
    expects: 'an object of rates',
    additionalProperties: false,
    properties: Object.fromEntries(RATE_NAMES.map((name) => [name, rate])),
  },
});

/**
 * By tenant. The file: `{ "t1": { "tenantWrites": "1000:5000", "callerReads": "off" } }`.
 * @throws ConfigError naming the setting or the file, the field, and what it must be.
 */
export async function readRates(config: Config): Promise<(tenant: string) => Rates> {
  const everyone: Rates = {
    tenantWrites: config.rateTenantWrites,
    tenantReads: config.rateTenantReads,
    callerWrites: config.rateCallerWrites,
    callerReads: config.rateCallerReads,
    agentWrites: config.rateAgentWrites,
    agentReads: config.rateAgentReads,
  };
  const { rateTenants: file } = config;
  if (file === undefined) return () => everyone;
  const found = await readJson(file, FILE);
  if (!isTenants(found)) throw new ConfigError(`${file} (${FILE}): ${complaint(isTenants.errors ?? [])}`);
  const tenants = new Map(
    Object.entries(found).map(([tenant, texts]) => {
      const rates = Object.entries(texts).map(([name, text]) => [name, text === 'off' ? undefined : parseRate(text)] as const);
      return [tenant, { ...everyone, ...Object.fromEntries(rates) }];
    }),
  );
  return (tenant) => tenants.get(tenant) ?? everyone;
}
