/** Every property list can be read by the strictest of its readers, and says what it is there for. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { test } from "node:test";
import { projectFiles, ROOT } from "../../support/project_files.ts";
import { parsePropertyList, pythonMissing } from "../../support/property_list.ts";

const skip = pythonMissing();
const CLI = "packaging/macos/cli.entitlements.plist";
const HELPER = "swift-helper/entitlements.plist";

const lists = projectFiles((path) => path.endsWith(".plist"));
const read = (path: string) => parsePropertyList(readFileSync(join(ROOT, path), "utf8"));

test("the property lists are found", () => {
  for (const path of [CLI, HELPER]) {
    assert.ok(lists.includes(path), `${path} is not among ${lists.join(", ")}`);
  }
});

for (const path of lists) {
  test(`${path} is a property list`, { skip }, () => {
    const value = read(path) as Record<string, unknown>;
    if (path.includes("/launchd/")) assert.equal(`${value.Label}.plist`, basename(path));
    else assert.ok([CLI, HELPER].includes(path), "a property list that no test knows");
  });
}

test("the executable asks for what V8 and its calls into C need, and for nothing else", { skip }, () => {
  assert.deepEqual(read(CLI), {
    "com.apple.security.cs.allow-jit": true,
    "com.apple.security.cs.allow-unsigned-executable-memory": true,
  });
  const readme = readFileSync(join(ROOT, "packaging/macos/README.md"), "utf8");
  for (const key of Object.keys(read(CLI) as object)) assert.ok(readme.includes(`\`${key}\``), key);
});

test("the helper asks for nothing", { skip }, () => {
  assert.deepEqual(read(HELPER), {});
});

const list = (content: string) =>
  `<?xml version="1.0" encoding="UTF-8"?>\n<plist version="1.0">${content}</plist>\n`;
const broken: readonly (readonly [what: string, text: string])[] = [
  // https://github.com/SceneWorks/SceneWorks/pull/1743: plutil takes it, codesign does not.
  ["two hyphens in a comment", list("<!-- codesign --force --><dict/>")],
  ["a tag that is not closed", list("<dict><key>a</key><true></dict>")],
  ["a key without a value", list("<dict><key>a</key></dict>")],
  ["a value without a key", list("<dict><true/></dict>")],
  ["something else", "{}"],
];
for (const [what, text] of broken) {
  test(`the reader of property lists refuses ${what}`, { skip }, () => {
    assert.deepEqual(parsePropertyList(list("<dict/>")), {});
    assert.throws(() => parsePropertyList(text), /^Error: not a property list: /);
  });
}
