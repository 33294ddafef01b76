/** Rates and percentiles. */

/** Units a second. */
export async function rate(units: number, work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (units / (performance.now() - start)) * 1000;
}

/** The middle of several runs, so that one pause of the machine does not count. */
export async function medianOf(runs: number, run: () => Promise<number>): Promise<number> {
  const results: number[] = [];
  for (let i = 0; i < runs; i += 1) results.push(await run());
  return percentile(results, 50);
}

export function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))] ?? Number.NaN;
}
