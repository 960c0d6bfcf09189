/** Base64 and hex that says the same in another spelling, or nearly base64. */
import type { Random } from "./random.ts";

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const inserted = (random: Random, text: string, piece: string) => {
  const at = random.below(text.length + 1);
  return text.slice(0, at) + piece + text.slice(at);
};

const SPELLINGS: readonly ((random: Random, text: string) => string)[] = [
  (_, text) => text.replace(/=+$/, ""),
  (random, text) => text + "=".repeat(random.between(1, 4)),
  (_, text) => text.replaceAll("+", "-").replaceAll("/", "_"),
  (random, text) => inserted(random, text, random.pick([" ", "\n", "\r\n", "\t", "\f", "\u00a0", "\0"])),
  (random, text) => inserted(random, text, random.pick(["=", "-", "_", "+", "/", "!", "é", "AAAA", "A"])),
  // A pad bit, where there is padding.
  (random, text) =>
    text.replace(/[^=](?==+$)/, (last) => ALPHABET[(ALPHABET.indexOf(last) + random.between(1, 3)) % 64]!),
  (random, text) => text.slice(0, text.length - random.between(1, 4)),
  (random, text) => text.slice(random.between(1, 4)),
  (random, text) => {
    const at = random.below(text.length);
    return text.slice(0, at) + random.pick([...ALPHABET]) + text.slice(at + 1);
  },
  (_, text) => text.toLowerCase(),
  (_, text) => text.toUpperCase(),
  (_, text) => text.replaceAll(/.{64}/g, "$&\n"),
];

/** One change of a base64 or hex text; it may still mean the same. */
export function respell(random: Random, text: string): string {
  return random.pick(SPELLINGS)(random, text);
}
