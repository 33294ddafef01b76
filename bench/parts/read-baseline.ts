/**
 * What reads are measured against, in a process of its own: a bare Fastify route that returns a row, and one that reads
 * it by one `table.read` of Google's client for each request. It tells its parent where it listens.
 */
import type { AddressInfo } from 'node:net';
import Fastify from 'fastify';

const [row = '{}', emulator = '', project = '', instance = '', database = ''] = process.argv.slice(2);
const app = Fastify();
const same = JSON.parse(row) as object;
app.get('/bare', () => same);
if (emulator !== '') {
  // As the store adapter does, before the client is loaded.
  Object.assign(process.env, {
    SPANNER_EMULATOR_HOST: emulator,
    GOOGLE_CLOUD_SPANNER_MULTIPLEXED_SESSIONS: 'false',
    GOOGLE_CLOUD_SPANNER_MULTIPLEXED_SESSIONS_FOR_RW: 'false',
  });
  const { Spanner } = await import('@google-cloud/spanner');
  const table = new Spanner({ projectId: project, universeDomain: 'googleapis.com' }).instance(instance).database(database).table('orders');
  const columns = ['order_id', 'customer', 'status', 'total', 'note', 'metadata', 'updated_at'];
  app.get<{ Params: { id: string } }>('/single/:id', async ({ params }) => {
    const [[found]] = await table.read({ keys: [['t1', params.id]], columns, json: true });
    return found;
  });
}
// It ends with its parent, however that ends.
process.once('disconnect', () => process.exit());
await app.listen({ host: '127.0.0.1', port: 0 });
process.send?.(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`);
