import assert from "node:assert/strict";
import { existsSync, lstatSync, readFileSync, rmSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { type Bytes, utf8 } from "../../../src/bytes.ts";
import { writePassphraseFile } from "../../../src/passphrase/files.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";
import { passphrasePlace, writeOwn } from "../../support/passphrase_place.ts";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

test("writePassphraseFile() writes any passphrase so that candidates() gives the same bytes", () => {
  using place = passphrasePlace();
  using _environment = setEnvironment();
  const tail = fc.constantFrom("", "\n", "\r", "\r\n", "\n\n", "\r\r", " ");
  const passphrase = fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 40 }), tail)
    .map(([bytes, end]) => Uint8Array.of(...bytes, ...utf8(end)) as Bytes);
  fc.assert(
    fc.property(passphrase, (bytes) => {
      rmSync(place.layout.passphrase, { force: true });
      writePassphraseFile(place.layout.passphrase, bytes);
      assert.equal(lstatSync(place.layout.passphrase).mode & 0o7777, 0o400);
      using passphrases = place.passphrases();
      assert.deepEqual([...passphrases.candidates()].map((found) => found.bytes), [bytes]);
    }),
    { numRuns: 50 },
  );
});

test("writePassphraseFile() never writes over a file", () => {
  using place = passphrasePlace();
  writeOwn(place.layout, "first");
  const path = place.layout.passphrase;
  assert.throws(
    () => writePassphraseFile(path, utf8("second")),
    ameshError("ERR_UNLOCK_FAILED", /exists already$/),
  );
  assert.equal(readFileSync(path, "utf8"), "first");
});

test("forNewKey() makes 256 random bits as hex and writes them only when it is told", () => {
  using place = passphrasePlace();
  using _environment = setEnvironment();
  using passphrases = place.passphrases();
  assert.equal(passphrases.newKeySource, undefined);
  const made = passphrases.forNewKey();
  assert.match(text(made.bytes), /^[0-9a-f]{64}$/);
  assert.notEqual(text(made.bytes), text(place.passphrases().forNewKey().bytes));
  assert.deepEqual(passphrases.newKeySource, { kind: "default-file", path: place.layout.passphrase });
  assert.equal(existsSync(place.layout.passphrase), false);
  made.persist();
  assert.equal(readFileSync(place.layout.passphrase, "utf8"), `${text(made.bytes)}\n`);
  assert.equal(lstatSync(place.layout.passphrase).mode & 0o7777, 0o400);
});

test("forNewKey() makes the named file when it is not there, and uses it when it is", () => {
  using place = passphrasePlace();
  using _environment = setEnvironment({ AMESH_PASSPHRASE_FILE: place.file("named") });
  using first = place.passphrases();
  const made = first.forNewKey();
  made.persist();
  assert.equal(readFileSync(place.file("named"), "utf8"), `${text(made.bytes)}\n`);
  assert.equal(lstatSync(place.file("named")).mode & 0o7777, 0o400);
  using second = place.passphrases();
  const used = second.forNewKey();
  assert.deepEqual(used.bytes, made.bytes);
  used.persist();
  assert.equal(existsSync(place.layout.passphrase), false);
});

const reused: [
  name: string,
  environment: Record<string, string>,
  own: string | null,
  legacy: string | undefined,
  want: [string, string],
][] = [
  ["the environment's", { AUTH_MESH_PASSPHRASE: "secret" }, "own", undefined, ["environment", "secret"]],
  ["the default file's", {}, "own", undefined, ["default-file", "own"]],
  ["the default file's before a legacy field's", {}, "own", "legacy", ["default-file", "own"]],
];
for (const [name, environment, own, legacy, want] of reused) {
  test(`forNewKey() uses ${name} passphrase and writes nothing`, () => {
    using place = passphrasePlace();
    if (own !== null) writeOwn(place.layout, own);
    using _environment = setEnvironment(environment);
    using passphrases = place.passphrases(legacy);
    const { source, bytes, persist } = passphrases.forNewKey();
    assert.deepEqual([source.kind, text(bytes)], want);
    const before = own === null ? null : readFileSync(place.layout.passphrase, "utf8");
    persist();
    assert.equal(before, own);
    assert.equal(readFileSync(place.layout.passphrase, "utf8"), own);
  });
}

test("forNewKey() gives a legacy field's passphrase the file that it belongs in", () => {
  using place = passphrasePlace();
  using _environment = setEnvironment();
  using passphrases = place.passphrases("legacy");
  const { source, bytes, persist } = passphrases.forNewKey();
  assert.deepEqual([source.kind, text(bytes)], ["default-file", "legacy"]);
  persist();
  assert.equal(readFileSync(place.layout.passphrase, "utf8"), "legacy\n");
});

test("forNewKey() refuses a file that is empty instead of making a passphrase", () => {
  using place = passphrasePlace();
  writeOwn(place.layout, "");
  using _environment = setEnvironment();
  using passphrases = place.passphrases();
  assert.throws(() => passphrases.forNewKey(), ameshError("ERR_UNLOCK_FAILED", /it is empty$/));
});

test("Passphrases remember a legacy passphrase that opened the key, and wipe it when disposed of", () => {
  using place = passphrasePlace();
  using _environment = setEnvironment();
  const passphrases = place.passphrases("legacy");
  const opened = () => passphrases.openedBy;
  assert.equal(opened(), undefined);
  const bytes = utf8("legacy");
  passphrases.opened({ kind: "legacy-field" }, bytes);
  bytes.fill(0);
  const remembered = opened();
  assert.deepEqual(remembered?.bytes, utf8("legacy"));
  const made = passphrases.forNewKey();
  passphrases[Symbol.dispose]();
  assert.deepEqual(remembered?.bytes, new Uint8Array(6));
  assert.deepEqual(made.bytes, new Uint8Array(6));
  assert.equal(opened(), undefined);
});
