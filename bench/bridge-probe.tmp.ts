import { randomUUID } from 'node:crypto';
import { Session } from 'node:inspector/promises';
import { writeFileSync } from 'node:fs';
import { pino } from 'pino';
import { startBridge } from '../consumers/bridge/bridge.ts';
import { bound } from '../test/fixtures/queues.ts';
import { onNewServers } from './bridge-servers.ts';
import { orderEnvelope, packsOf } from './packs.ts';
import { readFileSync, readdirSync } from 'node:fs';
function tree(): Record<string, number> {
  const ps = readdirSync('/proc')
    .filter((x) => /^\d+$/.test(x))
    .flatMap((x) => {
      try {
        const t = readFileSync(`/proc/${x}/stat`, 'utf8');
        const f = t.slice(t.lastIndexOf(')') + 2).split(' ');
        return [
          {
            pid: Number(x),
            ppid: Number(f[1]),
            cpu: (Number(f[11]) + Number(f[12])) * 10,
            cmd: readFileSync(`/proc/${x}/cmdline`, 'utf8'),
          },
        ];
      } catch {
        return [];
      }
    });
  const out: Record<string, number> = {};
  const walk = (pid: number) => {
    for (const q of ps)
      if (q.ppid === pid) {
        const n = q.cmd.includes('.jar') ? 'java' : q.cmd.includes('fauxqs-server') && !q.cmd.includes('watcher') ? 'fauxqs' : undefined;
        if (n) out[n] = q.cpu;
        walk(q.pid);
      }
  };
  walk(process.pid);
  return out;
}
const R = Number(process.env['RECEIVERS'] ?? 2),
  size = Number(process.env['SIZE'] ?? 1),
  N = Number(process.env['N'] ?? 6000);
function entries(n: number) {
  return packsOf(
    Array.from({ length: n * size }, () => orderEnvelope()),
    size,
  ).map((p) => ({ group: String(p.shard), deduplicationId: randomUUID(), body: p.body, attributes: { ...p.attributes } }));
}
await onNewServers(console.log, async (servers) => {
  for (const n of [3000, N, N, N]) {
    const es = entries(n);
    const line = await servers.line(es);
    const t: Record<string, number[]> = { receive: [], rn: [], publish: [], pn: [], delete: [], dn: [] };
    let left = es.length;
    const done = Promise.withResolvers<void>();
    const timed = async (k: string, w: () => Promise<any>) => {
      const s = performance.now();
      try {
        return await w();
      } finally {
        t[k]!.push(performance.now() - s);
      }
    };
    const real = line.topic.publisher();
    const queue = {
      ...bound(line.queue),
      receive: async (o: any) => {
        const m = await timed('receive', () => line.queue.receive(o));
        t.rn!.push(m.length);
        return m;
      },
      delete: async (ms: any) => {
        t.dn!.push(ms.length);
        await timed('delete', () => line.queue.delete(ms));
        left -= ms.length;
        if (left === 0) done.resolve();
      },
    };
    const ins = new Session();
    ins.connect();
    await ins.post('Profiler.enable');
    await ins.post('Profiler.start');
    const tr0 = tree();
    const cpu0 = process.cpuUsage();
    const s = performance.now();
    const b = startBridge({
      queue: queue as any,
      publisher: {
        capabilities: real.capabilities,
        publish: (k, m) => {
          t.pn!.push(m.length);
          return timed('publish', () => real.publish(k, m));
        },
        ping: () => real.ping(),
        close: () => real.close(),
      },
      log: pino({ level: 'warn' }),
      onFatal: console.error,
      settings: { receivers: R, receiveWaitMs: 20000, visibilityMs: 30000, backoff: { minMs: 50, maxMs: 10000 } },
    });
    await done.promise;
    const ms = performance.now() - s;
    const cpu = process.cpuUsage(cpu0);
    console.log(
      `${((es.length / ms) * 1000).toFixed(0)} packs/s, own cpu ${((cpu.user + cpu.system) / 1000 / ms).toFixed(2)} cores, ${((cpu.user + cpu.system) / es.length).toFixed(0)} us/pack; ${Object.entries(
        tree(),
      )
        .map(([k, v]) => `${k} ${(((v - (tr0[k] ?? 0)) * 1000) / es.length).toFixed(0)}`)
        .join(', ')}`,
      Object.fromEntries(Object.entries(t).map(([k, v]) => [k, `${v.length}x ${(v.reduce((a, x) => a + x, 0) / v.length).toFixed(2)}`])),
    );
    writeFileSync('/tmp/bb/last.cpuprofile', JSON.stringify((await ins.post('Profiler.stop')).profile));
    ins.disconnect();
    await b.stop();
    await line.queue.close();
  }
});
process.exit(0);
