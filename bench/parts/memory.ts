/** The memory of a process of its own, sampled while it works off an amount. */
import { fork } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';

const SAMPLE_MS = 100;
const MEBIBYTE = 1024 * 1024;
/** So that the child finds the package by its name. */
const RESOLVE = new URL('../../test/fixtures/resolve-spanway.ts', import.meta.url);

/** What the child tells. */
interface Sample {
  /** What is not done yet, from the whole amount down to 0. */
  readonly left: number;
  readonly rssBytes: number;
  /** Of the first and the last one: after a garbage collection, what is still held. */
  readonly liveBytes?: number;
}

interface MemoryFigures {
  readonly startMiB: number;
  readonly peakOfFirstHalfMiB: number;
  readonly peakMiB: number;
  readonly endMiB: number;
  readonly liveAtStartMiB: number;
  readonly liveAtEndMiB: number;
}

/** Runs a file that calls `working`, until it ends. */
export async function memoryOf(file: URL, args: readonly string[], amount: number, say: (line: string) => void): Promise<MemoryFigures> {
  const samples: Sample[] = [];
  let told = 10;
  const child = fork(file, [...args], { execArgv: ['--expose-gc', '--import', RESOLVE.href] });
  child.on('message', (sample: Sample) => {
    samples.push(sample);
    const percent = 100 - (sample.left / amount) * 100;
    if (percent < told) return;
    say(`${percent.toFixed(0)}%: ${(sample.rssBytes / MEBIBYTE).toFixed(0)} MiB`);
    told = Math.floor(percent / 10) * 10 + 10;
  });
  await new Promise<void>((resolve, reject) => {
    child.once('exit', (code) => (code === 0 ? resolve() : reject(new Error(`the measured process ended with ${code}`))));
  });
  const mib = (of: readonly Sample[]): number => Math.max(...of.map((sample) => sample.rssBytes)) / MEBIBYTE;
  const live = samples.flatMap(({ liveBytes }) => (liveBytes === undefined ? [] : [liveBytes / MEBIBYTE]));
  const figures = {
    startMiB: mib(samples.slice(0, 1)),
    peakOfFirstHalfMiB: mib(samples.filter((sample) => sample.left > amount / 2)),
    peakMiB: mib(samples),
    endMiB: mib(samples.slice(-1)),
    liveAtStartMiB: live.at(0) ?? Number.NaN,
    liveAtEndMiB: live.at(-1) ?? Number.NaN,
  };
  say(
    `resident size: ${figures.startMiB.toFixed(0)} MiB at the start, at most ${figures.peakOfFirstHalfMiB.toFixed(0)} in the first half, ` +
      `at most ${figures.peakMiB.toFixed(0)} over all, ${figures.endMiB.toFixed(0)} at the end; ` +
      `held after a garbage collection: ${figures.liveAtStartMiB.toFixed(0)} MiB at the start, ${figures.liveAtEndMiB.toFixed(0)} at the end`,
  );
  return figures;
}

/** In the child: does the work, and tells the parent how large the process is. It ends the process. */
export async function working(left: () => number, work: () => Promise<unknown>): Promise<never> {
  const tell = (sample: Partial<Sample> = {}): void => {
    process.send?.({ left: left(), rssBytes: process.memoryUsage.rss(), ...sample } satisfies Sample);
  };
  tell({ liveBytes: liveBytes() });
  const timer = setInterval(() => tell(), SAMPLE_MS);
  await work();
  clearInterval(timer);
  tell({ liveBytes: liveBytes() });
  // For the pipe to the parent to be read.
  await sleep(SAMPLE_MS);
  process.exit(0);
}

/** What is held once the garbage is gone: the resident size also has what V8 and the C library keep for the next time. */
function liveBytes(): number {
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
