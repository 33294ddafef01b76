/** What every local server here is: something that may be found on this machine, and then started. */
export interface LocalServer<Address> {
  /** Looks, and starts nothing. */
  find(): Promise<Found<Address> | Missing>;
}

export interface Missing {
  /** One sentence: what is not here, and what to install. */
  readonly missing: string;
}

export interface Found<Address> {
  start(options: StartOptions): Promise<Started<Address>>;
}

export interface StartOptions {
  /** Told what takes long, and why. */
  readonly log: (line: string) => void;
  /** A free one if absent. */
  readonly port?: number;
  /** Where the server may keep its data. Without it nothing is kept. */
  readonly dataDir?: string;
}

export interface Started<Address> {
  readonly address: Address;
  readonly stop: () => Promise<void>;
}
