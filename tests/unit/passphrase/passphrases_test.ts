import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, rmSync, symlinkSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { type Bytes, utf8 } from "../../../src/bytes.ts";
import { nextPath } from "../../../src/passphrase/files.ts";
import {
  generatePassphrase,
  type PassphraseInput,
  Passphrases,
} from "../../../src/passphrase/passphrases.ts";
import type { PassphraseSource } from "../../../src/passphrase/sources.ts";
import { writeAs } from "../../support/amesh_place.ts";
import { openDescriptor } from "../../support/descriptors.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";
import { collect, type PassphrasePlace, passphrasePlace, writeOwn } from "../../support/passphrase_place.ts";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const make = (
  { layout }: PassphrasePlace,
  input: PassphraseInput,
  warn: (message: string) => void = () => {},
) => new Passphrases(layout, undefined, warn, input);

/** Answers that are given one after the other, and how often somebody asked. */
function answers(...given: readonly (string | null)[]) {
  const made: Bytes[] = [];
  let asked = 0;
  return {
    made,
    asked: () => asked,
    ask: () => {
      const answer = given[asked++];
      if (answer === undefined) return Promise.reject(new Error("asked too often"));
      if (answer !== null) made.push(utf8(answer));
      return Promise.resolve(answer === null ? null : made.at(-1)!);
    },
  };
}

test("prepare() asks once where there is no source; candidates() and forNewKey() give the answer as often as they like", async () => {
  using place = passphrasePlace();
  using _environment = setEnvironment();
  const person = answers("typed");
  using passphrases = make(place, { ask: person.ask });
  for (let round = 0; round < 3; round++) {
    await passphrases.prepare();
    assert.deepEqual(collect(passphrases), [["terminal", "typed"]]);
  }
  assert.deepEqual(passphrases.current, { kind: "terminal" });
  const made = passphrases.forNewKey();
  assert.deepEqual([made.source, text(made.bytes)], [{ kind: "terminal" }, "typed"]);
  made.persist();
  assert.deepEqual([person.asked(), passphrases.newKeySource], [1, { kind: "terminal" }]);
});

test("prepare() asks a program anew each time, and wipes what it gave before", async () => {
  using place = passphrasePlace();
  const program = answers("first", "second");
  const passphrases = make(place, { given: async () => (await program.ask())! });
  await passphrases.prepare();
  await passphrases.prepare();
  assert.deepEqual(collect(passphrases), [["caller", "second"]]);
  assert.deepEqual(program.made.map(text), ["\0".repeat(5), "second"]);
  passphrases[Symbol.dispose]();
  assert.deepEqual(program.made.map(text), ["\0".repeat(5), "\0".repeat(6)]);
});

/** Where there is a source nobody is asked, whether or not it can be used. */
const present: [
  name: string,
  prepare: (place: PassphrasePlace) => PassphraseInput,
  variables?: Record<string, string>,
][] = [
  ["the environment", () => ({}), { AUTH_MESH_PASSPHRASE: "secret" }],
  ["a named file that is missing", () => ({}), { AMESH_PASSPHRASE_FILE: "/nonexistent" }],
  ["the default file", ({ layout }) => (writeOwn(layout, "own"), {})],
  ["a descriptor", () => ({ descriptor: 4_000 })],
  ["sources that are given", () => ({ only: [{ kind: "environment" }] })],
];
for (const [name, prepare, variables = {}] of present) {
  test(`prepare() asks nobody beside ${name}`, async () => {
    using place = passphrasePlace();
    const person = answers();
    const input = prepare(place);
    using _environment = setEnvironment(variables);
    using passphrases = make(place, { ...input, ask: person.ask });
    await passphrases.prepare();
    assert.equal(person.asked(), 0);
  });
}

test("prepare() asks nobody beside a field of identity.json", async () => {
  using place = passphrasePlace();
  using _environment = setEnvironment();
  using passphrases = new Passphrases(place.layout, "legacy", () => {}, { ask: answers().ask });
  await passphrases.prepare();
  assert.deepEqual(collect(passphrases), [["legacy-field", "legacy"]]);
  passphrases.useLegacyField("another");
  assert.deepEqual(collect(passphrases), [["legacy-field", "another"]]);
  passphrases.useLegacyField("");
  assert.equal(passphrases.current, undefined);
});

