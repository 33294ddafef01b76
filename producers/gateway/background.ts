/** What goes on after an answer. A process that is frozen between requests, as a Lambda function is, waits for it first. */
export class Background {
  readonly #works = new Set<Promise<unknown>>();

  /** `work` handles its own failure. */
  add(work: Promise<unknown>): void {
    this.#works.add(work);
    void work.finally(() => this.#works.delete(work));
  }

  /** Resolves when nothing of what was added is under way. */
  async settled(): Promise<void> {
    while (this.#works.size > 0) await Promise.all(this.#works);
  }
}
