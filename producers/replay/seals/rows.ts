/**
 * A ledger row as it is sealed: one try of one submission, and what one commit made of it. History keeps each try in a
 * row that is written once, so a redrive seals a new row and changes none.
 */
import { hash } from 'node:crypto';
import type { HistoryRecord } from '../../../schemas/envelope/history.ts';

/**
 * Who did what, when, on whose behalf, as one line of JSON. This text is what is hashed, byte for byte: its members and
 * their order are part of the format of a seal, see `SEAL_FORMAT`.
 */
export function rowText({ committedAt, commit, position, envelope, verdict }: HistoryRecord): string {
  const { caller, mutations, payloadHash, ifMatch, redrive } = envelope.data;
  return JSON.stringify({
    submissionId: envelope.id,
    committedAt,
    commit,
    position,
    outcome: verdict.outcome,
    reason: verdict.reason,
    detail: verdict.detail,
    caller: {
      issuer: caller.issuer,
      tenant: caller.tenant,
      subject: caller.subject,
      actor: caller.actor,
      client: caller.client,
      scopes: caller.scopes,
      roles: caller.roles,
    },
    mutations: mutations.map(({ op, resource, key }) => ({ op, resource, key })),
    ifMatch,
    payloadHash,
    redrive: redrive && { attempt: redrive.attempt, by: redrive.by, time: redrive.time, overNewer: redrive.overNewer },
    correlationId: envelope.correlationid,
    acceptedAt: envelope.time,
    // Values are not told here; a change of one is evident all the same.
    envelopeHash: sha256Hex(JSON.stringify(envelope)),
  });
}

/** What a seal keeps of a row: enough to find it and to tell whether it is the same. A leaf of the Merkle tree. */
export interface Entry {
  readonly committedAt: string;
  readonly submissionId: string;
  /** SHA-256 of the row's text, hexadecimal. */
  readonly hash: string;
}

export function entryOfRow({ committedAt, envelope }: Pick<HistoryRecord, 'committedAt' | 'envelope'>, text: string): Entry {
  return { committedAt, submissionId: envelope.id, hash: sha256Hex(text) };
}

export function entryText({ committedAt, submissionId, hash: rowHash }: Entry): string {
  return `${committedAt} ${submissionId} ${rowHash}`;
}

export function readEntry(text: string): Entry {
  const [committedAt = '', submissionId = '', rowHash = ''] = text.split(' ');
  return { committedAt, submissionId, hash: rowHash };
}

export function sha256Hex(text: string): string {
  return hash('sha256', text, 'hex');
}
