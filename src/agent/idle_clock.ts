/** How long nothing has happened, also while the machine slept. */

/** The runtimes' monotonic clock stands still while a machine sleeps, and the other one can be set: the greater one counts. */
export class IdleClock {
  #monotonic = performance.now();
  #wall = Date.now();

  /** Begins anew. */
  start(): void {
    this.#monotonic = performance.now();
    this.#wall = Date.now();
  }

  /** Milliseconds since it began. */
  elapsedMs(): number {
    return Math.max(performance.now() - this.#monotonic, Date.now() - this.#wall);
  }
}
