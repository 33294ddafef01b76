/**
 * What a subscriber of Pub/Sub was sent and has not settled, whichever way it is sent: handed out within the limits, or
 * waiting here for room, in the order in which it arrived.
 */
import { messageBytes, Outstanding } from './limits.ts';
import type { Delivery, SubscriberLimits } from './port.ts';

/** A message as the server sent it. Its lease is the subscriber's to extend until `ack`. */
export interface Arrival extends Omit<Delivery, 'nack'> {
  /** Tells the server; called at most once. */
  ack(): void;
}

/** An arrival that is handed out. `settled` once it is acked, nacked, or void. */
interface Out {
  readonly arrival: Arrival;
  readonly bytes: number;
  settled: boolean;
}

export class Deliveries {
  /** Handed out and not settled, by key, in order. */
  readonly #out = new Map<string, Set<Out>>();
  /** In order. */
  #waiting: Arrival[] = [];
  #handler: ((delivery: Delivery) => void) | undefined;
  #outstanding: Outstanding | undefined;
  #paused = false;
  #ended = false;
  #handingOut = false;
  #rest: NodeJS.Immediate | undefined;
  report: (error: Error) => void = () => {};

  start(handler: (delivery: Delivery) => void, limits: SubscriberLimits): void {
    if (this.#handler || this.#ended) throw new Error('a subscriber is started once');
    this.#handler = handler;
    this.#outstanding = new Outstanding(limits);
  }

  /** Whether another arrival would have to wait. */
  get full(): boolean {
    return this.#paused || this.#waiting.length > 0;
  }

  arrive(arrivals: readonly Arrival[]): void {
    if (this.#ended) return;
    this.#waiting.push(...arrivals);
    this.#handOutWaiting();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#handOutWaiting();
  }

  /** The server takes back what waits, and will send it again. */
  dropWaiting(): void {
    this.#waiting = [];
  }

  /** Hands out nothing more. What is out is void: its ack does nothing. */
  end(): void {
    this.#ended = true;
    this.#waiting = [];
    for (const ofKey of [...this.#out.values()]) for (const out of [...ofKey]) this.#settle(out);
  }

  #handOutWaiting(): void {
    // A handler may ack at once, which makes room: the loop that called it goes on.
    if (this.#handingOut) return;
    this.#handingOut = true;
    while (!this.#paused && !this.#rest) {
      const [arrival] = this.#waiting;
      const bytes = arrival ? messageBytes(arrival) : 0;
      if (!arrival || !this.#outstanding?.hasRoom(bytes)) break;
      this.#waiting.shift();
      this.#handOut({ arrival, bytes, settled: false });
    }
    this.#handingOut = false;
  }

  #handOut(out: Out): void {
    const { arrival } = out;
    const { key } = arrival;
    this.#outstanding?.add(out.bytes);
    this.#out.set(key, (this.#out.get(key) ?? new Set<Out>()).add(out));
    const ack = (): void => {
      if (out.settled) return;
      this.#settle(out);
      arrival.ack();
      this.#handOutWaiting();
    };
    try {
      this.#handler?.({ ...arrival, ack, nack: () => this.#nack(out) });
    } catch (error) {
      this.report(error as Error);
      this.#nack(out);
    }
  }

  /**
   * It is handed out again from here, with the key's later ones behind it; their earlier deliveries are void. A nack to
   * the server could put others between: it has sent later ones that are still on their way here, and Google's emulator
   * (0.8.20) puts what is nacked behind what it has not sent yet.
   */
  #nack(nacked: Out): void {
    if (nacked.settled) return;
    const ofKey = [...(this.#out.get(nacked.arrival.key) ?? [])];
    const again = ofKey.slice(ofKey.indexOf(nacked));
    for (const out of again) this.#settle(out);
    this.#waiting.unshift(...again.map(({ arrival }) => ({ ...arrival, attempt: arrival.attempt + 1 })));
    // Other work gets its turn, also where the handler nacks whatever it is given.
    this.#rest ??= setImmediate(() => {
      this.#rest = undefined;
      this.#handOutWaiting();
    });
  }

  #settle(out: Out): void {
    out.settled = true;
    this.#outstanding?.remove(out.bytes);
    const { key } = out.arrival;
    const ofKey = this.#out.get(key);
    ofKey?.delete(out);
    if (ofKey?.size === 0) this.#out.delete(key);
  }
}