test("prepare() asks beside a next file alone, and what was typed comes after the files that are there", async () => {
  using place = passphrasePlace();
  using _environment = setEnvironment();
  const next = writeAs(`${place.layout.passphrase}.next`, "next", 0o400);
  const person = answers("typed");
  using passphrases = make(place, { ask: person.ask });
  await passphrases.prepare();
  await passphrases.prepare();
  assert.deepEqual(collect(passphrases), [["next-file", "next"], ["terminal", "typed"]]);
  assert.equal(passphrases.current?.kind, "terminal");
  rmSync(next);
  assert.deepEqual(collect(passphrases), [["terminal", "typed"]]);
  writeOwn(place.layout, "own");
  assert.deepEqual(collect(passphrases), [["default-file", "own"], ["terminal", "typed"]]);
});

test("requireAny() is content with any source, and reads none", () => {
  using place = passphrasePlace();
  using _environment = setEnvironment({ AUTH_MESH_PASSPHRASE: "secret" });
  using passphrases = place.passphrases();
  passphrases.requireAny();
  assert.equal(process.env["AUTH_MESH_PASSPHRASE"], "secret");
  passphrases.forgetVariable();
  assert.equal(process.env["AUTH_MESH_PASSPHRASE"], undefined);
  assert.throws(() => passphrases.requireAny(), ameshError("ERR_UNLOCK_FAILED", /there is no passphrase$/));
  passphrases.forgetVariable();
});

test("prepare() without a terminal leaves all as it was: candidates() fails, forNewKey() makes one", async () => {
  using place = passphrasePlace();
  using _environment = setEnvironment();
  const person = answers(null);
  using passphrases = make(place, { ask: person.ask });
  await passphrases.prepare();
  assert.throws(() => collect(passphrases), ameshError("ERR_UNLOCK_FAILED", /there is no passphrase$/));
  assert.throws(() => passphrases.readCurrent(), ameshError("ERR_UNLOCK_FAILED", /there is no passphrase$/));
  assert.match(text(passphrases.forNewKey().bytes), /^[0-9a-f]{64}$/);
});

for (
  const [typed, message] of [["", /the terminal: it is empty$/], [
    "x".repeat(4097),
    /longer than 4096 bytes/,
  ]] as const
) {
  test(`prepare() refuses ${typed.length} bytes and wipes them`, async () => {
    using place = passphrasePlace();
    using _environment = setEnvironment();
    const person = answers(typed);
    using passphrases = make(place, { ask: person.ask });
    await assert.rejects(passphrases.prepare(), ameshError("ERR_UNLOCK_FAILED", message));
    assert.deepEqual(person.made[0], new Uint8Array(typed.length));
    assert.equal(passphrases.current, undefined);
  });
}

/** Sources that can be read once only, and how to make one that gives `secret`. */
const once: [
  kind: PassphraseSource["kind"],
  run: (place: PassphrasePlace, use: (input: PassphraseInput) => void) => void,
][] = [
  ["environment", (_, use) => {
    using _environment = setEnvironment({ AUTH_MESH_PASSPHRASE: "secret" });
    use({});
    assert.equal(process.env["AUTH_MESH_PASSPHRASE"], undefined);
  }],
  ["named-file", ({ file }, use) => {
    execFileSync("mkfifo", [file("pipe")]);
    spawn("sh", ["-c", `printf 'secret\\n' > '${file("pipe")}'`]);
    using _environment = setEnvironment({ AMESH_PASSPHRASE_FILE: file("pipe") });
    use({});
  }],
  ["descriptor", ({ file }, use) => {
    using _environment = setEnvironment();
    using descriptor = openDescriptor(writeAs(file("secret"), "secret\r\n", 0o400));
    use({ descriptor: descriptor.fd });
  }],
];
for (const [kind, run] of once) {
  test(`candidates() reads a source of kind ${kind} once and gives it again, to forNewKey() too`, () => {
    using place = passphrasePlace();
    run(place, (input) => {
      using passphrases = make(place, input);
      const first = [...passphrases.candidates()];
      assert.deepEqual(first.map(({ source, bytes }) => [source.kind, text(bytes)]), [[kind, "secret"]]);
      // Who was given it wipes it, which is not to reach the next.
      first.forEach(({ bytes }) => bytes.fill(0));
      for (const { bytes } of passphrases.candidates()) bytes.fill(0);
      assert.deepEqual(collect(passphrases), [[kind, "secret"]]);
      assert.deepEqual([passphrases.current?.kind, text(passphrases.readCurrent().bytes)], [kind, "secret"]);
      const made = passphrases.forNewKey();
      assert.deepEqual([made.source.kind, text(made.bytes)], [kind, "secret"]);
      made.persist();
      assert.deepEqual(place.warnings, []);
    });
  });
}

