/** How many requests the gateway takes: what the settings say, and for some tenants what a file says. */
import { readFile } from 'node:fs/promises';
import { RATE_NAMES, type RateName, type Rates } from '../producers/gateway/rate-limits.ts';
import { type Config, ConfigError, parseRate, RATE_FORM, SETTINGS } from './config.ts';

const FILE = SETTINGS.rateTenants.variable;

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
  const tenants = new Map(
    entriesOf(await readJson(file), `the file of ${FILE}`).map(([tenant, rates]) => {
      const where = `${FILE}, tenant ${JSON.stringify(tenant)}`;
      return [tenant, { ...everyone, ...Object.fromEntries(entriesOf(rates, where).map(([name, text]) => rateOf(name, text, where))) }];
    }),
  );
  return (tenant) => tenants.get(tenant) ?? everyone;
}

function rateOf(name: string, text: unknown, where: string): [RateName, Rates[RateName]] {
  if (!(RATE_NAMES as readonly string[]).includes(name)) {
    throw new ConfigError(`${where}: ${JSON.stringify(name)} is no rate; there are ${RATE_NAMES.join(', ')}`);
  }
  const rate = typeof text === 'string' ? parseRate(text) : undefined;
  if (!rate && text !== 'off') throw new ConfigError(`${where}: ${name} is ${JSON.stringify(text)}; it must be "off", or ${RATE_FORM}`);
  return [name as RateName, rate];
}

function entriesOf(value: unknown, where: string): [string, unknown][] {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return Object.entries(value);
  throw new ConfigError(`${where} must be a JSON object`);
}

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as unknown;
  } catch (cause) {
    throw new ConfigError(`${FILE} names ${file}, which cannot be read as JSON: ${(cause as Error).message}`);
  }
}
