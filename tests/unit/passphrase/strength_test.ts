import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8 } from "../../../src/bytes.ts";
import { generatePassphrase } from "../../../src/passphrase/passphrases.ts";
import { measureStrength } from "../../../src/passphrase/strength.ts";

const HEX = "0123456789abcdef".repeat(4);

/** A passphrase, its bits at most, and what else is said of it. Bits by hand: length times log2 of the alphabet. */
const cases: [passphrase: string, bits: number, kind: "generated" | "weak" | "strong"][] = [
  // 26, 26, 10, 33 and 161 characters.
  // The first and the last of each kind.
  ...["a", "z", "A", "Z"].map((one) => [one, 4, "weak"] as [string, number, "weak"]),
  ...["0", "9"].map((one) => [one, 3, "weak"] as [string, number, "weak"]),
  ...[..." /:@[`{~"].map((one) => [one, 5, "weak"] as [string, number, "weak"]),
  ...["\0", "\x1f", "\x7f"].map((one) => [one, 7, "weak"] as [string, number, "weak"]),
  ["abcdef", 28, "weak"],
  ["ABCDEF", 28, "weak"],
  ["012345", 19, "weak"],
  ["!@#$%^", 30, "weak"],
  ["      ", 30, "weak"],
  ["\0\x01\x02\x7f\x1f\n", 43, "weak"],
  ["aB3$", 26, "weak"],
  ["password", 37, "weak"],
  ["the lowest cost", 88, "strong"],
  ["correct horse battery staple", 164, "strong"],
  // 13 letters: 61; 14: 65.
  ["abcdefghijklm", 61, "weak"],
  ["abcdefghijklmn", 65, "strong"],
  ["01234567890123456789", 66, "strong"],
  ["0123456789012345678", 63, "weak"],
  // A long one of few characters is no random choice.
  ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 141, "weak"],
  ["abcdeabcdeabcdeabcde", 94, "weak"],
  ["abcdefabcdefabcdefab", 94, "strong"],
  ["é".repeat(20), 293, "weak"],
  ["Grüße, 世界 🔑", 158, "strong"],
  [HEX, 256, "generated"],
  [HEX.toUpperCase(), 330, "strong"],
  [HEX.slice(1), 325, "strong"],
  [`${HEX}0`, 336, "strong"],
  [`${HEX.slice(1)}g`, 330, "strong"],
  ["0".repeat(64), 212, "weak"],
  ["01234".repeat(13).slice(1), 212, "weak"],
];
for (const [passphrase, bitsAtMost, kind] of cases) {
  test(`measureStrength() of ${JSON.stringify(passphrase.slice(0, 24))} of ${passphrase.length} characters: ${kind}`, () => {
    const bytes = utf8(passphrase);
    const before = Uint8Array.from(bytes);
    assert.deepEqual(measureStrength(bytes), {
      bytes: bytes.length,
      isGenerated: kind === "generated",
      bitsAtMost,
      isWeak: kind === "weak",
    });
    assert.deepEqual(bytes, before);
  });
}

test("measureStrength() takes bytes that are no text as they stand", () => {
  assert.deepEqual(measureStrength(Uint8Array.of(0, 0x80, 0xff, 0xfe, 0x81, 0x90)).bitsAtMost, 43);
  const longest = Uint8Array.from({ length: 4096 }, (_, i) => i & 255);
  // All 256 of them: 8 bits each.
  assert.equal(measureStrength(longest).bitsAtMost, 32_768);
});

test("measureStrength() knows what generatePassphrase() makes", () => {
  for (let i = 0; i < 100; i++) {
    const strength = measureStrength(generatePassphrase());
    assert.deepEqual(strength, { bytes: 64, isGenerated: true, bitsAtMost: 256, isWeak: false });
  }
});
