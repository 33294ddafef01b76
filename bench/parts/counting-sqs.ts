/** A process that is fauxqs and counts the calls of SQS; `GET /calls` tells how many. It sends its parent its URL. */
import type { AddressInfo } from 'node:net';
import { buildApp } from 'fauxqs';

let calls = 0;
const app = buildApp({ logger: false });
// Every call of SQS is a POST.
app.addHook('onRequest', (request, _reply, done) => {
  if (request.method === 'POST') calls += 1;
  done();
});
app.get('/calls', () => ({ calls }));
await app.listen({ host: '127.0.0.1', port: 0 });
process.send?.(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`);
