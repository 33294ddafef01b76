/** Writes that come while the process is behind are refused before anything is done for them. Reads go on. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { FastifyInstance } from 'fastify';
import { UnavailableError } from './errors.ts';
import { isWrite } from './headers.ts';

export interface OverloadSettings {
  /** How late the event loop may be, as a mean over a second, before writes are refused; 0: however late. */
  readonly maxLoopDelayMs: number;
}

const WINDOW_MS = 1000;
const RESOLUTION_MS = 10;

/** To be called before the routes are made. */
export function shedWrites(app: FastifyInstance, { maxLoopDelayMs }: OverloadSettings): void {
  if (maxLoopDelayMs === 0) return;
  const isBusy = watchLoop(app, maxLoopDelayMs);
  app.addHook('onRequest', (request, _reply, done) => {
    if (isWrite(request) && isBusy()) {
      const retryAfterSeconds = 1 + Math.round(2 * Math.random());
      throw new UnavailableError('the gateway is busy; the write was not accepted', { retryAfterSeconds });
    }
    done();
  });
}

/**
 * Busy after two late windows in a row: one may be a start or a single long pause, after which there is nothing to
 * refuse. (@fastify/under-pressure goes by one, and takes one without a sample for infinitely late.)
 */
function watchLoop(app: FastifyInstance, maxLoopDelayMs: number): () => boolean {
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delays.enable();
  let lateWindows = 0;
  const timer = setInterval(() => {
    const late = delays.count > 0 && delays.mean / 1e6 - RESOLUTION_MS > maxLoopDelayMs;
    delays.reset();
    const before = lateWindows;
    lateWindows = late ? lateWindows + 1 : 0;
    if (lateWindows === 2) app.log.warn({ writes: 'refused' }, 'the event loop is late; writes are refused until it is not');
    if (before >= 2 && !late) app.log.info({ writes: 'taken' }, 'the event loop is in time; writes are taken again');
  }, WINDOW_MS);
  timer.unref();
  app.addHook('onClose', (_app, done) => {
    clearInterval(timer);
    delays.disable();
    done();
  });
  return () => lateWindows >= 2;
}
