import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { utf8 } from "../../../src/bytes.ts";
import { MAX_PASSPHRASE_BYTES, trimmedForm } from "../../../src/passphrase/files.ts";
import {
  describeSource,
  findSourceProblem,
  findSources,
  type PassphraseSource,
} from "../../../src/passphrase/sources.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";
import { collect, passphrasePlace, writeOwn } from "../../support/passphrase_place.ts";

const FILE_MAXIMUM = MAX_PASSPHRASE_BYTES;

/** Which of all sources are set, what is tried then. */
const priorities: [set: string, want: string][] = [
  ["environment named-file credential default-file legacy-field", "environment"],
  ["environment legacy-field", "environment"],
  ["named-file credential default-file legacy-field", "named-file"],
  ["credential default-file legacy-field", "credential"],
  ["default-file legacy-field", "default-file legacy-field"],
  ["default-file", "default-file"],
  ["legacy-field", "legacy-field"],
  ["named-file", "named-file"],
  ["credential", "credential"],
];
for (const [set, want] of priorities) {
  test(`findSources() and candidates() of ${set} are ${want}`, () => {
    using place = passphrasePlace();
    const has = (kind: string) => set.split(" ").includes(kind);
    mkdirSync(place.file("credentials"));
    if (has("credential")) {
      writeFileSync(place.file("credentials/amesh-passphrase"), "of credential\n", { mode: 0o400 });
    }
    if (has("named-file")) writeFileSync(place.file("named"), "of named-file\n", { mode: 0o400 });
    if (has("default-file")) writeOwn(place.layout, "of default-file\n");
    using _environment = setEnvironment({
      CREDENTIALS_DIRECTORY: place.file("credentials"),
      ...(has("environment") ? { AUTH_MESH_PASSPHRASE: "of environment" } : {}),
      ...(has("named-file") ? { AMESH_PASSPHRASE_FILE: place.file("named") } : {}),
    });
    const found = findSources(place.layout, has("legacy-field")).map(({ kind }) => kind);
    assert.equal(found.join(" "), want);
    using passphrases = place.passphrases(has("legacy-field") ? "of legacy-field" : undefined);
    assert.deepEqual(collect(passphrases), want.split(" ").map((kind) => [kind, `of ${kind}`]));
    assert.deepEqual(place.warnings, []);
  });
}

test("candidates() takes the secret out of the environment and writes nothing", () => {
  using place = passphrasePlace();
  using _environment = setEnvironment({ AUTH_MESH_PASSPHRASE: "secret" });
  using passphrases = place.passphrases();
  collect(passphrases);
  assert.equal(process.env["AUTH_MESH_PASSPHRASE"], undefined);
  assert.equal(existsSync(place.layout.passphrase), false);
});

test("candidates() counts an empty variable as unset", () => {
  using place = passphrasePlace();
  writeOwn(place.layout, "own");
  using _environment = setEnvironment({
    AUTH_MESH_PASSPHRASE: "",
    AMESH_PASSPHRASE_FILE: "",
    CREDENTIALS_DIRECTORY: "",
  });
  using passphrases = place.passphrases("");
  assert.deepEqual(collect(passphrases), [["default-file", "own"]]);
});

test("candidates() without any source fails with a hint that names them all", () => {
  using place = passphrasePlace();
  using _environment = setEnvironment();
  using passphrases = place.passphrases();
  assert.throws(() => collect(passphrases), (error) => {
    ameshError("ERR_UNLOCK_FAILED", /there is no passphrase$/)(error);
    const { hint } = error as { hint: string };
    const names = [
      "AUTH_MESH_PASSPHRASE",
      "AMESH_PASSPHRASE_FILE",
      "amesh-passphrase",
      place.layout.passphrase,
      "0400",
    ];
    for (const name of names) assert.ok(hint.includes(name), name);
    return true;
  });
});

const contents: [name: string, content: string, want: string][] = [
  ["no newline", "abc", "abc"],
  ["a newline", "abc\n", "abc"],
  ["CR LF", "abc\r\n", "abc"],
  ["two newlines, the last of which is the editor's", "abc\n\n", "abc\n"],
  ["a CR, which belongs to it", "abc\r", "abc\r"],
  ["white space, which belongs to it", " a b\t", " a b\t"],
  ["only a space", " ", " "],
  ["no ASCII", "Grüße 🔑\n", "Grüße 🔑"],
  ["the longest text", "x".repeat(FILE_MAXIMUM), "x".repeat(FILE_MAXIMUM)],
  ["the longest text and CR LF", `${"x".repeat(FILE_MAXIMUM)}\r\n`, "x".repeat(FILE_MAXIMUM)],
];
for (const [name, content, want] of contents) {
  test(`candidates() reads a file with ${name}`, () => {
    using place = passphrasePlace();
    writeOwn(place.layout, content);
    writeFileSync(place.file("named"), content, { mode: 0o400 });
    for (const environment of [{}, { AMESH_PASSPHRASE_FILE: place.file("named") }]) {
      using _environment = setEnvironment(environment);
      using passphrases = place.passphrases();
      assert.deepEqual(collect(passphrases).map(([, bytes]) => bytes), [want]);
    }
  });
}

