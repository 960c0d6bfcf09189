/** Every Swift source parses, as far as a machine without a Swift compiler can tell. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { projectFiles, ROOT } from "../../support/project_files.ts";
import { swiftSyntaxCheck } from "../../support/swift_syntax.ts";

const check = await swiftSyntaxCheck();
const sources = projectFiles((path) => path.endsWith(".swift"));

test("there are Swift sources, and the package that names them", () => {
  assert.ok(sources.includes("swift-helper/Package.swift"), sources.join("\n"));
  assert.ok(sources.some((path) => path.startsWith("swift-helper/Sources/")));
  assert.ok(sources.some((path) => path.startsWith("swift-helper/Tests/")));
});

for (const path of sources) {
  test(`${path} parses`, () => {
    const problems = check(readFileSync(join(ROOT, path), "utf8"));
    assert.deepEqual(problems.map(({ line, message }) => `${path}:${line}: ${message}`), []);
  });
}

const broken: readonly (readonly [what: string, source: string, line: number, message: RegExp])[] = [
  ["a parenthesis that is not closed", "let a = 1\n\nfunc f( -> Int { return 2 }\n", 3, /^\) is missing$/],
  ["a brace too many", "func f() {}\n}\n", 2, /^unexpected: \}$/],
  ["a brace too few, where its block begins", "\nfunc f() {\n  if a {\n}\n", 2, /^unexpected: func f/],
  ["two names of one constant", "import Foundation\n\nlet a b = 2\n", 3, /^unexpected: b/],
  ["a statement of another language", "func f() {\n  a = ;\n  for (;;) {}\n}\n", 2, /unexpected/],
];
for (const [what, source, line, message] of broken) {
  test(`the check of Swift tells ${what} and its line`, () => {
    const [first] = check(source);
    assert.equal(first?.line, line, JSON.stringify(first));
    assert.match(first?.message ?? "", message);
  });
}

test("the check of Swift reads both branches of a condition, and tells the line behind it", () => {
  const source = (branch: string) =>
    `func f() -> String {
  #if arch(arm64)
  return #filePath
  #else
  ${branch}
  #endif
}
`;
  assert.deepEqual(check(source('return "x86_64"')), []);
  assert.deepEqual(check(source("return (")).map(({ line }) => line), [5]);
});

test("the check of Swift takes what is right", () => {
  const source = `
import Foundation

public struct Answer: Codable, Sendable {
  public let id: Int
  private enum CodingKeys: String, CodingKey { case id, ok }
  public func text() throws -> String? {
    guard id > 0 else { throw Failure.bad(code: -25308, text: "a \\(id)") }
    return try? String(decoding: JSONEncoder().encode(self), as: UTF8.self)
  }
}
`;
  assert.deepEqual(check(source), []);
});