test("a descriptor comes before every other source, and is the only one", () => {
  using place = passphrasePlace();
  writeOwn(place.layout, "own");
  using _environment = setEnvironment({ AUTH_MESH_PASSPHRASE: "secret" });
  using descriptor = openDescriptor(writeAs(place.file("f"), "passed", 0o400));
  using passphrases = make(place, { descriptor: descriptor.fd });
  assert.deepEqual(collect(passphrases), [["descriptor", "passed"]]);
  // A secret that nobody uses is not passed on to children.
  assert.equal(process.env["AUTH_MESH_PASSPHRASE"], undefined);
});

const badDescriptors: [name: string, content: string | null, message: RegExp][] = [
  ["is not open", null, /of descriptor \d+ \(--passphrase-fd\): not open$/],
  ["gives nothing", "", /--passphrase-fd\): it is empty$/],
  ["gives a newline", "\n", /it is empty$/],
  ["gives 4097 bytes", "x".repeat(4097), /longer than 4096 bytes/],
  ["gives a megabyte", "x".repeat(1 << 20), /longer than 4096 bytes/],
];
for (const [name, content, message] of badDescriptors) {
  test(`candidates() refuses a descriptor that ${name}, and tries no other source`, () => {
    using place = passphrasePlace();
    writeOwn(place.layout, "own");
    using _environment = setEnvironment();
    const descriptor = openDescriptor(writeAs(place.file("f"), content ?? "", 0o400));
    if (content === null) descriptor[Symbol.dispose]();
    using passphrases = make(place, { descriptor: descriptor.fd });
    assert.throws(() => collect(passphrases), ameshError("ERR_UNLOCK_FAILED", message));
    assert.throws(() => passphrases.forNewKey(), ameshError("ERR_UNLOCK_FAILED"));
    if (content !== null) descriptor[Symbol.dispose]();
  });
}

/** What lies beside a passphrase file and what is tried, in order; `current` is never what is to come. */
const nexts: [set: string, want: string, current: string | undefined][] = [
  ["own own.next", "default-file next-file", "default-file"],
  ["own.next", "next-file", undefined],
  ["own.next legacy", "next-file legacy-field", "legacy-field"],
  ["own own.next legacy", "default-file next-file legacy-field", "default-file"],
  ["named named.next own own.next", "named-file next-file", "named-file"],
  ["named own.next", "named-file", "named-file"],
  ["credential own own.next", "credential", "credential"],
  ["environment own own.next", "environment", "environment"],
];
for (const [set, want, current] of nexts) {
  test(`candidates() of ${set}: ${want}`, () => {
    using place = passphrasePlace();
    const has = (name: string) => set.split(" ").includes(name);
    const paths = { own: place.layout.passphrase, named: place.file("named") };
    for (const name of ["own", "named"] as const) {
      if (has(name)) writeAs(paths[name], `${name}\n`, 0o400);
      if (has(`${name}.next`)) writeAs(nextPath(paths[name]), `${name}.next\n`, 0o400);
    }
    if (has("credential")) writeAs(place.file("amesh-passphrase"), "credential", 0o400);
    using _environment = setEnvironment({
      ...has("named") ? { AMESH_PASSPHRASE_FILE: paths.named } : {},
      ...has("credential") ? { CREDENTIALS_DIRECTORY: place.file("") } : {},
      ...has("environment") ? { AUTH_MESH_PASSPHRASE: "environment" } : {},
    });
    using passphrases = new Passphrases(place.layout, has("legacy") ? "legacy" : undefined, () => {});
    const file = has("named") ? "named" : "own";
    const texts: Record<string, string> = {
      "default-file": "own",
      "named-file": "named",
      "next-file": `${file}.next`,
      "legacy-field": "legacy",
    };
    assert.equal(passphrases.current?.kind, current);
    const found = [...passphrases.candidates()];
    assert.deepEqual(
      found.map(({ source, bytes }) => [source.kind, text(bytes)]),
      want.split(" ").map((kind) => [kind, texts[kind] ?? kind]),
    );
    for (const { source } of found) {
      if (source.kind !== "next-file") continue;
      assert.deepEqual(source, { kind: "next-file", path: nextPath(paths[file]), replaces: paths[file] });
    }
  });
}

