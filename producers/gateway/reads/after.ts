/** `Read-Consistency: after=SUBMISSION`: one's own write is there before one reads. */
import type { FastifyRequest } from 'fastify';
import { RequestError, UnavailableError } from '../errors.ts';
import { preferredWaitSeconds } from '../headers.ts';
import { findReceiptId, type ReceiptKeys } from '../receipt-keys.ts';
import type { Statuses } from '../statuses.ts';

/**
 * Resolves when the submission has its outcome. A strong read that begins after that sees what it wrote.
 * @throws RequestError (`invalid_parameter`) for what is no submission of this tenant, UnavailableError where the outcome does not come in time, or it cannot be told whose it is.
 */
export async function outcomeOf(
  id: string,
  request: FastifyRequest,
  parts: { statuses: Statuses; receiptKeys: ReceiptKeys; maxWaitSeconds: number },
): Promise<void> {
  const receipt = await findReceiptId(parts.receiptKeys, request.caller.tenant, id);
  if (!receipt) throw new RequestError('invalid_parameter', 'Read-Consistency: after must name the id of a submission');
  const seconds = preferredWaitSeconds(request.headers, parts.maxWaitSeconds) ?? parts.maxWaitSeconds;
  const { status } = await parts.statuses.statusAfterWait(id, receipt, seconds, request.raw);
  if (status === 'accepted') throw new UnavailableError('the submission that the read comes after has no outcome yet');
}
