/** Random choices that a seed repeats: the same on every machine and runtime. Nothing of it is secret. */
import type { Bytes } from "../../src/bytes.ts";

/** FNV-1a of 32 bits, of the UTF-16 code units. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return value >>> 0;
}

/** A stream of random numbers: xoshiro128** 1.1 (Blackman, Vigna), its state filled by splitmix32. */
export class Random {
  readonly #state = new Uint32Array(4);

  /** @param seed any text. */
  constructor(seed: string) {
    let state = hash(seed);
    for (let i = 0; i < 4; i++) {
      state = (state + 0x9e3779b9) | 0;
      let mixed = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
      mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
      this.#state[i] = mixed ^ (mixed >>> 16);
    }
  }

  /** 32 random bits as a number from 0 on. */
  uint32(): number {
    const state = this.#state;
    const s1 = state[1]!;
    const five = Math.imul(s1, 5);
    const result = Math.imul((five << 7) | (five >>> 25), 9);
    state[2]! ^= state[0]!;
    state[3]! ^= s1;
    state[1]! ^= state[2]!;
    state[0]! ^= state[3]!;
    state[2]! ^= s1 << 9;
    state[3] = (state[3]! << 11) | (state[3]! >>> 21);
    return result >>> 0;
  }

  /** A whole number from 0 up to but not including `end`; 0 when `end` is 0. */
  below(end: number): number {
    return Math.floor(this.uint32() / 0x1_0000_0000 * end);
  }

  /** A whole number from `first` to `last`. */
  between(first: number, last: number): number {
    return first + this.below(last - first + 1);
  }

  /** True once in `times` on average. */
  oneIn(times: number): boolean {
    return this.below(times) === 0;
  }

  /** One of them. */
  pick<T>(choices: readonly T[]): T {
    if (choices.length === 0) throw new RangeError("nothing to pick from");
    return choices[this.below(choices.length)] as T;
  }

  /** Random bytes. */
  bytes(length: number): Bytes {
    return Uint8Array.from({ length }, () => this.uint32() >>> 24);
  }
}
