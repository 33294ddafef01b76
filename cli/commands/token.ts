/** `spanway token`: prints a development token and nothing else, on standard output. */
import type { Config } from '../config.ts';
import { signDevelopmentToken } from '../dev-issuer.ts';
import { note } from '../operator.ts';
import { ResourceFolder } from '../resource-folder.ts';

export interface TokenOptions {
  readonly tenant: string;
  readonly subject: string;
  readonly scope?: string;
  readonly actor?: string;
  readonly ttl: number;
}

export async function token(config: Config, options: TokenOptions): Promise<void> {
  const scopes = options.scope?.split(/\s+/).filter((s) => s !== '') ?? (await allScopes(config));
  const { tenant, subject, ttl: ttlSeconds, actor } = options;
  const signed = await signDevelopmentToken(
    config,
    { tenant, subject, scopes, ttlSeconds, ...(actor === undefined ? {} : { actor }) },
    (file) =>
      note(
        `made a new development key, ${file}: a gateway takes this token only if it is started with the same SPANWAY_DATA_DIR, ${config.dataDir}`,
      ),
  );
  process.stdout.write(`${signed}\n`);
}

/** Every scope that some rule of some resource asks for. */
async function allScopes(config: Config): Promise<readonly string[]> {
  const resources = await ResourceFolder.open(config.schemas);
  return [...new Set(resources.current.all().flatMap((r) => r.access.flatMap((rule) => rule.scope ?? [])))];
}
