import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8 } from "../../../src/bytes.ts";
import { keepPassphrase } from "../../../src/library/passphrase.ts";

test("keepPassphrase() keeps a copy, hands out copies, and wipes it when it is disposed of", async () => {
  const given = utf8("secret");
  const kept = keepPassphrase(given, false);
  const ask = kept.input.given!;
  (await ask()).fill(0);
  assert.deepEqual(await ask(), utf8("secret"));
  kept[Symbol.dispose]();
  assert.deepEqual(await ask(), new Uint8Array(6));
  assert.deepEqual(given, utf8("secret"));
});

test("keepPassphrase() of nothing leaves the sources that amesh knows", () => {
  using kept = keepPassphrase(undefined, false);
  assert.equal(kept.input.given, undefined);
  assert.equal(kept.input.keepsEnvironment, true);
});

test("keepPassphrase() takes no string: another source would stand in for it", () => {
  const given = "secret" as unknown as Uint8Array;
  assert.throws(() => keepPassphrase(given, false), { name: "TypeError", message: /neither a Uint8Array/ });
});
