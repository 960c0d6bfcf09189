/** What an agent has to say: the last of it for `status`, and lines for whoever watches it in the foreground. */

/** So many lines in so long, in milliseconds; what comes above that is counted. */
const LINES = 20;
const PERIOD_MS = 10_000;

/** The notes of one agent. */
export class Journal {
  #last: string | null = null;
  #begun = -Infinity;
  #lines = 0;
  #passedOver = 0;

  /** @param tell shows a line; `null` where nobody watches. */
  constructor(readonly tell: ((line: string) => void) | null) {}

  /** Why the last thing that was refused was refused; `null` when nothing was. */
  get last(): string | null {
    return this.#last;
  }

  /** Notes why something was not done. A client can have that happen as often as it likes. */
  note(line: string): void {
    this.#last = line;
    if (this.tell === null) return;
    const now = performance.now();
    if (now - this.#begun >= PERIOD_MS) {
      if (this.#passedOver > 0) this.tell(`and ${this.#passedOver} more`);
      [this.#begun, this.#lines, this.#passedOver] = [now, 0, 0];
    }
    if (this.#lines++ < LINES) this.tell(line);
    else this.#passedOver++;
  }
}
