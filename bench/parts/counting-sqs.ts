/** A process that is fauxqs and counts the calls of SQS; `GET /calls` tells how many of each. It sends its parent its URL. */
import type { AddressInfo } from 'node:net';
import { buildApp } from 'fauxqs';

const calls: Record<string, number> = {};
const app = buildApp({ logger: false });
app.addHook('onRequest', (request, _reply, done) => {
  const { 'x-amz-target': target } = request.headers;
  if (typeof target === 'string') calls[target] = (calls[target] ?? 0) + 1;
  done();
});
app.get('/calls', () => calls);
await app.listen({ host: '127.0.0.1', port: 0 });
process.send?.(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`);
