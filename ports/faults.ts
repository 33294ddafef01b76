/**
 * Misbehaviour on request, for tests of the roles: what a real broker does once in a while, an embedded one does often.
 * Nothing of it breaks a promise of the port.
 */
import { AdapterConfigError } from './errors.ts';
import { Rng } from './rng.ts';

/** Of all calls and deliveries, how many go wrong in each way that the port's adapter knows. */
const RATE = 0.1;

/** What went wrong so far, by its name. */
export class Faults {
  readonly rng: Rng;
  readonly counts = new Map<string, number>();

  constructor(seed: number, name: string) {
    this.rng = new Rng(seed, name);
  }

  /** Whether it goes wrong in this way now. */
  happens(fault: string): boolean {
    if (!this.rng.chance(RATE)) return false;
    this.counts.set(fault, (this.counts.get(fault) ?? 0) + 1);
    return true;
  }

  /** In another order. */
  shuffled<T>(list: readonly T[]): T[] {
    const left = [...list];
    return list.map(() => left.splice(this.rng.int(0, left.length - 1), 1)[0] as T);
  }
}

/**
 * `faults=SEED` of an embedded broker's URL: a whole number, which decides what goes wrong. Absent: nothing does.
 * @throws AdapterConfigError
 */
export function readFaults(port: string, url: URL): Faults | undefined {
  const text = url.searchParams.get('faults');
  if (text === null) return undefined;
  if (!/^\d{1,9}$/.test(text))
    throw new AdapterConfigError(`${port}: faults=${text} in ${JSON.stringify(url.href)}; expected a whole number of at most 9 digits`);
  return new Faults(Number(text), port);
}
