/**
 * Values that may be lost at any time, signals that wake who waits, and token buckets. Nothing may depend on it but
 * speed and how soon a limit is felt: a caller must be right when `get` finds nothing and no signal ever comes.
 *
 * Duties of an adapter: a value is never older than its TTL. A signal reaches those who wait when it is sent, in
 * every process, at most once, and is kept for nobody. While the server is away calls throw PortUnavailableError
 * within a second and do not queue.
 */
export interface Cache {
  readonly versioned: VersionedValues;
  get(key: string): Promise<string | undefined>;
  /** Keeps it for the TTL, unless there is one. A TTL of less than a millisecond keeps nothing. */
  add(key: string, value: string, ttlMs: number): Promise<void>;
  /** Wakes every waiter on these channels. */
  signal(channels: readonly string[]): Promise<void>;
  /** Starts to listen. It is in effect when the promise resolves, so that a read after it and before `wait` misses nothing. */
  listen(channel: string): Promise<Listener>;
  /**
   * Takes one token from each bucket, or from none where one has none left. Atomic, over every process that shares
   * the cache: of a bucket, any span of time gives at most `burst` tokens and what flows in meanwhile. While the
   * server is away it is soon answered from buckets of this process alone, and `fallback` says so.
   */
  take(buckets: readonly Bucket[]): Promise<Taken>;
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** A token bucket. It is full when it is first heard of, and again when it has not been used for long enough. */
export interface Bucket {
  readonly key: string;
  /** Tokens that flow in, at most 100,000 a second. The time for one is rounded up to whole microseconds. */
  readonly perSecond: number;
  /** Tokens that it holds at most, 1 to 1,000,000. */
  readonly burst: number;
}

export interface Taken {
  readonly taken: boolean;
  /** Of each bucket, in their order. */
  readonly levels: readonly BucketLevel[];
  /** Why the server was not asked, where this process counted alone. */
  readonly fallback?: Error;
}

export interface BucketLevel {
  /** Tokens left. */
  readonly left: number;
  /** Until there is one more, in milliseconds; 0 where it is full. */
  readonly nextMs: number;
}

/**
 * Values of what changes while it is read. A version is a safe integer that grows: a value is never put over a newer
 * one, and what was outdated is neither given nor put, however late its reader comes with it. That lasts for the TTL.
 */
export interface VersionedValues {
  get(key: string): Promise<string | undefined>;
  /** The same at once, where the values are in this thread's memory. */
  getNow?(key: string): string | undefined;
  /** Unless there is a newer one, or it was outdated. */
  put(key: string, value: string, version: number, ttlMs: number): Promise<void>;
  /** Values with a lower version than `version` are gone. It reaches the other threads of a process too, where the cache is one of its memory. */
  outdate(outdated: readonly OutdatedValue[], ttlMs: number): Promise<void>;
}

export interface OutdatedValue {
  readonly key: string;
  readonly version: number;
}

export interface Listener {
  /** True when a signal came since `listen`, false after `timeoutMs` or an abort. */
  wait(timeoutMs: number, signal?: AbortSignal): Promise<boolean>;
  close(): void;
}
