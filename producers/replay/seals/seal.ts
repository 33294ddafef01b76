/** A seal: what an interval of history held when it was closed, signed, and chained to the seal before. */
import type { AsOf, Store, StoreMutation } from '../../../ports/store/port.ts';
import { readSignature, type Signer, type Verifier, signatureOf, type SignedParts } from '../../../schemas/envelope/key-ring.ts';
import { SEALS } from '../../../schemas/envelope/seals.ts';
import { timestampOf } from '../../../schemas/resource/cells.ts';
import type { Cell } from '../../../schemas/resource/table.ts';
import { ReplayError } from '../errors.ts';
import { MerkleTree } from './merkle.ts';
import { type Entry, entryText, sha256Hex } from './rows.ts';

/** Stands before what is hashed and signed. Another form of seals or of `rowText` gets another number. */
const SEAL_FORMAT = 'spanway seal 1\n';

export interface Seal {
  /** 1 for the first, without a gap. */
  readonly number: number;
  /** Of the commit timestamps that it covers, RFC 3339 in UTC: the `to` of the seal before. */
  readonly from: string;
  /** Commits from here on belong to later seals. */
  readonly to: string;
  readonly count: number;
  /** Merkle tree hash of the entries, in the order of history. Hexadecimal, as all hashes here. */
  readonly root: string;
  /** The hash of the seal before; zeros for the first. */
  readonly previous: string;
  /** A time of the database after which no commit could fall into the interval any more. */
  readonly sealedAt: string;
}

export interface SealRecord {
  readonly seal: Seal;
  readonly hash: string;
  /** `ALGORITHM;KEY_ID;BASE64URL` */
  readonly signature: string;
  /** A line each of `entryText`. */
  readonly entries: readonly string[];
}

/** Clocks that remove old rows may be ahead of the time that is read by this much. */
const AGE_SKEW_MS = 60_000;

/** Rows from before this time may be past an age limit of so many days. */
export function mayBeGoneBefore(now: string, days: number): string {
  return daysBefore(now, days, AGE_SKEW_MS);
}

export function daysBefore(now: string, days: number, skewMs = 0): string {
  return timestampOf(Date.parse(now) - days * 86_400_000 + skewMs);
}

/** Before the first seal. */
export const CHAIN_START = { number: 0, to: '1970-01-01T00:00:00Z', hash: '0'.repeat(64) } as const;

/** The end of a chain. */
export interface ChainHead {
  readonly number: number;
  readonly to: string;
  readonly hash: string;
}

export function headOf({ seal, hash }: SealRecord): ChainHead {
  return { number: seal.number, to: seal.to, hash };
}

/** Gathers the rows of one interval. Memory: a line and a few nodes for each row. */
export class Interval {
  readonly #entries: string[] = [];
  readonly #tree = new MerkleTree();

  get count(): number {
    return this.#entries.length;
  }

  add(entry: Entry): void {
    const text = entryText(entry);
    this.#entries.push(text);
    this.#tree.add(Buffer.from(text));
  }

