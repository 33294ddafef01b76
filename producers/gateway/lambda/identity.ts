/** Who calls a gateway that is a Lambda function: by its token, or by what API Gateway vouches for. A setting says which counts. */
import type { IncomingMessage } from 'node:http';
import type { Caller } from '../../../schemas/envelope/envelope.ts';
import { callerOf, claimOfAnotherToken } from '../claims.ts';
import { RequestError } from '../errors.ts';
import type { Identity, IssuerSettings } from '../identity.ts';
import { claimsOf } from './claim-texts.ts';
import type { GatewayEvent } from './event.ts';
import type { Principals } from './principals.ts';
import { type VouchedClaims, vouchedFor } from './vouched.ts';

/** `token`: the bearer token, checked here. `authorizer`: the claims that API Gateway's authorizer let through. `iam`: who signed the request. */
export const IDENTITY_SOURCES = ['token', 'authorizer', 'iam'] as const;
export type IdentitySource = (typeof IDENTITY_SOURCES)[number];

export interface LambdaIdentityParts {
  readonly sources: readonly IdentitySource[];
  /** For `token`. */
  readonly tokens: Identity;
  /** For `authorizer`: whose claims are taken, and by which rules. */
  readonly issuers: readonly IssuerSettings[];
  /** For `iam`. */
  readonly principals: Principals;
}

/** The event of a request; an object of the process, so that nothing that was sent can take its place. */
const events = new WeakMap<IncomingMessage, GatewayEvent>();

export function rememberEvent(request: IncomingMessage, event: GatewayEvent): void {
  events.set(request, event);
}

export function lambdaIdentity({ sources, tokens, issuers, principals }: LambdaIdentityParts): Identity {
  const rules = new Map(issuers.map((settings) => [settings.issuer, settings]));
  return {
    async verify(authorization, request) {
      const event = request && events.get(request);
      const { arn, claims } = event ? vouchedFor(event) : {};
      if (arn !== undefined && sources.includes('iam')) return principals(arn);
      if (claims && sources.includes('authorizer')) return callerByAuthorizer(claims, rules);
      if (sources.includes('token')) return tokens.verify(authorization, request);
      throw new RequestError('unauthenticated', 'nothing that counts here says who sent this request');
    },
  };
}

function callerByAuthorizer(vouched: VouchedClaims, rules: ReadonlyMap<string, IssuerSettings>): Caller {
  const { iss, exp } = vouched.values;
  const settings = typeof iss === 'string' ? rules.get(iss) : undefined;
  if (!settings) throw refused('iss');
  // A Lambda authorizer's answer may be an hour old: https://docs.aws.amazon.com/apigateway/latest/api/API_Authorizer.html
  const isLambdas = vouched.form === 'json' || vouched.form === 'text';
  if (isLambdas && exp !== undefined && !(Number(exp) + settings.clockToleranceSeconds > Date.now() / 1000)) throw refused('exp');
  const payload = claimsOf(vouched, settings.claims);
  const foreign = claimOfAnotherToken(payload, 'none');
  if (foreign !== undefined) throw refused(foreign);
  return callerOf(payload, settings);
}

function refused(claim: string): RequestError {
  return new RequestError('unauthenticated', `the authorizer's ${claim} claim is not accepted here`);
}
