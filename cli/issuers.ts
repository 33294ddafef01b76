/** Whose tokens the gateway takes: one issuer of the settings, or those of the file that a setting names. */
import { Ajv2020 } from 'ajv/dist/2020.js';
import { type ClaimPath, STANDARD_CLAIMS } from '../producers/gateway/claims.ts';
import { type IssuerSettings, TOKEN_TYPES, type TokenType } from '../producers/gateway/identity.ts';
import type { KeySource } from '../producers/gateway/issuer-keys.ts';
import { type Config, ConfigError, SETTINGS } from './config.ts';
import { complaint, readJson } from './json-file.ts';

export interface OidcIssuer {
  readonly issuer: string;
  readonly jwksUrl: string;
}

const FILE = SETTINGS.oidcIssuers.variable;

/** @throws ConfigError naming the setting or the file, the field, and what it must be. */
export async function readIssuers(config: Config): Promise<readonly IssuerSettings[]> {
  const { oidcIssuer: issuer, oidcJwksUrl: jwksUrl, oidcIssuers: file } = config;
  if (file !== undefined) {
    if (issuer !== undefined || jwksUrl !== undefined) {
      throw new ConfigError(`${FILE} is set, and so is SPANWAY_OIDC_ISSUER or SPANWAY_OIDC_JWKS_URL; it must be one or the other`);
    }
    return issuersOf(await readJson(file, FILE), file, config);
  }
  if (issuer === undefined) {
    throw new ConfigError(`neither SPANWAY_OIDC_ISSUER nor ${FILE} is set: the gateway must know whose tokens it takes`);
  }
  const keys = keySourceOf({ issuer, jwksUrl }, (field) => (field === 'jwksUrl' ? 'SPANWAY_OIDC_JWKS_URL' : 'SPANWAY_OIDC_ISSUER'), config);
  return [{ ...standards(config), issuer, keys }];
}

/** An issuer that is known by its keys, with the settings of one. */
export function issuerOf(config: Config, { issuer, jwksUrl }: OidcIssuer): IssuerSettings {
  return { ...standards(config), issuer, keys: { jwksUrl } };
}

/** What the settings say of one issuer; a file's issuer may say something else. */
function standards(config: Config): Omit<IssuerSettings, 'issuer' | 'keys'> {
  return {
    audiences: [config.oidcAudience],
    algorithms: listOf(config.oidcAlgorithms, 'SPANWAY_OIDC_ALGORITHMS', ALGORITHM, 'an asymmetric signature algorithm'),
    tokenTypes: listOf(config.oidcTokenTypes, 'SPANWAY_OIDC_TOKEN_TYPES', TOKEN_TYPE, `one of ${TOKEN_TYPES.join(', ')}`) as TokenType[],
    tenants: 'any',
    claims: { ...STANDARD_CLAIMS, tenant: [config.oidcTenantClaim] },
    clockToleranceSeconds: config.oidcClockToleranceSeconds,
  };
}

/** RFC 8725, section 3.1: the keys are public, so a symmetric algorithm would let anyone sign. */
const ALGORITHM = /^(?:RS|PS|ES)(?:256|384|512)$|^EdDSA$/;
const TOKEN_TYPE = new RegExp(`^(?:${TOKEN_TYPES.map((type) => type.replace('+', '\\+')).join('|')})$`);

function listOf(text: string, variable: string, pattern: RegExp, what: string): readonly string[] {
  const list = text.split(',').map((part) => part.trim());
  const wrong = list.find((part) => !pattern.test(part));
  if (wrong !== undefined) throw new ConfigError(`${variable} holds ${JSON.stringify(wrong)}, which is not ${what}`);
  return list;
}

/** One issuer as a file has it. */
interface IssuerEntry {
  readonly issuer: string;
  readonly jwksUrl?: string;
  readonly discoveryUrl?: string;
  readonly tenants: readonly string[] | 'any';
  readonly audiences?: readonly string[];
  readonly algorithms?: readonly string[];
  readonly tokenTypes?: readonly TokenType[];
  readonly claims?: Readonly<Partial<Record<keyof typeof STANDARD_CLAIMS, string | ClaimPath>>>;
  readonly clockToleranceSeconds?: number;
}

