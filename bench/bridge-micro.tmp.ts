import { v1 } from '@google-cloud/pubsub';
import { orderedPublish } from './bridge-runs.ts';
import { onNewServers, packEntries } from './bridge-servers.ts';
import { clientOptions, readPubsubUrl } from '../ports/topic/pubsub-client.ts';
const es = packEntries(Number(process.argv[2] ?? 1), 6000);
await onNewServers(console.log, async (s) => {
  const line = await s.line([]);
  const cpu = async (name: string, n: number, w: () => Promise<unknown>) => { const c = process.cpuUsage(); const t = performance.now(); await w(); const d = process.cpuUsage(c); console.log(name.padEnd(24), `own ${((d.user + d.system) / n).toFixed(0)} us/call (sys ${(d.system / n).toFixed(0)}), ${(n / (performance.now() - t) * 1000).toFixed(0)}/s`); };
  for (let i = 0; i < 3; i++) await cpu('adapter', es.length, () => orderedPublish(line, es, 1));
  const client = new v1.PublisherClient(await clientOptions(readPubsubUrl(new URL(line.topicAddress))));
  await client.initialize();
  const topic = `projects/${line.projectId}/topics/${line.topicId}`;
  const run = async (pub: (key: string, e: any) => Promise<unknown>) => { await Promise.all([...Map.groupBy(es, (e) => e.group)].map(async ([k, own]) => { for (const e of own) await pub(k, e); })); };
  const stub: any = await (client as any).publisherStub;
  const msg = (k: string, e: any) => ({ topic, messages: [{ data: Buffer.from(e.body), attributes: e.attributes, orderingKey: k }] });
  for (let i = 0; i < 2; i++) {
    await cpu('stub', es.length, () => run((k, e) => new Promise((res, rej) => stub.publish(msg(k, e), (er: any, r: any) => er ? rej(er) : res(r)))));
    await cpu('stub+deadline', es.length, () => run((k, e) => new Promise((res, rej) => stub.publish(msg(k, e), new (stub.constructor as any === Object ? Object : Object)(), { deadline: Date.now() + 10000 }, (er: any, r: any) => er ? rej(er) : res(r)))).catch((x) => console.log(String(x).slice(0, 200))));
    await cpu('adapter', es.length, () => orderedPublish(line, es, 1));
  }
  // raw http2
  const http2 = await import('node:http2');
  const proto: any = (await import('@google-cloud/pubsub')).protos;
  const Req = proto.google.pubsub.v1.PublishRequest; const Res = proto.google.pubsub.v1.PublishResponse;
  const ses = http2.connect(`http://${line.emulator}`);
  const raw = (k: string, e: any) => new Promise((res, rej) => {
    const b = Req.encode(msg(k, e)).finish(); const f = Buffer.allocUnsafe(5 + b.length); f[0] = 0; f.writeUInt32BE(b.length, 1); f.set(b, 5);
    const st = ses.request({ ':method': 'POST', ':path': '/google.pubsub.v1.Publisher/Publish', 'content-type': 'application/grpc', te: 'trailers' });
    const ch: Buffer[] = []; st.on('data', (d) => ch.push(d)); st.on('error', rej); let status: any; st.on('trailers', (t) => { status = t['grpc-status']; }); st.on('end', () => { if (status !== '0') rej(new Error('status ' + status)); else res(Res.decode(Buffer.concat(ch).subarray(5))); }); st.end(f);
  });
  for (let i = 0; i < 2; i++) await cpu('raw http2', es.length, () => run(raw));
});
process.exit(0);
