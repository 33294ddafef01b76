/**
 * What API Gateway vouches for in an event's request context, which no caller can write to: the claims that an
 * authorizer let through, or the ARN of a caller whose signature (SigV4) it checked.
 */
import { type GatewayEvent, type HttpApiEvent, isHttpApiEvent, type RestApiEvent } from './event.ts';

/**
 * How claims arrive. `jwt`, of an HTTP API's JWT authorizer, and `cognito`, of a REST API's Cognito authorizer: all as
 * texts. `json`, of an HTTP API's Lambda authorizer: as the authorizer gave them. `text`, of a REST API's Lambda
 * authorizer: as the authorizer gave them, which can be texts alone.
 */
export type ClaimForm = 'jwt' | 'cognito' | 'json' | 'text';

export interface VouchedClaims {
  readonly form: ClaimForm;
  readonly values: Readonly<Record<string, unknown>>;
}

export interface Vouched {
  readonly claims?: VouchedClaims;
  /** Of the IAM user or role session that signed the request. */
  readonly arn?: string;
}

export function vouchedFor(event: GatewayEvent): Vouched {
  return isHttpApiEvent(event) ? byHttpApi(event) : byRestApi(event);
}

function byHttpApi({ requestContext }: HttpApiEvent): Vouched {
  const { jwt, lambda, iam } = objectOf(requestContext.authorizer) ?? {};
  const arn = textOf(objectOf(iam)?.['userArn']);
  if (arn !== undefined) return { arn };
  const claims = objectOf(objectOf(jwt)?.['claims']);
  if (claims) return { claims: { form: 'jwt', values: claims } };
  const context = objectOf(lambda);
  return context ? { claims: { form: 'json', values: context } } : {};
}

function byRestApi({ requestContext: { authorizer, identity, stage } }: RestApiEvent): Vouched {
  const context = objectOf(authorizer);
  // Only the Cognito authorizer gives an object: a Lambda authorizer's context is flat.
  const claims = objectOf(context?.['claims']);
  if (claims) return { claims: { form: 'cognito', values: claims } };
  // https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-output.html
  if (context && textOf(context['principalId']) !== undefined) return { claims: { form: 'text', values: context } };
  // Of a method with AWS_IAM all of these are there, and no authorizer; a test from the console has them for any method.
  const { userArn, user, caller, accessKey } = objectOf(identity) ?? {};
  const arn = textOf(userArn);
  const isSigned = [user, caller, accessKey].every((part) => textOf(part) !== undefined) && stage !== 'test-invoke-stage';
  return arn !== undefined && isSigned ? { arn } : {};
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
