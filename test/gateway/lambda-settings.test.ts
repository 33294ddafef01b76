/** What the settings say of the gateway as a Lambda function: its principals, its identity, its adapters. */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { readConfig } from '../../cli/config.ts';
import { signDevelopmentToken, startDevelopmentIssuer } from '../../cli/dev-issuer.ts';
import { newKeyLine } from '../../cli/keys.ts';
import { gatewayHandlerFromEnvironment } from '../../cli/lambda.ts';
import { readPrincipals } from '../../cli/principals.ts';
import { openQueue } from '../../ports/queue/index.ts';
import type { GatewayEvent } from '../../producers/gateway/lambda/event.ts';
import type { GatewayAnswer } from '../../producers/gateway/lambda/handler.ts';
import { type PrincipalRule, principalsBy } from '../../producers/gateway/lambda/principals.ts';
import { httpApiEvent, iamAuthorizer, ROLE_SESSION } from '../fixtures/gateway-events.ts';
import { preparedStore, spannerUrl } from '../fixtures/stores.ts';
import { describeWithServer } from '../servers.ts';
import { temporaryFolder } from '../temp.ts';

const role = (name: string): string => `arn:aws:sts::123456789012:assumed-role/${name}`;
const rule = (arn: string, more: Partial<PrincipalRule> = {}): PrincipalRule => ({ arn, tenant: 't1', scopes: ['orders:read'], ...more });

describe('the pattern of a principal', () => {
  it.each<[pattern: string, fits: readonly string[], doesNot: readonly string[]]>([
    [
      role('orders-*/*'),
      [role('orders-a/s'), role('orders-/s'), role('orders-a-b/s.t@x')],
      [
        role('orders-a/s/t'),
        role('orders-a'),
        role('xorders-a/s'),
        role('Orders-a/s'),
        'arn:aws:sts::123456789012:assumed-role/orders-a:x/s',
        'arn:aws-cn:sts::123456789012:assumed-role/orders-a/s',
        'arn:aws:sts::210987654321:assumed-role/orders-a/s',
      ],
    ],
    [
      role('orders-?/job'),
      [role('orders-1/job')],
      [role('orders-/job'), role('orders-12/job'), role('orders-//job'), role('orders-1/jobs')],
    ],
    [role('a.b+c(d)/*'), [role('a.b+c(d)/s')], [role('axb+c(d)/s'), role('a.bbc(d)/s')]],
    ['arn:aws:iam::123456789012:user/team/*', ['arn:aws:iam::123456789012:user/team/u1'], ['arn:aws:iam::123456789012:user/team/a/u1']],
  ])('%s stays within its parts', (pattern, fits, doesNot) => {
    const principals = principalsBy([rule(pattern)]);
    for (const arn of fits) expect(principals(arn)).toMatchObject({ tenant: 't1', subject: arn });
    for (const arn of doesNot) expect(() => principals(arn), arn).toThrow('no principal is configured for this AWS identity');
  });

  it('that comes first counts', () => {
    const principals = principalsBy([
      rule(role('orders-admin/*'), { subject: 'admin', scopes: ['orders:write'], roles: ['admin'], client: 'cli', actor: 'robot' }),
      rule(role('orders-*/*'), { subjectFromSession: true, roles: [] }),
    ]);
    const issuer = 'arn:aws:iam::123456789012:root';
    expect(principals(role('orders-admin/s'))).toEqual({
      ...{ issuer, subject: 'admin', tenant: 't1', scopes: ['orders:write'] },
      ...{ roles: ['admin'], client: 'cli', actor: 'robot' },
    });
    expect(principals(role('orders-x/s'))).toEqual({ issuer, subject: 's', tenant: 't1', scopes: ['orders:read'] });
  });
});

