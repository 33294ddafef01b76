/** `spanway audit export` and `spanway audit verify`: sealed rows of the ledger, and whether they are as they were sealed. */
import { once } from 'node:events';
import { createReadStream, createWriteStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { finished } from 'node:stream/promises';
import { openSecrets } from '../../ports/secrets/index.ts';
import { openStore } from '../../ports/store/index.ts';
import type { Store } from '../../ports/store/port.ts';
import { exportSealed, readExportLine } from '../../producers/replay/seals/export.ts';
import { CHAIN_START } from '../../producers/replay/seals/seal.ts';
import { SEAL_MARGIN_MS } from '../../producers/replay/seals/sealer.ts';
import {
  type Expected,
  type ExportLine,
  type Finding,
  type Verified,
  verifyDatabase,
  verifyLines,
} from '../../producers/replay/seals/verify.ts';
import { type Config, ConfigError } from '../config.ts';
import { readSealVerifier } from '../keys.ts';
import { checkDataIsThere, counted, note, print, printJson, timesOf } from '../operator.ts';

export interface AuditExportOptions {
  readonly from?: string;
  readonly to?: string;
  readonly out?: string;
}

export interface AuditVerifyOptions {
  readonly file?: string;
  readonly expect?: string;
  readonly json: boolean;
}

/** Something is not as it was sealed. */
const TAMPERED = 2;
/** All that is sealed is sound, and rows that should be sealed by now are not. */
const UNSEALED = 3;
/** Beyond what a worker takes to come round, in milliseconds. */
const LATE_MS = 120_000;

/** Seals and rows as JSON lines. */
export async function auditExport(config: Config, { from, to, out }: AuditExportOptions): Promise<void> {
  const range = timesOf({ from, to });
  checkDataIsThere(config, 'store');
  await withStore(config, async (store) => {
    const output = out === undefined ? process.stdout : createWriteStream(out, { flags: 'wx', mode: 0o600 });
    if (output !== process.stdout) {
      await once(output, 'open').catch((error: unknown) => {
        throw new ConfigError(`--out ${out ?? ''}: ${(error as Error).message}; it must be a new file`);
      });
    }
    const exported = await exportSealed(store, range, async (line) => {
      if (!output.write(`${line}\n`)) await once(output, 'drain');
    });
    if (output !== process.stdout) {
      output.end();
      await finished(output);
    }
    const { rows, seals, aged, sealedTo, head } = exported;
    note(
      head === undefined
        ? 'no sealed row is in this time'
        : `${counted(rows, 'row')} under ${counted(seals, 'seal')}, the last one ${head}`,
    );
    if (aged > 0) note(`left out: ${counted(aged, 'seal')} with rows past the age limit of the ledger`);
    note(`later rows than ${sealedTo} are not sealed yet, and so not in it`);
  });
}

/** Exit codes: 0 sound, 2 tampered with, 3 not sealed for long; 1 where it could not be found out. */
export async function auditVerify(config: Config, { file, expect, json }: AuditVerifyOptions): Promise<void> {
  const expected = expect === undefined ? undefined : expectedSeal(expect);
  if (file === undefined) checkDataIsThere(config, 'store');
  const verifier = await readSealVerifier(await openSecrets(config.secrets), config.packSignature);
  const report = (finding: Finding): void => {
    if (json) printJson(finding);
    else print(lineOf(finding));
  };
  const options = { verifier, report, ...(expected ? { expected } : {}) };
  const verified =
    file === undefined
      ? await withStore(config, (store) => verifyDatabase(store, options))
      : await verifyLines(linesOf(file), file, options);
  const late = isLate(verified, config);
  if (json) printJson({ ...verified, late });
  else for (const line of summaryOf(verified, late)) print(line);
  if (verified.findings > 0) process.exitCode = TAMPERED;
  else if (late) process.exitCode = UNSEALED;
}

async function withStore<T>(config: Config, work: (store: Store) => Promise<T>): Promise<T> {
  const store = await openStore(config.store);
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

function expectedSeal(text: string): Expected {
  const [, number, hash] = /^(\d{1,15}):([0-9a-f]{64})$/.exec(text) ?? [];
  if (number === undefined || hash === undefined)
    throw new ConfigError(
      `--expect is ${JSON.stringify(text)}; it must be NUMBER:HASH, as spanway audit verify and export print the last seal`,
    );
  return { number: Number(number), hash };
}

async function* linesOf(path: string): AsyncGenerator<ExportLine> {
  const input = createReadStream(path);
  await once(input, 'open').catch((error: unknown) => {
    throw new ConfigError(`--file ${path}: ${(error as Error).message}`);
  });
  for await (const text of createInterface({ input, crlfDelay: Infinity })) yield readExportLine(text);
}

/** Longer than a worker that runs leaves rows unsealed. */
function isLate({ unsealedFrom, readAt }: Verified, { sealSeconds }: Config): boolean {
  if (unsealedFrom === undefined || readAt === undefined) return false;
  return Date.parse(readAt) - Date.parse(unsealedFrom) > sealSeconds * 1000 + SEAL_MARGIN_MS + LATE_MS;
}

function lineOf({ kind, why, seal, submissionId, committedAt, table, line }: Finding): string {
  const what = [
    kind.replace('_', ' '),
    line === undefined ? undefined : `line ${line}`,
    submissionId,
    committedAt,
    table,
    seal === undefined ? undefined : `seal ${seal}`,
  ];
  return `${what.filter((part) => part !== undefined).join('  ')}: ${why}`;
}

function summaryOf(verified: Verified, late: boolean): string[] {
  const { seals, rows, aged, unchecked, unsealed, unsealedFrom, from, to, head, findings } = verified;
  // The first seal of all covers whatever was there before it.
  const start = from === undefined || from === CHAIN_START.to ? '' : `from ${from} `;
  const parts = [
    `${counted(rows, 'row')} ${rows === 1 ? 'is as it was' : 'are as they were'} sealed, under ${counted(seals, 'seal')}${to === undefined ? '' : `, ${start}to ${to}`}`,
    ...(aged > 0 ? [`${aged} ${aged === 1 ? 'is past its' : 'are past their'} age limit`] : []),
    ...(unchecked > 0 ? [`${unchecked} cannot be checked`] : []),
    ...(unsealed > 0 ? [`${unsealed} ${unsealed === 1 ? 'is' : 'are'} not sealed yet`] : []),
  ];
  return [
    parts.join('; '),
    ...(head === undefined ? [] : [`last seal ${head}`]),
    ...(late
      ? [`rows since ${unsealedFrom ?? ''} are not sealed: no spanway replay-worker seals, or the last seals were removed (--expect tells)`]
      : []),
    findings === 0 ? 'nothing was changed' : counted(findings, 'finding'),
  ];
}
