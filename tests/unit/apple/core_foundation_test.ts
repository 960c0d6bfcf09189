import assert from "node:assert/strict";
import { test } from "node:test";
import {
  constant,
  CoreFoundationError,
  ErrorSlot,
  readData,
  readString,
  retain,
  Scope,
} from "../../../src/apple/core_foundation.ts";
import { sec } from "../../../src/apple/security.ts";
import { utf8 } from "../../../src/bytes.ts";
import { counts, securityDoubleMissing, startMac } from "../../support/security_double.ts";

const missing = securityDoubleMissing();
const it = (name: string, run: () => void) =>
  test(missing === undefined ? name : `${name}: ${missing}`, { skip: missing !== undefined }, run);

for (const text of ["", "a", "ä€🙂", "x".repeat(10_000)]) {
  it(`data and strings of ${text.length} characters come back as they were`, () => {
    using _mac = startMac();
    using scope = new Scope();
    assert.equal(readString(scope.string(text)), text);
    assert.deepEqual(readData(scope.data(utf8(text))), utf8(text));
  });
}

it("constants are objects, and not the variables that hold them", () => {
  using _mac = startMac();
  assert.equal(readString(sec("kSecClass")), "kSecClass");
  assert.equal(constant("CoreFoundation", "kCFBooleanTrue"), constant("CoreFoundation", "kCFBooleanTrue"));
  assert.notEqual(
    constant("CoreFoundation", "kCFBooleanTrue"),
    constant("CoreFoundation", "kCFBooleanFalse"),
  );
  assert.throws(() => sec("kSecNoSuchConstant"), /cannot load kSecNoSuchConstant/);
});

it("a scope releases each object once, the ones within a dictionary too, and nothing before its end", () => {
  using _mac = startMac();
  const { live } = counts();
  const scope = new Scope();
  const pairs = [[sec("kSecAttrLabel"), scope.string("a")], [
    sec("kSecAttrKeySizeInBits"),
    scope.number(256),
  ]];
  scope.dictionary(pairs as [bigint, bigint][]);
  assert.equal(scope.own(0n), 0n);
  assert.equal(counts().live, live + 3);
  scope[Symbol.dispose]();
  scope[Symbol.dispose]();
  assert.equal(counts().live, live);
});

it("what is retained lives until both have let go of it", () => {
  using _mac = startMac();
  const first = new Scope();
  using second = new Scope();
  const string = first.string("kept");
  second.own(retain(string));
  first[Symbol.dispose]();
  assert.equal(readString(string), "kept");
});

it("an object that cannot be made is an error, and nothing is leaked", () => {
  using _mac = startMac({}, 1);
  using scope = new Scope();
  // A key that is no string, which CoreFoundation would take and Security would not understand.
  assert.throws(
    () => scope.dictionary([[scope.number(1), scope.number(2)]]),
    (error) =>
      error instanceof CoreFoundationError && /^CFDictionaryCreate gave no object$/.test(error.message),
  );
});

it("an empty slot has no error", () => {
  using _mac = startMac();
  assert.equal(new ErrorSlot().take(), null);
});
