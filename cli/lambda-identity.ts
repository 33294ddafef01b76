/** Who calls the gateway as a Lambda function, as the settings say. */
import type { Background } from '../producers/gateway/background.ts';
import { createIdentity, type Identity } from '../producers/gateway/identity.ts';
import { type IdentitySource, lambdaIdentity } from '../producers/gateway/lambda/identity.ts';
import { principalsBy } from '../producers/gateway/lambda/principals.ts';
import type { Config } from './config.ts';
import { readIssuers } from './issuers.ts';
import { readPrincipals } from './principals.ts';

/** @throws ConfigError */
export async function identityFor(config: Config, sources: readonly IdentitySource[], background: Background): Promise<Identity> {
  const issuers = sources.some((source) => source !== 'iam') ? await readIssuers(config) : [];
  const rules = config.lambdaPrincipals === undefined ? [] : await readPrincipals(config.lambdaPrincipals);
  return lambdaIdentity({ sources, issuers, tokens: createIdentity(issuers, undefined, background), principals: principalsBy(rules) });
}
