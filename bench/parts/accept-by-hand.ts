/**
 * The route as people write it by hand: Fastify validates the body, jose verifies the token, and each request is one
 * `SendMessage` with the row as its group. Without a queue URL it answers at once. It sends its parent its URL.
 */
import { randomUUID } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { SendMessageCommand } from '@aws-sdk/client-sqs';
import Fastify from 'fastify';
import { importJWK, type JWK, jwtVerify } from 'jose';
import { sqsClient } from './bridge-servers.ts';

const [jwk = '', queueUrl] = process.argv.slice(2);
const key = await importJWK(JSON.parse(jwk) as JWK, 'ES256');
const sqs = queueUrl === undefined ? undefined : sqsClient(queueUrl);
const app = Fastify();

const schema = {
  body: {
    type: 'object',
    required: ['customer', 'status'],
    additionalProperties: false,
    properties: {
      customer: { type: 'string', maxLength: 200 },
      status: { type: 'string', enum: ['open', 'paid', 'shipped', 'cancelled'] },
      total: { type: 'string', pattern: '^-?\\d{1,29}(\\.\\d{1,9})?$' },
      note: { type: 'string', maxLength: 2000 },
      metadata: {},
    },
  },
};

app.put<{ Params: { id: string } }>('/v1/orders/:id', { schema }, async (request, reply) => {
  const token = request.headers.authorization?.slice('Bearer '.length) ?? '';
  const { payload } = await jwtVerify(token, key, { issuer: 'urn:spanway:development', audience: 'spanway' });
  if (!String(payload['scope']).split(' ').includes('orders:write')) return reply.code(403).send({ error: 'forbidden' });
  const id = randomUUID();
  const body = JSON.stringify({ id, tenant: payload['tenant'], subject: payload.sub, orderId: request.params.id, order: request.body });
  await sqs?.send(
    new SendMessageCommand({ QueueUrl: queueUrl, MessageGroupId: request.params.id, MessageDeduplicationId: id, MessageBody: body }),
  );
  return reply.code(202).send({ id, status: 'accepted' });
});

await app.listen({ host: '127.0.0.1', port: 0 });
process.send?.(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`);
