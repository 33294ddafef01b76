/** Which IAM callers of the Lambda function are taken, and as whom: the file that a setting names. */
import { Ajv2020 } from 'ajv/dist/2020.js';
import type { PrincipalRule } from '../producers/gateway/lambda/principals.ts';
import { TENANT_TYPE } from '../schemas/resource/define.ts';
import { ConfigError, SETTINGS } from './config.ts';
import { complaint, readJson } from './json-file.ts';

const FILE = SETTINGS.lambdaPrincipals.variable;

/**
 * What API Gateway gives as `userArn`: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html.
 * The account is exact: with a pattern there, callers of any account could be let in.
 */
const ARN = String.raw`^arn:aws(?:-[a-z]+)*:(?:sts::\d{12}:(?:assumed-role/[^/:]+/[^/:]+|federated-user/[^/:]+)|iam::\d{12}:(?:user(?:/[^/:]+)+|root))$`;

const text = { type: 'string', minLength: 1 };
const texts = { type: 'array', items: { ...text, expects: 'a text that is not empty' }, expects: 'an array of texts' };

const isPrincipals = new Ajv2020({ strict: false, verbose: true }).compile<readonly PrincipalRule[]>({
  type: 'array',
  minItems: 1,
  expects: 'an array of one principal or more',
  items: {
    type: 'object',
    required: ['arn', 'tenant', 'scopes'],
    additionalProperties: false,
    expects: 'an object',
    properties: {
      arn: {
        type: 'string',
        pattern: ARN,
        expects:
          'the ARN of callers with their account in full, as "arn:aws:sts::123456789012:assumed-role/orders-*/*" (a role\'s name and its session) or "arn:aws:iam::123456789012:user/importer"',
      },
      tenant: { ...text, maxLength: TENANT_TYPE.maxLength, expects: `a text of 1 to ${TENANT_TYPE.maxLength} characters` },
      scopes: texts,
      subject: text,
      subjectFromSession: { const: true, expects: 'true, or left out' },
      roles: texts,
      client: text,
      actor: text,
    },
  },
});

/** @throws ConfigError naming the file, the field, and what it must be. */
export async function readPrincipals(file: string): Promise<readonly PrincipalRule[]> {
  const value = await readJson(file, FILE);
  if (!isPrincipals(value)) throw new ConfigError(`${file} (${FILE}): ${complaint(isPrincipals.errors ?? [])}`);
  value.forEach(({ arn, subject, subjectFromSession }, i) => {
    const at = (field: string): string => `${file} (${FILE}): [${i}].${field}`;
    if (value.findIndex((other) => other.arn === arn) !== i)
      throw new ConfigError(`${at('arn')} is ${JSON.stringify(arn)} again; it must be a pattern that no other entry has`);
    if (subjectFromSession && subject !== undefined)
      throw new ConfigError(`${at('subject')} and subjectFromSession are both set; it must be one or the other`);
    if (subjectFromSession && !arn.includes(':assumed-role/'))
      throw new ConfigError(`${at('subjectFromSession')} is true, and "arn" is of no assumed role, which alone has a session`);
  });
  return value;
}