  seal(before: ChainHead, { to, sealedAt }: Pick<Seal, 'to' | 'sealedAt'>, signer: Signer): SealRecord {
    const seal: Seal = {
      number: before.number + 1,
      from: before.to,
      to,
      count: this.count,
      root: this.#tree.root().toString('hex'),
      previous: before.hash,
      sealedAt,
    };
    return { seal, hash: hashOf(seal), signature: signatureOf(partsOf(seal), signer), entries: this.#entries };
  }
}

/** Why a seal is not as it was made; undefined where it is. Its entries are compared with its root apart. */
export function faultOf({ seal, hash, signature }: SealRecord, verifier: Verifier): string | undefined {
  if (hashOf(seal) !== hash) return 'its hash is not that of its content';
  const { algorithm, keyId, signature: bytes } = readSignature(signature);
  if (algorithm !== verifier.algorithm) return `it is signed with ${algorithm}, and SPANWAY_PACK_SIGNATURE says ${verifier.algorithm}`;
  switch (verifier.verify(keyId, partsOf(seal), bytes)) {
    case undefined:
      return `it is signed with key ${keyId}, which is not among the keys: the secret must keep the lines of the keys that signed before`;
    case false:
      return 'its signature does not match';
    case true:
      return undefined;
  }
}

/** Whether these are the leaves under the seal's root. */
export function areUnderRoot(entries: readonly string[], { root, count }: Seal): boolean {
  const tree = new MerkleTree();
  for (const entry of entries) tree.add(Buffer.from(entry));
  return tree.count === count && tree.root().toString('hex') === root;
}

function partsOf(seal: Seal): SignedParts {
  return [SEAL_FORMAT, sealText(seal)];
}

function hashOf(seal: Seal): string {
  return sha256Hex(SEAL_FORMAT + sealText(seal));
}

/** In an order of its own, whatever the order in which it was read. */
function sealText({ number, from, to, count, root, previous, sealedAt }: Seal): string {
  return JSON.stringify({ number, from, to, count, root, previous, sealedAt });
}

const COLUMNS = SEALS.columns.map((c) => c.name);

/** Fails where a seal of this number is there: so a chain never forks, however many workers seal. */
export function insertOf({ seal, hash, signature, entries }: SealRecord): StoreMutation {
  const values = [String(seal.number), seal.sealedAt, sealText(seal), hash, signature, entries.join('\n')];
  return { op: 'insert', table: SEALS, columns: COLUMNS, values };
}

/** A row of SEALS as it is there; `record` is absent where it cannot be read. */
export interface SealRow {
  readonly number: number;
  readonly sealedAt: string;
  readonly record?: SealRecord;
}

/** Rows read at once: the entries of each are some hundred KB. */
const PAGE_ROWS = 16;

/** In the order of their numbers. */
export async function* readSeals(store: Store, fromNumber = 1): AsyncGenerator<SealRow, undefined> {
  for (let next = fromNumber; ;) {
    const { rows } = await readRange(store, next, false, PAGE_ROWS);
    yield* rows;
    const last = rows.at(-1);
    if (!last || rows.length < PAGE_ROWS) return undefined;
    next = last.number + 1;
  }
}

/** The one with the highest number, and the database's time. */
export async function readLastSeal(store: Store): Promise<{ readonly last?: SealRow; readonly readTimestamp: string }> {
  const { rows, readTimestamp } = await readRange(store, 1, true, 1);
  return { ...(rows[0] ? { last: rows[0] } : {}), readTimestamp };
}

async function readRange(store: Store, from: number, descending: boolean, limit: number): Promise<AsOf<SealRow>> {
  const lower = { cell: String(from), inclusive: true };
  const range = { table: SEALS, columns: COLUMNS, prefix: [], lower, descending, limit, children: [] };
  const { rows, readTimestamp } = await store.readRange(range, { freshness: 'strong' });
  return { rows: rows.map(({ cells }) => readRow(cells)), readTimestamp };
}

function readRow([number, sealedAt, text, hash, signature, entries]: readonly Cell[]): SealRow {
  const row = { number: Number(number), sealedAt: sealedAt as string };
  const seal = parseSeal(text as string);
  if (!seal) return row;
  return { ...row, record: { seal, hash: hash as string, signature: signature as string, entries: (entries as string).split('\n') } };
}

/** @throws ReplayError where somebody has made of it what is no seal */
export function readable({ number, record }: SealRow): SealRecord {
  if (record) return record;
  throw new ReplayError('seal_unreadable', `seal ${number} cannot be read, so nothing is built on it: see what spanway audit verify says`);
}

function parseSeal(text: string): Seal | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    return isSeal(parsed) ? parsed : undefined;
  } catch {
    return undefined;
  }
}

export function isSeal(value: unknown): value is Seal {
  if (typeof value !== 'object' || value === null) return false;
  const { number, from, to, count, root, previous, sealedAt } = value as Record<keyof Seal, unknown>;
  return (
    Number.isSafeInteger(number) &&
    Number.isSafeInteger(count) &&
    [from, to, root, previous, sealedAt].every((one) => typeof one === 'string')
  );
}
