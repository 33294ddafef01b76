/**
 * A queue that misbehaves as its port allows: answers are lost, messages come twice, groups come in another order,
 * visibility runs out early.
 */
import type { Provisionable } from '../adapter.ts';
import { PortUnavailableError } from '../errors.ts';
import type { Faults } from '../faults.ts';
import type { HoldsDeadLetters, Queue, QueueEntry, QueueMessage, ReceiveOptions, SendResult } from './port.ts';

type WholeQueue = Queue & Provisionable & HoldsDeadLetters;

export class FaultyQueue implements WholeQueue {
  readonly #queue: WholeQueue;
  readonly #faults: Faults;
  /** Of a receive whose answer was lost: the next one has them, as SQS's ReceiveRequestAttemptId does. */
  #lost: readonly QueueMessage[] = [];

  constructor(queue: WholeQueue, faults: Faults) {
    this.#queue = queue;
    this.#faults = faults;
  }

  get capabilities(): Queue['capabilities'] {
    return this.#queue.capabilities;
  }

  async send(entries: readonly QueueEntry[]): Promise<readonly SendResult[]> {
    const failed = (status: 'failed' | 'unknown') => entries.map((): SendResult => ({ status, error: broken('send') }));
    if (this.#faults.happens('send refused')) return failed('failed');
    const results = await this.#queue.send(entries);
    return this.#faults.happens('send answer lost') ? failed('unknown') : results;
  }

  async receive(options: ReceiveOptions): Promise<readonly QueueMessage[]> {
    if (this.#lost.length > 0) {
      const again = this.#lost;
      this.#lost = [];
      return again;
    }
    const groups = [...Map.groupBy(await this.#queue.receive(options), (message) => message.group).values()];
    const messages = this.#faults.shuffled(groups).flat();
    if (messages.length > 0 && this.#faults.happens('receive answer lost')) {
      this.#lost = messages;
      throw broken('receive');
    }
    // Whoever receives next gets them too, while they are being forwarded here.
    if (messages.length > 0 && this.#faults.happens('visibility ran out')) await this.#queue.extend(messages, 0);
    return messages;
  }

  async delete(messages: readonly QueueMessage[]): Promise<void> {
    if (this.#faults.happens('delete lost')) throw broken('delete');
    await this.#queue.delete(messages);
    if (this.#faults.happens('delete answer lost')) throw broken('delete');
  }

  async extend(messages: readonly QueueMessage[], visibilityMs: number): Promise<void> {
    if (this.#faults.happens('extend lost')) throw broken('extend');
    await this.#queue.extend(messages, visibilityMs);
  }

  async deadLetter(message: QueueMessage, reason: string): Promise<void> {
    if (this.#faults.happens('dead letter lost')) throw broken('deadLetter');
    await this.#queue.deadLetter(message, reason);
  }

  visitDeadLetters: WholeQueue['visitDeadLetters'] = (judge) => this.#queue.visitDeadLetters(judge);
  provision = (): Promise<void> => this.#queue.provision();
  ping = (): Promise<void> => this.#queue.ping();
  close = (): Promise<void> => this.#queue.close();
}

function broken(call: string): PortUnavailableError {
  return new PortUnavailableError('queue', `${call} failed: a fault that was asked for`);
}
