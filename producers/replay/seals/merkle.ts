/**
 * The Merkle tree hash of RFC 9162, section 2.1.1, as leaves come: of n leaves, log2(n) nodes are kept.
 * https://www.rfc-editor.org/rfc/rfc9162#section-2.1.1
 */
import { hash } from 'node:crypto';

/** A leaf cannot pass for a node: their hashes begin with different bytes. */
const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);

export class MerkleTree {
  /** The roots of complete subtrees, the largest first: one for each 1 in the binary number of the leaves. */
  readonly #subtrees: Buffer[] = [];
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(leaf: Uint8Array): void {
    let node = sha256(LEAF, leaf);
    for (let rest = this.#count; rest % 2 === 1; rest = Math.floor(rest / 2)) node = sha256(NODE, this.#subtrees.pop() as Buffer, node);
    this.#subtrees.push(node);
    this.#count += 1;
  }

  /** 32 bytes. */
  root(): Buffer {
    if (this.#count === 0) return sha256();
    return this.#subtrees.reduceRight((right, left) => sha256(NODE, left, right));
  }
}

function sha256(...parts: readonly Uint8Array[]): Buffer {
  return hash('sha256', Buffer.concat(parts), 'buffer');
}
