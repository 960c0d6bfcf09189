/** The description of the command line has what the definitions have, and nothing that is hidden. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { application } from "../../../src/cli/app.ts";
import { duration } from "../../../src/cli/command.ts";
import { allCommands, type CommandReference, describe } from "../../../src/cli/reference.ts";
import { DEFAULT_LIFETIME_SECONDS } from "../../../src/formats/jwt_claims.ts";

const root = describe(application);
const commands = allCommands(root);
const find = (...path: string[]): CommandReference => {
  const found = commands.find((command) => command.path.join(" ") === path.join(" "));
  assert.ok(found !== undefined, path.join(" "));
  return found;
};
const optionOf = (command: CommandReference, name: string) => {
  const found = command.options.find((option) => option.name === name);
  assert.ok(found !== undefined, name);
  return found;
};

test("commands are found in groups too, with words as they are typed", () => {
  const paths = commands.map(({ path }) => path.join(" "));
  for (
    const path of ["", "init", "public-key", "verify-rotation", "passphrase change", "agent", "agent stop"]
  ) {
    assert.ok(paths.includes(path), path);
  }
  assert.equal(new Set(paths).size, paths.length);
});

test("a command has its texts and examples", () => {
  const sign = find("sign");
  assert.equal(sign.brief, "Sign a file with this machine's key");
  assert.match(sign.description, /^ECDSA P-256/);
  assert.doesNotMatch(sign.description, /EXAMPLES/);
  assert.equal(sign.examples[0], "amesh sign release.tar.gz");
});

test("options are switches, values and choices, required or not", () => {
  const init = find("init");
  assert.deepEqual(optionOf(init, "if-missing").value, null);
  assert.equal(optionOf(init, "name").isRequired, true);
  assert.deepEqual(optionOf(init, "name").value, { placeholder: "NAME", completion: { kind: "none" } });
  const backend = optionOf(init, "backend");
  assert.equal(backend.isRequired, false);
  const [audience, claim] = ["audience", "claim"].map((name) => optionOf(find("jwt"), name));
  assert.deepEqual([audience?.isRequired, audience?.isRepeatable], [true, true]);
  assert.deepEqual([claim?.isRequired, claim?.isRepeatable], [false, true]);
  assert.equal(backend.default, "auto");
  assert.equal(backend.value?.placeholder, "auto|secure-enclave|keychain|tpm2|encrypted-file");
  assert.equal(optionOf(find("rotate"), "backend").default, null);
  const verify = find("verify");
  assert.deepEqual(optionOf(verify, "signature").value?.completion, { kind: "at-file" });
  assert.deepEqual(optionOf(verify, "key").value?.completion, { kind: "file" });
  assert.deepEqual(optionOf(find("passphrase", "change"), "argon2-lanes").value?.completion, {
    kind: "none",
  });
  assert.deepEqual(optionOf(find("verify-rotation"), "key").value?.completion, { kind: "file" });
});

test("a token lives as long as one of the library, when nothing is said", () => {
  assert.equal(duration(optionOf(find("jwt"), "expires").default!), DEFAULT_LIFETIME_SECONDS);
});

test("arguments are single or many, required or not", () => {
  const [input] = find("sign").operands;
  assert.deepEqual([input?.placeholder, input?.isRequired, input?.isRepeatable], ["FILE", false, false]);
  const [statement] = find("verify-rotation").operands;
  assert.deepEqual([statement?.isRequired, statement?.isRepeatable], [true, true]);
  assert.deepEqual(find("completion").operands[0]?.completion, {
    kind: "choice",
    values: ["bash", "zsh", "fish"],
  });
});

test("what is hidden is left out", () => {
  for (const { path, options } of commands) {
    assert.ok(!options.some(({ name }) => name === "report-fd" || name === "help-all"), path.join(" "));
  }
});

test("agent is a command and a group at once, passphrase only a group", () => {
  const agent = find("agent");
  const start = find("agent", "start");
  assert.equal(agent.main, start);
  assert.deepEqual([agent.options, agent.examples, agent.description], [
    start.options,
    start.examples,
    start.description,
  ]);
  const passphrase = find("passphrase");
  assert.equal(passphrase.main, null);
  assert.deepEqual(passphrase.options.map(({ name }) => name), ["help"]);
});

test("--help is everywhere, --version once", () => {
  for (const { path, options } of commands) {
    assert.equal(options.at(-1)?.name, "help", path.join(" "));
    assert.equal(options.some(({ name }) => name === "version"), path.length === 0, path.join(" "));
  }
});

test("names and choices are words that no shell takes apart", () => {
  const words = commands.flatMap(({ path, options, operands }) => [
    ...path,
    ...options.map(({ name }) => name),
    ...[...options.map(({ value }) => value), ...operands].flatMap((value) =>
      value?.completion.kind === "choice" ? value.completion.values : []
    ),
  ]);
  assert.ok(words.length > 100, `${words.length}`);
  for (const word of words) assert.match(word, /^[a-z0-9][a-z0-9-]*$/);
});

test("every command has a brief, a description and an example of its own", () => {
  for (const { path, brief, description, examples, commands: inner } of commands) {
    assert.ok(brief !== "" && description !== "", path.join(" "));
    if (inner.length > 0 || path.join(" ") === "agent start") continue;
    assert.ok(examples.some((example) => example.includes(["amesh", ...path].join(" "))), path.join(" "));
  }
});
