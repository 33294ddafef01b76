/** IAM callers as principals, by patterns of their ARNs. */
import type { Caller } from '../../../schemas/envelope/envelope.ts';
import { RequestError } from '../errors.ts';

export interface PrincipalRule {
  /**
   * `*` stands for any characters and `?` for one, within one part: neither reaches over a `:` or `/`.
   * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
   */
  readonly arn: string;
  readonly tenant: string;
  readonly scopes: readonly string[];
  /** Default: the ARN, or the role session's name with `subjectFromSession`. */
  readonly subject?: string;
  /** Who assumes a role may choose the session's name, unless the role's trust policy says otherwise. */
  readonly subjectFromSession?: boolean;
  readonly roles?: readonly string[];
  readonly client?: string;
  /** The agent that it is, acting for the subject. */
  readonly actor?: string;
}

/** The first rule whose pattern fits counts. */
export type Principals = (arn: string) => Caller;

/** Its function throws RequestError (`forbidden`) where no pattern fits. */
export function principalsBy(rules: readonly PrincipalRule[]): Principals {
  const patterns = rules.map((rule) => [patternOf(rule.arn), rule] as const);
  return (arn) => {
    const rule = patterns.find(([pattern]) => pattern.test(arn))?.[1];
    if (!rule) throw new RequestError('forbidden', 'no principal is configured for this AWS identity', { context: { arn } });
    const { tenant, scopes, roles, client, actor } = rule;
    return {
      issuer: accountOf(arn),
      subject: rule.subject ?? (rule.subjectFromSession ? sessionOf(arn) : arn),
      tenant,
      scopes,
      ...(roles && roles.length > 0 ? { roles } : {}),
      ...(client === undefined ? {} : { client }),
      ...(actor === undefined ? {} : { actor }),
    };
  };
}

function patternOf(text: string): RegExp {
  const parts = text
    .split(/([*?])/)
    .map((part) => (part === '*' ? '[^:/]*' : part === '?' ? '[^:/]' : part.replace(/[\\^$.+()[\]{}|/]/g, '\\$&')));
  return new RegExp(`^${parts.join('')}$`, 'su');
}

/** The account as a principal: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html */
function accountOf(arn: string): string {
  const [, partition = '', , , account = ''] = arn.split(':');
  return `arn:${partition}:iam::${account}:root`;
}

function sessionOf(arn: string): string {
  return arn.slice(arn.lastIndexOf('/') + 1);
}