test("candidates() leaves out files of ours that went while others were tried, and finds them in the next round", () => {
  using place = passphrasePlace();
  using _environment = setEnvironment();
  writeOwn(place.layout, "old");
  writeAs(`${place.layout.passphrase}.next`, "new", 0o400);
  using passphrases = place.passphrases();
  const round = passphrases.candidates();
  assert.equal(text((round.next().value as { bytes: Bytes }).bytes), "old");
  // As a change ends that goes on meanwhile.
  rmSync(`${place.layout.passphrase}.next`);
  writeOwn(place.layout, "new");
  assert.equal(round.next().done, true);
  assert.deepEqual(collect(passphrases), [["default-file", "new"]]);
});

test("candidates() of sources that are given looks at no other", () => {
  using place = passphrasePlace();
  writeOwn(place.layout, "own");
  using _environment = setEnvironment({ AUTH_MESH_PASSPHRASE: "secret" });
  const only: PassphraseSource[] = [{ kind: "named-file", path: writeAs(place.file("f"), "given", 0o400) }];
  using passphrases = make(place, { only });
  assert.deepEqual(collect(passphrases), [["named-file", "given"]]);
  using none = make(place, { only: [] });
  assert.throws(() => collect(none), ameshError("ERR_UNLOCK_FAILED", /there is no passphrase$/));
});

test("candidates() warns of a wide file once, however often it is read", () => {
  using place = passphrasePlace();
  mkdirSync(place.file("a b"));
  symlinkSync(writeAs(place.file("a b/data"), "secret", 0o444), place.file("named"));
  using _environment = setEnvironment({ AMESH_PASSPHRASE_FILE: place.file("named") });
  using passphrases = place.passphrases();
  for (let round = 0; round < 3; round++) collect(passphrases);
  passphrases.forNewKey();
  assert.equal(place.warnings.length, 1);
  assert.match(
    place.warnings[0]!,
    /named.* is readable by every user \(mode 0444\); run: chmod 0400 .*\/named$/,
  );
});

test("dispose() wipes what was kept, what opened the key and what a new one is under", async () => {
  using place = passphrasePlace();
  using _environment = setEnvironment();
  const person = answers("typed");
  const passphrases = new Passphrases(place.layout, undefined, () => {}, { ask: person.ask });
  await passphrases.prepare();
  passphrases.opened({ kind: "legacy-field" }, utf8("legacy"));
  const opened = passphrases.openedBy;
  const made = passphrases.forNewKey();
  assert.deepEqual([text(opened!.bytes), text(made.bytes)], ["legacy", "typed"]);
  passphrases[Symbol.dispose]();
  const held = [person.made[0], opened?.bytes, made.bytes];
  assert.deepEqual(held, [new Uint8Array(5), new Uint8Array(6), new Uint8Array(5)]);
  assert.equal(passphrases.openedBy, undefined);
});

test("opened() keeps the bytes of a legacy field only, and forgets the former ones", () => {
  using place = passphrasePlace();
  using _environment = setEnvironment();
  using passphrases = place.passphrases();
  passphrases.opened({ kind: "legacy-field" }, utf8("legacy"));
  const first = passphrases.openedBy;
  const source = { kind: "default-file", path: "/x" } as const;
  passphrases.opened(source, utf8("own"));
  assert.deepEqual(passphrases.openedBy, { source, bytes: new Uint8Array(0) });
  assert.deepEqual(first?.bytes, new Uint8Array(6));
});

test("generatePassphrase() gives 64 hex digits, every digit at every place, never the same", () => {
  const many = Array.from({ length: 500 }, () => text(generatePassphrase()));
  assert.equal(new Set(many).size, many.length);
  for (const one of many) assert.match(one, /^[0-9a-f]{64}$/);
  for (let at = 0; at < 64; at++) assert.equal(new Set(many.map((one) => one[at])).size, 16, `place ${at}`);
});
