/** The sends of a queue in a thread of their own (sender-thread.ts). A thread that dies takes its sends along, and the next call starts another. */
import { Worker } from 'node:worker_threads';
import { AdapterConfigError, PortMisuseError, PortUnavailableError } from '../errors.ts';
import type { QueueCapabilities, QueueEntry, QueueSender, SendResult } from './port.ts';

/** What the thread is asked. */
export type Ask = { readonly id: number } & (
  { readonly call: 'capabilities' | 'ping' | 'close' } | { readonly call: 'send'; readonly entries: readonly QueueEntry[] }
);

/** An error as it travels between threads: its class does not. */
export interface Failure {
  readonly name: string;
  readonly message: string;
}

/** `SendResult` as it travels. */
export type Sent = { readonly status: 'ok' } | { readonly status: 'failed' | 'unknown'; readonly error: Failure };

export type Answer = { readonly id: number } & ({ readonly value: unknown } | { readonly error: Failure });

/**
 * For a process that sends and has more to do: what a send takes of a thread, serializing and signing for SQS or waiting
 * for the disk, is done in another one.
 * @throws AdapterConfigError, as the adapter of the URL does.
 */
export async function openQueueSender(url: string): Promise<QueueSender> {
  const thread = new QueueThread(url);
  try {
    return new ThreadSender(thread, await thread.ask<QueueCapabilities>({ call: 'capabilities' }));
  } catch (error) {
    await thread.end();
    throw error;
  }
}

class ThreadSender implements QueueSender {
  readonly capabilities: QueueCapabilities;
  readonly #thread: QueueThread;

  constructor(thread: QueueThread, capabilities: QueueCapabilities) {
    this.#thread = thread;
    this.capabilities = capabilities;
  }

  async send(entries: readonly QueueEntry[]): Promise<readonly SendResult[]> {
    const results = await this.#thread.ask<readonly Sent[]>({ call: 'send', entries });
    return results.map((result) => (result.status === 'ok' ? result : { status: result.status, error: toError(result.error) }));
  }

  ping(): Promise<void> {
    return this.#thread.ask({ call: 'ping' });
  }

  close(): Promise<void> {
    return this.#thread.end();
  }
}

type Settle = PromiseWithResolvers<unknown>;
type WithoutId<T> = T extends unknown ? Omit<T, 'id'> : never;

class QueueThread {
  readonly #url: string;
  readonly #underWay = new Map<number, Settle>();
  #worker: Worker | undefined;
  #asked = 0;
  #ended = false;

  constructor(url: string) {
    this.#url = url;
  }

  ask<T>(ask: WithoutId<Ask>): Promise<T> {
    if (this.#ended) return Promise.reject(new PortUnavailableError('queue', 'it is closed'));
    const id = (this.#asked += 1);
    const answer = Promise.withResolvers<unknown>();
    this.#underWay.set(id, answer);
    (this.#worker ??= this.#start()).postMessage({ id, ...ask });
    return answer.promise as Promise<T>;
  }

  /** Lets the calls under way be answered. */
  async end(): Promise<void> {
    const closed = this.#worker && this.ask({ call: 'close' });
    this.#ended = true;
    await closed?.catch(() => {});
    await this.#worker?.terminate();
  }

  #start(): Worker {
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    const worker = new Worker(new URL(`sender-thread.${extension}`, import.meta.url), { workerData: this.#url });
    worker.on('message', (answer: Answer) => {
      const asked = this.#underWay.get(answer.id);
      this.#underWay.delete(answer.id);
      if ('value' in answer) asked?.resolve(answer.value);
      else asked?.reject(toError(answer.error));
    });
    let why = 'it was ended';
    worker.on('error', (error: Error) => (why = error.message));
    worker.on('exit', () => {
      if (this.#worker === worker) this.#worker = undefined;
      for (const { reject } of this.#underWay.values()) reject(new PortUnavailableError('queue', `the thread that sends is gone: ${why}`));
      this.#underWay.clear();
    });
    return worker;
  }
}

/** The classes that the port and its adapters name; all else is a queue that does not work. */
function toError({ name, message }: Failure): Error {
  switch (name) {
    case 'PortMisuseError':
      return new PortMisuseError(message);
    case 'AdapterConfigError':
      return new AdapterConfigError(message);
    default:
      return new PortUnavailableError('queue', message.replace(/^queue: /, ''));
  }
}
