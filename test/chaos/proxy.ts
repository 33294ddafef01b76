/**
 * A TCP proxy that misbehaves when told to. What was on its way when a sender died still arrives, as on a real
 * network: a request of a killed process may reach the server seconds later.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';

/**
 * - cut: connections are reset, once.
 * - refuse: as long as it lasts, new connections are reset too.
 * - slow: every chunk takes longer by `lagMs`.
 * - stall: nothing passes, then all that was held does.
 * - lose-answers: requests pass, answers are dropped, then connections are reset: half-open. A connection that lost one
 *   passes no other, whatever faults come meanwhile: TCP leaves no hole in a stream.
 */
export type Fault =
  | { readonly kind: 'cut' }
  | { readonly kind: 'refuse' | 'stall' | 'lose-answers'; readonly ms: number }
  | { readonly kind: 'slow'; readonly ms: number; readonly lagMs: number };

type Mode = Fault | { readonly kind: 'pass' };

export class Proxy {
  readonly name: string;
  readonly #server: Server;
  readonly #target: number;
  readonly #links = new Set<Link>();
  #mode: Mode = { kind: 'pass' };

  private constructor(name: string, target: number) {
    this.name = name;
    this.#target = target;
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.#accept(client));
  }

  /** In front of a port of 127.0.0.1. */
  static async start(name: string, target: number): Promise<Proxy> {
    const proxy = new Proxy(name, target);
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Resolves when the fault is over. */
  async inject(fault: Fault): Promise<void> {
    if (fault.kind === 'cut' || fault.kind === 'refuse') this.#reset();
    if (fault.kind === 'cut') return;
    this.#mode = fault;
    await new Promise((resolve) => setTimeout(resolve, fault.ms));
    this.#mode = { kind: 'pass' };
    if (fault.kind === 'lose-answers') this.#reset();
    for (const link of this.#links) link.flush();
  }

  async stop(): Promise<void> {
    this.#reset();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(client: Socket): void {
    if (this.#mode.kind === 'refuse') {
      client.on('error', () => {});
      client.resetAndDestroy();
      return;
    }
    const link = new Link(client, this.#target, () => this.#mode);
    this.#links.add(link);
    link.closed.then(
      () => this.#links.delete(link),
      () => {},
    );
  }

  #reset(): void {
    for (const link of this.#links) link.reset();
  }
}

/** Held: bytes, or the sender's end. */
type Piece = Buffer | 'end';

/** One client's connection and its own to the server. */
class Link {
  readonly closed: Promise<void>;
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #mode: () => Mode;
  #lostAnswer = false;
  readonly #held = new Map<Socket, { to: Socket; pieces: Piece[]; timer: NodeJS.Timeout | undefined }>();

  constructor(client: Socket, target: number, mode: () => Mode) {
    this.#client = client;
    this.#mode = mode;
    this.#server = connect({ port: target, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    this.#pipe(client, this.#server);
    this.#pipe(this.#server, client);
    const closes = [client, this.#server].map((socket) => new Promise<void>((resolve) => socket.once('close', () => resolve())));
    this.closed = Promise.all(closes).then(() => {});
  }

  reset(): void {
    for (const { timer } of this.#held.values()) clearTimeout(timer);
    this.#client.resetAndDestroy();
    this.#server.resetAndDestroy();
  }

  flush(): void {
    for (const from of this.#held.keys()) this.#deliver(from);
  }

  #pipe(from: Socket, to: Socket): void {
    this.#held.set(from, { to, pieces: [], timer: undefined });
    from.on('data', (chunk: Buffer) => this.#take(from, chunk));
    from.on('end', () => this.#take(from, 'end'));
    // A reset or a refused connection is told to the other side, behind what is on its way.
    from.on('error', () => this.#take(from, 'end'));
  }

  #take(from: Socket, piece: Piece): void {
    const held = this.#held.get(from);
    const mode = this.#mode();
    if (from === this.#server && piece !== 'end') this.#lostAnswer ||= mode.kind === 'lose-answers';
    if (!held || (this.#lostAnswer && from === this.#server && piece !== 'end')) return;
    held.pieces.push(piece);
    if (mode.kind === 'stall') return;
    if (mode.kind === 'slow') held.timer ??= setTimeout(() => this.#deliver(from), mode.lagMs);
    else if (held.timer === undefined) this.#deliver(from);
  }

  #deliver(from: Socket): void {
    const held = this.#held.get(from);
    if (!held) return;
    clearTimeout(held.timer);
    held.timer = undefined;
    for (const piece of held.pieces.splice(0)) {
      if (piece === 'end') {
        held.to.end();
        // What the other side has yet to say has nobody to hear it.
        if (from.destroyed) held.to.destroySoon();
      } else if (held.to.writable) held.to.write(piece);
    }
  }
}
