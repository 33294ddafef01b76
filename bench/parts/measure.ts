/** Rates and percentiles. */

/** Units a second. */
export async function rate(units: number, work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (units / (performance.now() - start)) * 1000;
}

export function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))] ?? Number.NaN;
}

/** The middle of the quotients of two series measured in turns: what the machine does beside them changes from turn to turn. */
export function ratioInTurns(measured: readonly number[], baseline: readonly number[]): number {
  return percentile(
    measured.map((value, turn) => value / (baseline[turn] ?? Number.NaN)),
    50,
  );
}