const unusable: [name: string, make: (path: string) => void, message: RegExp][] = [
  ["an empty file", (path) => writeFileSync(path, "", { mode: 0o400 }), /: it is empty$/],
  ["a newline alone", (path) => writeFileSync(path, "\n", { mode: 0o400 }), /: it is empty$/],
  ["CR LF alone", (path) => writeFileSync(path, "\r\n", { mode: 0o400 }), /: it is empty$/],
  ["4097 bytes", (path) => writeFileSync(path, "x".repeat(4097), { mode: 0o400 }), /longer than 4096 bytes/],
  [
    "4097 bytes and a newline",
    (path) => writeFileSync(path, `${"x".repeat(4097)}\n`, { mode: 0o400 }),
    /longer than 4096 bytes/,
  ],
  [
    "a megabyte",
    (path) => writeFileSync(path, new Uint8Array(1 << 20), { mode: 0o400 }),
    /longer than 4096 bytes/,
  ],
];
const directoryMessage = /is a directory|no regular file$/;
for (const [name, make, message] of unusable) {
  test(`candidates() refuses ${name} in the default, the named and the credential file, and tries no other source`, () => {
    using place = passphrasePlace();
    mkdirSync(place.file("credentials"));
    for (
      const path of [place.layout.passphrase, place.file("named"), place.file("credentials/amesh-passphrase")]
    ) make(path);
    for (
      const environment of [
        {},
        { AMESH_PASSPHRASE_FILE: place.file("named") },
        { CREDENTIALS_DIRECTORY: place.file("credentials") },
      ]
    ) {
      using _environment = setEnvironment(environment);
      using passphrases = place.passphrases("legacy");
      assert.throws(() => collect(passphrases), ameshError("ERR_UNLOCK_FAILED", message));
    }
  });
}

test("candidates() refuses a passphrase in the environment that is longer than 4096 bytes", () => {
  using place = passphrasePlace();
  using _environment = setEnvironment({ AUTH_MESH_PASSPHRASE: "x".repeat(4097) });
  using passphrases = place.passphrases();
  assert.throws(() => collect(passphrases), ameshError("ERR_UNLOCK_FAILED", /longer than 4096 bytes/));
});

test("candidates() never skips a named file that is missing, a directory or a dangling link", () => {
  using place = passphrasePlace();
  writeOwn(place.layout, "own");
  symlinkSync("nowhere", place.file("dangling"));
  const names: [string, RegExp][] = [
    ["missing", /: no such file or directory$/],
    ["dangling", /: no such file or directory$/],
    ["amesh", directoryMessage],
  ];
  for (const [name, message] of names) {
    using _environment = setEnvironment({ AMESH_PASSPHRASE_FILE: place.file(name) });
    using passphrases = place.passphrases();
    assert.throws(() => collect(passphrases), (error) => {
      ameshError("ERR_UNLOCK_FAILED", message)(error);
      assert.ok((error as Error).message.includes(place.file(name)));
      assert.match((error as { hint: string }).hint, /no other source is tried/);
      return true;
    });
  }
});

test("candidates() goes on when systemd has given other credentials only", () => {
  using place = passphrasePlace();
  writeOwn(place.layout, "own");
  mkdirSync(place.file("credentials"));
  using _environment = setEnvironment({ CREDENTIALS_DIRECTORY: place.file("credentials") });
  using passphrases = place.passphrases();
  assert.deepEqual(collect(passphrases), [["default-file", "own"]]);
});

test("candidates() refuses our own file when it is wide, a link or another user's", () => {
  using place = passphrasePlace();
  const refused = ameshError("ERR_UNSAFE_PERMISSIONS");
  using _environment = setEnvironment();
  using passphrases = place.passphrases("legacy");
  for (const mode of [0o440, 0o404, 0o640, 0o644]) {
    writeOwn(place.layout, "own", mode);
    assert.throws(() => collect(passphrases), refused);
  }
  rmSync(place.layout.passphrase);
  writeFileSync(place.file("real"), "own", { mode: 0o400 });
  symlinkSync(place.file("real"), place.layout.passphrase);
  assert.throws(() => collect(passphrases), refused);
});

test("candidates() accepts our own file for its group when that is allowed", () => {
  using place = passphrasePlace();
  writeOwn(place.layout, "own", 0o440);
  using _environment = setEnvironment({ AMESH_ALLOW_GROUP_READ: "1" });
  using passphrases = place.passphrases();
  assert.deepEqual(collect(passphrases), [["default-file", "own"]]);
});