describe('the file of principals', () => {
  async function read(value: unknown): Promise<unknown> {
    const file = join(await temporaryFolder(), 'principals.json');
    await writeFile(file, typeof value === 'string' ? value : JSON.stringify(value));
    return readPrincipals(file);
  }

  it('is read as it is', async () => {
    const rules = [
      rule(role('orders-*/*'), { subjectFromSession: true }),
      rule('arn:aws-us-gov:iam::123456789012:user/a/b', { subject: 'u', roles: ['r'], client: 'c', actor: 'a' }),
      rule('arn:aws:iam::123456789012:root'),
      rule('arn:aws:sts::123456789012:federated-user/f'),
    ];
    expect(await read(rules)).toEqual(rules);
  });

  it.each<[value: unknown, complaint: string | RegExp]>([
    ['{', /cannot read .*principals\.json \(SPANWAY_LAMBDA_PRINCIPALS\); it must be a JSON file: /],
    [{}, 'the whole is {}; it must be an array of one principal or more'],
    [[], 'the whole is []; it must be an array of one principal or more'],
    [[{ tenant: 't1', scopes: [] }], '[0].arn is missing; it must be the ARN of callers with their account in full'],
    [[{ arn: role('a/*'), scopes: [] }], '[0].tenant is missing; it must be a text of 1 to 128 characters'],
    [[{ arn: role('a/*'), tenant: 't1' }], '[0].scopes is missing; it must be an array of texts'],
    [[rule(role('a/*'), { scopes: 'orders:read' as never })], '[0].scopes is "orders:read"; it must be an array of texts'],
    [[rule(role('a/*')), rule(role('b/*'), { tenant: 'x'.repeat(129) })], /\[1\]\.tenant is "x+"; it must be a text of 1 to 128/],
    [[{ ...rule(role('a/*')), scope: 'x' }], '[0].scope is no field of it; it may have arn, tenant, scopes'],
    [[rule(role('a/*')), rule(role('a/*'))], '[1].arn is "arn:aws:sts::123456789012:assumed-role/a/*" again'],
    [[rule(role('a/*'), { subject: 'x', subjectFromSession: true })], '[0].subject and subjectFromSession are both set'],
    [
      [rule('arn:aws:iam::123456789012:user/a', { subjectFromSession: true })],
      '[0].subjectFromSession is true, and "arn" is of no assumed role',
    ],
    ...[
      '*',
      role('orders-*'),
      role('*'),
      'arn:aws:iam::123456789012:role/orders',
      'arn:aws:sts::*:assumed-role/a/*',
      'arn:aws:iam::1:root',
    ].map((arn): [unknown, string] => [
      [rule(arn)],
      `[0].arn is ${JSON.stringify(arn)}; it must be the ARN of callers with their account in full`,
    ]),
  ])('is refused with its place: %j', async (value, complaint) => {
    await expect(read(value)).rejects.toThrow(complaint);
  });
});

describe('the settings of the function', () => {
  afterEach(() => vi.unstubAllEnvs());
  const right = {
    SPANWAY_QUEUE: 'sqs:https://sqs.us-east-1.amazonaws.com/123456789012/spanway.fifo',
    SPANWAY_STORE: 'spanner://p/i/d',
  };
  it.each<[settings: Record<string, string>, complaint: string]>([
    [{ SPANWAY_QUEUE: '' }, 'a Lambda function needs sqs:QUEUE_URL'],
    [{ SPANWAY_STORE: 'sqlite:x.db' }, 'SPANWAY_STORE is "sqlite:x.db"; a Lambda function needs spanner://PROJECT/INSTANCE/DATABASE'],
    [{ SPANWAY_LAMBDA_IDENTITY: 'token,jwt' }, 'SPANWAY_LAMBDA_IDENTITY holds "jwt", which is none of token, authorizer, iam'],
    [{ SPANWAY_LAMBDA_IDENTITY: 'token,' }, 'SPANWAY_LAMBDA_IDENTITY holds "", which is none of'],
    [
      { SPANWAY_LAMBDA_IDENTITY: 'token, iam' },
      'SPANWAY_LAMBDA_PRINCIPALS must be set where SPANWAY_LAMBDA_IDENTITY has iam, and only there',
    ],
    [
      { SPANWAY_LAMBDA_PRINCIPALS: 'p.json' },
      'SPANWAY_LAMBDA_PRINCIPALS must be set where SPANWAY_LAMBDA_IDENTITY has iam, and only there',
    ],
  ])('are refused where they are wrong: %j', async (settings, complaint) => {
    for (const [name, value] of Object.entries({ ...right, ...settings })) vi.stubEnv(name, value);
    await expect(gatewayHandlerFromEnvironment()).rejects.toThrow(complaint);
  });
});