const name = { type: 'string', minLength: 1 };
const names = { type: 'array', minItems: 1, items: name, expects: 'an array of one text or more' };
const claim = { anyOf: [name, { ...names }], expects: "a claim's name, or an array of the names that lead to it" };

/** `expects`: what a field must be, for whoever wrote something else. */
const isIssuers = new Ajv2020({ strict: false, verbose: true }).compile<readonly IssuerEntry[]>({
  type: 'array',
  minItems: 1,
  expects: 'an array of one issuer or more',
  items: {
    type: 'object',
    required: ['issuer', 'tenants'],
    additionalProperties: false,
    expects: 'an object',
    properties: {
      issuer: { ...name, expects: 'the iss of its tokens' },
      jwksUrl: { ...name, expects: 'a URL' },
      discoveryUrl: { ...name, expects: 'a URL' },
      tenants: { anyOf: [{ const: 'any' }, names], expects: 'an array of tenants, or "any"' },
      audiences: names,
      algorithms: {
        ...names,
        items: { type: 'string', pattern: ALGORITHM.source, expects: 'an asymmetric signature algorithm, as RS256, PS256, ES256 or EdDSA' },
      },
      tokenTypes: { ...names, items: { enum: TOKEN_TYPES, expects: `one of ${TOKEN_TYPES.join(', ')}` } },
      claims: {
        type: 'object',
        additionalProperties: false,
        expects: 'an object',
        properties: Object.fromEntries(Object.keys(STANDARD_CLAIMS).map((key) => [key, claim])),
      },
      clockToleranceSeconds: { type: 'integer', minimum: 0, maximum: 300, expects: 'a whole number from 0 to 300' },
    },
  },
});

function issuersOf(value: unknown, file: string, config: Config): readonly IssuerSettings[] {
  if (!isIssuers(value)) throw new ConfigError(`${file} (${FILE}): ${complaint(isIssuers.errors ?? [])}`);
  const standard = standards(config);
  return value.map((entry, i) => {
    const { jwksUrl: _jwksUrl, discoveryUrl: _discoveryUrl, claims = {}, ...given } = entry;
    const at = (field: string): string => `${file} (${FILE}): [${i}].${field}`;
    if (value.findIndex(({ issuer }) => issuer === entry.issuer) !== i) {
      throw new ConfigError(`${at('issuer')} is ${JSON.stringify(entry.issuer)} again; it must be an issuer that no other entry has`);
    }
    const { client, ...others } = Object.fromEntries(Object.entries(claims).map(([key, path]) => [key, pathOf(path)]));
    return {
      ...standard,
      ...given,
      keys: keySourceOf(entry, at, config),
      claims: { ...standard.claims, ...others, ...(client ? { client: [client] } : {}) },
    };
  });
}

function pathOf(claim: string | ClaimPath): ClaimPath {
  return typeof claim === 'string' ? [claim] : claim;
}

/** `at` says where a field was given. Without either URL it is OpenID Connect's own place (Discovery 1.0, section 4). */
function keySourceOf(
  { issuer, jwksUrl, discoveryUrl }: { readonly issuer: string; readonly jwksUrl?: string | undefined; readonly discoveryUrl?: string },
  at: (field: string) => string,
  config: Config,
): KeySource {
  if (jwksUrl !== undefined && discoveryUrl !== undefined) {
    throw new ConfigError(`${at('jwksUrl')} and discoveryUrl are both set; it must be one or the other`);
  }
  if (jwksUrl !== undefined) return { jwksUrl: checkUrl(jwksUrl, at('jwksUrl'), config) };
  if (discoveryUrl !== undefined) return { discoveryUrl: checkUrl(discoveryUrl, at('discoveryUrl'), config) };
  checkUrl(issuer, at('issuer'), config, ' where nothing else says where its keys are');
  return { discoveryUrl: `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration` };
}

/** Who can change the answer on its way can sign tokens, so it is TLS, or does not leave the machine (Discovery, section 7.1). */
function checkUrl(text: string, where: string, { production }: Config, when = ''): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isLocal = /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(url?.hostname ?? '');
  if (url?.protocol === 'https:' || (url?.protocol === 'http:' && (isLocal || !production))) return text;
  throw new ConfigError(`${where} is ${JSON.stringify(text)}; it must be ${production ? 'an https' : 'an http or https'} URL${when}`);
}