const wide: [mode: number, allowGroup: string, kind: "named" | "credential", warning: RegExp | null][] = [
  [0o400, "0", "named", null],
  [0o600, "0", "named", null],
  [0o440, "0", "named", /readable by its group \(mode 0440\)/],
  [0o440, "1", "named", null],
  [0o444, "0", "named", /readable by every user \(mode 0444\)/],
  [0o444, "1", "named", /readable by every user \(mode 0444\)/],
  [0o440, "0", "credential", null],
  [0o444, "0", "credential", /readable by every user/],
];
for (const [mode, allow, kind, warning] of wide) {
  test(`candidates() ${warning === null ? "accepts" : "warns of"} a ${kind} file of mode ${mode.toString(8)}, AMESH_ALLOW_GROUP_READ=${allow}, through a link too`, () => {
    using place = passphrasePlace();
    mkdirSync(place.file("data"));
    writeFileSync(place.file("data/secret"), "secret\n");
    chmodSync(place.file("data/secret"), mode);
    // As Kubernetes mounts a secret.
    symlinkSync("data/secret", place.file("amesh-passphrase"));
    using _environment = setEnvironment({
      AMESH_ALLOW_GROUP_READ: allow,
      ...(kind === "named"
        ? { AMESH_PASSPHRASE_FILE: place.file("amesh-passphrase") }
        : { CREDENTIALS_DIRECTORY: place.file("") }),
    });
    using passphrases = place.passphrases();
    assert.deepEqual(collect(passphrases).map(([, bytes]) => bytes), ["secret"]);
    if (warning === null) assert.deepEqual(place.warnings, []);
    else assert.match(place.warnings.join(), warning);
  });
}

test("candidates() reads a named pipe that the operator names", async () => {
  using place = passphrasePlace();
  execFileSync("mkfifo", [place.file("pipe")]);
  const { spawn } = await import("node:child_process");
  spawn("sh", ["-c", `printf 'piped\\n' > '${place.file("pipe")}'`]);
  using _environment = setEnvironment({ AMESH_PASSPHRASE_FILE: place.file("pipe") });
  using passphrases = place.passphrases();
  assert.deepEqual(collect(passphrases), [["named-file", "piped"]]);
});

test("findSources() does not skip a credential or a named file that it cannot look at", () => {
  using place = passphrasePlace();
  writeFileSync(place.file("file"), "");
  writeOwn(place.layout, "own");
  const refused = ameshError("ERR_UNLOCK_FAILED", /a part of the path is not a directory$/);
  using _environment = setEnvironment({ CREDENTIALS_DIRECTORY: place.file("file") });
  assert.throws(() => findSources(place.layout, false), refused);
  using _named = setEnvironment({ AMESH_PASSPHRASE_FILE: place.file("file/x") });
  using passphrases = place.passphrases();
  assert.throws(() => passphrases.forNewKey(), refused);
});

test("findSourceProblem() says what shows without reading the secret", () => {
  using place = passphrasePlace();
  const problemOf = (path: string) => findSourceProblem({ kind: "named-file", path });
  for (const content of ["x", `${"x".repeat(4096)}\r\n`]) {
    writeFileSync(place.file("f"), content);
    assert.equal(problemOf(place.file("f")), null);
  }
  for (const content of ["", "x".repeat(4099)]) {
    writeFileSync(place.file("f"), content);
    assert.match(problemOf(place.file("f")) ?? "", /1 to 4096 bytes/);
  }
  assert.match(problemOf(place.file("amesh")) ?? "", /is a directory/);
  assert.match(problemOf(place.file("missing")) ?? "", /no such file/);
  assert.equal(findSourceProblem({ kind: "environment" }), null);
  assert.equal(findSourceProblem({ kind: "legacy-field" }), null);
});

test("describeSource() names every source", () => {
  const described: [PassphraseSource, RegExp][] = [
    [{ kind: "environment" }, /^AUTH_MESH_PASSPHRASE$/],
    [{ kind: "named-file", path: "/x" }, /\/x.*AMESH_PASSPHRASE_FILE/],
    [{ kind: "credential", path: "/x" }, /systemd.*\/x/],
    [{ kind: "default-file", path: "/x" }, /\/x/],
    [{ kind: "legacy-field" }, /identity\.json/],
  ];
  for (const [source, want] of described) assert.match(describeSource(source), want);
});

const trims: [input: string, want: string | null][] = [
  ["abc", null],
  [" abc\t\n", "abc"],
  ["a b", null],
  [" ", null],
  ["", null],
  ["\u00a0x\u2003", "x"],
];
for (const [input, want] of trims) {
  test(`trimmedForm() of ${JSON.stringify(input)} is ${JSON.stringify(want)}`, () => {
    assert.deepEqual(trimmedForm(utf8(input)), want === null ? null : utf8(want));
  });
}