describeWithServer(['sqs', 'spanner'], 'the function on the real servers', ({ sqs, spanner }) => {
  it('puts a write on the queue and reads a row, of a token and of an IAM role, once its secrets are there', async () => {
    const folder = await temporaryFolder();
    const local = readConfig({ SPANWAY_DATA_DIR: folder });
    const issuer = await startDevelopmentIssuer(local, { host: '127.0.0.1', port: 0 });
    const queueUrl = `sqs:${sqs.endpoint}/000000000000/q${randomUUID().slice(0, 8)}.fifo?region=us-east-1&credentials=local`;
    const storeUrl = spannerUrl(spanner.host);
    const queue = await openQueue(queueUrl);
    await queue.provision();
    const store = await preparedStore(storeUrl);
    const principals = join(folder, 'principals.json');
    await writeFile(principals, JSON.stringify([rule(role('orders-*/*'), { scopes: ['orders:read', 'orders:write'] })]));
    const env = {
      SPANWAY_QUEUE: queueUrl,
      SPANWAY_STORE: storeUrl,
      SPANWAY_SECRETS: `file:${folder}/keys`,
      SPANWAY_OIDC_ISSUER: issuer.issuer,
      SPANWAY_OIDC_JWKS_URL: issuer.jwksUrl,
      SPANWAY_LAMBDA_IDENTITY: 'token,iam',
      SPANWAY_LAMBDA_PRINCIPALS: principals,
      SPANWAY_LOG_LEVEL: 'silent',
    };
    const lambda = spawn(process.execPath, [fileURLToPath(new URL('../fixtures/lambda-process.ts', import.meta.url))], {
      cwd: fileURLToPath(new URL('../..', import.meta.url)),
      env: { ...process.env, ...env },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const ended = once(lambda, 'exit');
    onTestFinished(async () => {
      lambda.stdin.end();
      await ended;
      await Promise.all([queue.close(), store.close(), issuer.stop()]);
    });
    const answers = createInterface({ input: lambda.stdout })[Symbol.asyncIterator]();
    const statusOf = async (event: GatewayEvent): Promise<number> => {
      lambda.stdin.write(`${JSON.stringify(event)}\n`);
      const { value } = await answers.next();
      return (JSON.parse(value as string) as GatewayAnswer).statusCode;
    };

    const put = { method: 'PUT', path: '/v1/orders/o1', body: '{"customer":"c1","status":"open"}' };
    const json = { 'content-type': 'application/json' };
    const signed = httpApiEvent({ ...put, headers: json }, iamAuthorizer(ROLE_SESSION));
    expect(await statusOf(signed)).toBe(503);
    await mkdir(join(folder, 'keys'));
    await writeFile(join(folder, 'keys/pack-signing-keys'), newKeyLine());
    await writeFile(join(folder, 'keys/receipt-keys'), newKeyLine());
    expect(await statusOf(signed)).toBe(202);

    const token = await signDevelopmentToken(local, {
      tenant: 't1',
      subject: 'me',
      scopes: ['orders:read', 'orders:write'],
      ttlSeconds: 60,
    });
    const authorization = `Bearer ${token}`;
    expect(await statusOf(httpApiEvent({ ...put, headers: { ...json, authorization } }))).toBe(202);
    expect(await statusOf(httpApiEvent({ path: '/v1/orders/none', headers: { authorization } }))).toBe(404);
    expect(await statusOf(httpApiEvent({ path: '/v1/orders/none' }))).toBe(401);
    const bodies = await queue.receive({ maxCount: 10, waitMs: 1000, visibilityMs: 30_000 });
    expect(bodies.map(({ body }) => body).join()).toContain(`"subject":"${ROLE_SESSION}"`);
  }, 60_000);
});
