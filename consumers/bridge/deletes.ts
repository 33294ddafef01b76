/**
 * Gathers the deletes of several shards into full calls. A message is deleted once its batch is full, once nothing
 * else of its receive is on its way, or a moment later: a shard that has to wait for the topic holds up no other.
 */
import type { QueueMessage } from '../../ports/queue/port.ts';

/** Its shard stays blocked on the queue for so much longer, at most. */
const LINGER_MS = 5;

export class Deletes {
  readonly #maxCount: number;
  readonly #remove: (batch: readonly QueueMessage[]) => Promise<void>;
  readonly #underWay = new Set<Promise<void>>();
  #gathered: QueueMessage[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** `remove` must not throw. */
  constructor(maxCount: number, remove: (batch: readonly QueueMessage[]) => Promise<void>) {
    this.#maxCount = maxCount;
    this.#remove = remove;
  }

  add(messages: readonly QueueMessage[]): void {
    this.#gathered.push(...messages);
    if (this.#gathered.length >= this.#maxCount) this.#send();
    else this.#timer ??= setTimeout(() => this.#send(), LINGER_MS);
  }

  /** Resolves when all that was added has been tried. */
  async flush(): Promise<void> {
    this.#send();
    await Promise.all(this.#underWay);
  }

  #send(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#gathered.length === 0) return;
    const call = this.#remove(this.#gathered).finally(() => this.#underWay.delete(call));
    this.#underWay.add(call);
    this.#gathered = [];
  }
}
