/**
 * Long work that survives the process that does it.
 *
 * Duties of an adapter:
 * - A job that was added is there after the death of every process, with what was saved of it last.
 * - At most one worker runs a job at a time, as far as it is alive; a job whose worker died is run again, by any worker,
 *   from what was saved. So what a run does behind its last save is done twice, and must be safe to do twice.
 * - Paused, a job keeps what was saved, and goes on from there when it is resumed.
 * - An ended job (`completed`, `failed`, `cancelled`) stays readable for a week at least, and runs no more.
 * - Every failure of a call is a PortUnavailableError.
 */
export interface Jobs {
  /** Answers its id. It runs when a worker is free. */
  add(spec: unknown): Promise<string>;
  get(id: string): Promise<Job | undefined>;
  /** Newest first. */
  list(limit: number): Promise<readonly Job[]>;
  /** Asks a job to change; a run under way notices within seconds. Changes nothing of a job that has ended or is asked to cancel. */
  steer(id: string, wish: Wish): Promise<void>;
  /** Runs jobs until `stop`. */
  work(worker: JobWorker): RunningWorker;
  ping(): Promise<void>;
  close(): Promise<void>;
}

export type JobState = 'waiting' | 'active' | 'paused' | 'completed' | 'failed' | 'cancelled';
export type Wish = 'pause' | 'resume' | 'cancel';

export interface Job {
  readonly id: string;
  /** What `add` was given. JSON. */
  readonly spec: unknown;
  readonly state: JobState;
  /** What was saved last. JSON. */
  readonly progress?: unknown;
  /** Why it failed. */
  readonly error?: string;
  /** RFC 3339. */
  readonly addedAt: string;
  readonly endedAt?: string;
}

export interface JobWorker {
  /** Jobs run at once. */
  readonly concurrency: number;
  /** The job is done when it resolves, and has failed when it rejects, unless its signal has aborted. */
  readonly run: (job: JobRun) => Promise<void>;
  /** Hears of failures of the job store; the worker goes on trying. */
  readonly onError: (error: Error) => void;
}

export interface JobRun {
  readonly id: string;
  readonly spec: unknown;
  readonly progress?: unknown;
  /** Aborts when the job is paused or cancelled, belongs to another worker by now, or the worker stops: end soon. */
  readonly signal: AbortSignal;
  /** Durable when it resolves. JSON. */
  save(progress: unknown): Promise<void>;
}

export interface RunningWorker {
  /** Takes no more jobs, ends the runs, and gives them back, so that another worker goes on with them. */
  stop(): Promise<void>;
}
