import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { concatBytes, encodeHex, u32be, utf8 } from "../../../src/bytes.ts";
import { sshMpint, SshReader, sshString, WireError } from "../../../src/formats/ssh_wire.ts";

const hex = (text: string) => Uint8Array.fromHex(text.replaceAll(" ", ""));
const reader = (text: string) => new SshReader(hex(text));

test("SshReader reads one value after the other, up to the end", () => {
  const values = reader("2a 00 01 ff 80000001 00000003616263 00000000 00000002c3a9 00");
  assert.equal(values.byte(), 0x2a);
  assert.deepEqual([values.boolean(), values.boolean(), values.boolean()], [false, true, true]);
  assert.equal(values.u32(), 0x80000001);
  assert.deepEqual(values.string(), utf8("abc"));
  assert.deepEqual(values.string(), new Uint8Array(0));
  assert.equal(values.text(), "é");
  assert.deepEqual(values.rest, Uint8Array.of(0));
  assert.throws(() => values.end(), WireError);
  values.byte();
  values.end();
  assert.equal(values.rest.length, 0);
});

test("SshReader gives views, and reads in views", () => {
  const bytes = hex("eeee 00000002 6162 63 eeee");
  const values = new SshReader(bytes.subarray(2, 9));
  const string = values.string();
  bytes[6] = 0x7a;
  assert.deepEqual(string, utf8("zb"));
  assert.equal(string.buffer, bytes.buffer);
  assert.deepEqual(values.rest, utf8("c"));
  assert.equal(values.rest.buffer, bytes.buffer);
});

const tooShort: [what: string, bytes: string, read: (values: SshReader) => unknown][] = [
  ["a byte", "", (values) => values.byte()],
  ["a boolean", "", (values) => values.boolean()],
  ["an u32", "000000", (values) => values.u32()],
  ["the length of a string", "000000", (values) => values.string()],
  ["a string", "00000002 61", (values) => values.string()],
  ["the longest string", "ffffffff 61", (values) => values.string()],
  ["a text", "00000001", (values) => values.text()],
];
for (const [what, bytes, read] of tooShort) {
  test(`SshReader does not read ${what} behind the end`, () => {
    assert.throws(
      () => read(reader(bytes)),
      (error) => error instanceof WireError && /too early/.test(error.message),
    );
    // What lies behind a view is not its own.
    const view = concatBytes(hex(bytes), new Uint8Array(8)).subarray(0, hex(bytes).length);
    assert.throws(() => read(new SshReader(view)), WireError);
  });
}

for (const bytes of ["ff", "c3", "c0af", "eda080", "00", "0a", "1b", "7f", "c285"]) {
  test(`SshReader takes ${bytes} for no text`, () => {
    const values = new SshReader(sshString(hex(bytes)));
    assert.throws(() => values.text(), WireError);
  });
}

test("SshReader: what is written is read", () => {
  const text = fc.string({ unit: "binary" }).filter((value) => !/\p{Cc}/u.test(value));
  fc.assert(fc.property(text, fc.uint8Array(), fc.nat({ max: 2 ** 32 - 1 }), (string, bytes, number) => {
    const values = new SshReader(concatBytes(sshString(string), sshString(bytes), u32be(number)));
    assert.equal(values.text(), string);
    assert.deepEqual(values.string(), Uint8Array.from(bytes));
    assert.equal(values.u32(), number);
    values.end();
  }));
});

test("SshReader.text() keeps a byte order mark", () => {
  assert.equal(new SshReader(sshString("\ufeffa")).text(), "\ufeffa");
});

test("sshString() is a length and bytes, of a text in UTF-8", () => {
  assert.equal(encodeHex(sshString("é")), "00000002c3a9");
  assert.equal(encodeHex(sshString(hex("00ff"))), "0000000200ff");
  assert.equal(encodeHex(sshString("")), "00000000");
});

/** Those that are not negative of RFC 4251 §5, and the edges. */
const mpints: [unsigned: string, encoded: string][] = [
  ["", "00000000"],
  ["00", "00000000"],
  ["0000", "00000000"],
  ["09a378f9b2e332a7", "0000000809a378f9b2e332a7"],
  ["80", "000000020080"],
  ["7f", "000000017f"],
  ["000080", "000000020080"],
  ["00007f", "000000017f"],
  ["ff00", "0000000300ff00"],
];
for (const [unsigned, encoded] of mpints) {
  test(`sshMpint() of ${unsigned || "nothing"} is ${encoded}`, () => {
    assert.equal(encodeHex(sshMpint(hex(unsigned))), encoded);
  });
}
