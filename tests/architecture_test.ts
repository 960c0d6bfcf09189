/** Holds the import rule of docs/architecture.md, and what else keeps the parts of src/ apart. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, normalize, relative } from "node:path";
import { test } from "node:test";
import { VERSION } from "../src/version.ts";
import { evaluation, isDeno, projectUrl, runChild } from "./support/child_process.ts";

const ROOT = join(import.meta.dirname!, "..");
const SRC = join(ROOT, "src");

/** Who stands above whom: a file imports from lower levels only, and within its own folder. */
const LEVELS: readonly (readonly string[])[] = [
  ["cli", "library", "mod.ts"],
  ["agent"],
  ["identity"],
  ["keystore"],
  ["formats", "crypto", "tpm", "apple", "passphrase", "ffi", "platform"],
  ["errors.ts", "bytes.ts", "version.ts"],
];
const LEAVES = LEVELS.at(-1) as readonly string[];

/** What may be imported between folders of one level, and why. */
const SIDEWAYS: readonly { from: string; to: string; why: string }[] = [
  { from: "mod.ts", to: "library", why: "it is the face of the library" },
  { from: "crypto", to: "formats", why: "lengths of keys, encodings of points and signatures" },
  { from: "crypto", to: "platform/host.ts", why: "which runtime this is: one has a native Argon2id" },
  { from: "crypto", to: "platform/libc.ts", why: "huge pages for Argon2id's working memory, and wiping it" },
  { from: "passphrase", to: "platform", why: "sources are files and variables" },
  { from: "platform", to: "ffi", why: "libc" },
  { from: "apple", to: "ffi", why: "CoreFoundation and Security" },
  {
    from: "apple",
    to: "platform",
    why: "which system this is, C memory, the terminal, the helper's process and pipes",
  },
  { from: "apple", to: "formats/helper_message.ts", why: "what the helper is told and says" },
  { from: "tpm", to: "ffi", why: "libtss2" },
  { from: "tpm", to: "platform/device.ts", why: "waiting for an answer, and whether a device can be opened" },
  { from: "tpm", to: "platform/host.ts", why: "which system this is, and AMESH_TPM_TCTI" },
  { from: "tpm", to: "platform/libc.ts", why: "where libraries lie, C strings, TSS2_LOG" },
  { from: "tpm", to: "platform/system_file.ts", why: "what /sys, /proc and /dev tell" },
  { from: "tpm", to: "platform/ready.ts", why: "a pause before a busy TPM is asked again" },
];

interface SourceFile {
  /** Relative to src, with slashes. */
  readonly path: string;
  readonly text: string;
  /** Without comments, so that they can speak of what is forbidden. */
  readonly code: string;
}

const files: SourceFile[] = readdirSync(SRC, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
  .map((entry) => {
    const text = readFileSync(join(entry.parentPath, entry.name), "utf8");
    const path = relative(SRC, join(entry.parentPath, entry.name)).replaceAll("\\", "/");
    return { path, text, code: text.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/^\s*\/\/.*$/gm, "") };
  });

/** Specifiers of static imports, re-exports, dynamic imports, import types and Workers. */
function specifiers(code: string): string[] {
  const patterns = [
    /\b(?:import|export)\b[^;"'`]*?\bfrom\s*["']([^"']+)["']/g,
    /\bimport\s*["']([^"']+)["']/g,
    /\bimport\s*\(\s*["']([^"']+)["']/g,
    /\bnew URL\(\s*["']([^"']+)["']\s*,\s*import\.meta\.url/g,
  ];
  return patterns.flatMap((pattern) => [...code.matchAll(pattern)].map((match) => match[1] as string));
}

/** Specifiers of the imports that run when the file is loaded: types are erased, and the rest is fetched later. */
function loadedSpecifiers(code: string): string[] {
  const imports = code.matchAll(/\b(?:import|export)\b([^;"'`]*?)\bfrom\s*["']([^"']+)["']/g);
  const isErased = (clause: string) =>
    /^\s*type\b/.test(clause) || /^\s*\{(\s*type\s[^,}]*,?)+\s*\}\s*$/.test(clause);
  return [...imports].filter(([, clause]) => !isErased(clause as string)).map((match) => match[2] as string);
}

/** A file of src that is imported, relative to src; `null` for packages and built-ins. */
function resolved(from: string, specifier: string): string | null {
  return specifier.startsWith(".") ? normalize(join(dirname(from), specifier)).replaceAll("\\", "/") : null;
}

const partOf = (path: string) => path.split("/")[0] as string;
const levelOf = (path: string) => LEVELS.findIndex((level) => level.includes(partOf(path)));

/** Why one file may not import another; `null` when it may. */
function objection(from: string, to: string): string | null {
  if (levelOf(to) < 0) return "leads out of src";
  if (partOf(from) === partOf(to) || levelOf(to) > levelOf(from)) return null;
  if (LEAVES.includes(from) && LEAVES.includes(to)) return null;
  const allowed = SIDEWAYS.some((edge) =>
    partOf(from) === edge.from && (to === edge.to || partOf(to) === edge.to)
  );
  return allowed ? null : "goes up or sideways";
}

/** Imports of files of src by others. */
const edgesBy = (read: (code: string) => string[]) =>
  files.flatMap(({ path, code }) =>
    read(code).flatMap((specifier) => {
      const to = resolved(path, specifier);
      return to === null ? [] : [{ from: path, to }];
    })
  );
const edges = edgesBy(specifiers);

/** Lines of the given files that match, as `path: line`. */
function linesThat(matches: RegExp, isMeant: (path: string) => boolean): string[] {
  return files.filter(({ path }) => isMeant(path)).flatMap(({ path, code }) =>
    code.split("\n").filter((line) => matches.test(line)).map((line) => `${path}: ${line.trim()}`)
  );
}
const isIn = (...parts: string[]) => (path: string) => parts.includes(partOf(path));

test("the reader of imports sees every form", () => {
  const code = `
    import * as v from "a"; import { b,
      c } from "b"; import type { D } from "c"; export { e } from "d"; export * from "e"; import "f";
    const x = await import("g"); type T = typeof import("h"); new Worker(new URL("./i.ts", import.meta.url));`;
  assert.deepEqual(specifiers(code).sort(), ["./i.ts", "a", "b", "c", "d", "e", "f", "g", "h"]);
  const typed =
    'import { type A, type B } from "a"; import { type C, d } from "b"; import type { E } from "c";';
  assert.deepEqual(loadedSpecifiers(typed), ["b"]);
});

test("the rule objects to what it should", () => {
  const forbidden = [
    ["keystore/a.ts", "identity/b.ts"],
    ["keystore/a.ts", "cli/b.ts"],
    ["identity/a.ts", "agent/b.ts"],
    ["agent/a.ts", "cli/b.ts"],
    ["formats/a.ts", "crypto/b.ts"],
    ["formats/a.ts", "platform/b.ts"],
    ["crypto/a.ts", "platform/files.ts"],
    ["platform/a.ts", "passphrase/b.ts"],
    ["platform/a.ts", "tpm/b.ts"],
    ["formats/a.ts", "tpm/b.ts"],
    ["tpm/a.ts", "platform/files.ts"],
    ["tpm/a.ts", "passphrase/b.ts"],
    ["tpm/a.ts", "keystore/b.ts"],
    ["apple/a.ts", "keystore/b.ts"],
    ["apple/a.ts", "passphrase/b.ts"],
    ["formats/a.ts", "apple/b.ts"],
    ["tpm/a.ts", "apple/b.ts"],
    ["apple/a.ts", "formats/key_file.ts"],
    ["errors.ts", "platform/a.ts"],
    ["cli/a.ts", "../main.ts"],
    ["cli/a.ts", "library/b.ts"],
    ["cli/a.ts", "mod.ts"],
    ["library/a.ts", "cli/b.ts"],
    ["library/a.ts", "mod.ts"],
    ["mod.ts", "cli/a.ts"],
    ["agent/a.ts", "library/b.ts"],
    ["agent/a.ts", "mod.ts"],
  ] as const;
  for (const [from, to] of forbidden) assert.notEqual(objection(from, to), null, `${from} -> ${to}`);
  const allowed = [
    ["cli/commands/a.ts", "cli/b.ts"],
    ["cli/a.ts", "formats/b.ts"],
    ["cli/a.ts", "agent/b.ts"],
    ["library/a.ts", "agent/b.ts"],
    ["mod.ts", "library/a.ts"],
    ["mod.ts", "errors.ts"],
    ["agent/a.ts", "identity/b.ts"],
    ["identity/a.ts", "keystore/b.ts"],
    ["crypto/a.ts", "platform/host.ts"],
    ["tpm/a.ts", "platform/device.ts"],
    ["apple/a.ts", "platform/spawn.ts"],
    ["formats/a.ts", "errors.ts"],
    ["bytes.ts", "errors.ts"],
  ] as const;
  for (const [from, to] of allowed) assert.equal(objection(from, to), null, `${from} -> ${to}`);
});

test("src has files, and each belongs to a part that the rule knows", () => {
  assert.ok(files.length > 30 && edges.length > 100, `${files.length} files, ${edges.length} imports`);
  assert.deepEqual(files.filter(({ path }) => levelOf(path) < 0).map(({ path }) => path), []);
});

test("every import goes down, or sideways where the table says so", () => {
  const wrong = edges.map(({ from, to }) => ({ from, to, why: objection(from, to) })).filter(({ why }) =>
    why !== null
  );
  assert.deepEqual(wrong, []);
});

test("every sideways import that the table allows is made", () => {
  const unused = SIDEWAYS.filter(({ from, to }) =>
    !edges.some((edge) => partOf(edge.from) === from && (edge.to === to || partOf(edge.to) === to))
  );
  assert.deepEqual(unused, []);
});

test("main.ts imports nothing but src/cli", () => {
  const main = readFileSync(join(ROOT, "main.ts"), "utf8");
  assert.deepEqual(specifiers(main).filter((specifier) => !specifier.startsWith("./src/cli/")), []);
});

test("files that are loaded together make no circle", () => {
  const next = Map.groupBy(edgesBy(loadedSpecifiers), ({ from }) => from);
  const circles: string[] = [];
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]) => {
    if (trail.includes(path)) circles.push([...trail.slice(trail.indexOf(path)), path].join(" -> "));
    if (trail.includes(path) || done.has(path)) return;
    for (const { to } of next.get(path) ?? []) visit(to, [...trail, path]);
    done.add(path);
  };
  for (const { path } of files) visit(path, []);
  assert.deepEqual(circles, []);
});

test("no command loads what only completion and the manual need", () => {
  const next = Map.groupBy(edgesBy(loadedSpecifiers), ({ from }) => from);
  const loaded = new Set(["cli/run.ts"]);
  for (const path of loaded) for (const { to } of next.get(path) ?? []) loaded.add(to);
  assert.ok(loaded.has("cli/completion_command.ts"), [...loaded].join(" "));
  const late = (path: string) => path === "cli/reference.ts" || /^cli\/(commands|completion)\//.test(path);
  assert.deepEqual([...loaded].filter(late), []);
});

const TIERS = ["secure_enclave", "keychain", "tpm2", "encrypted_file"].map((name) => `keystore/${name}.ts`);
test("only keystore/select.ts imports tiers", () => {
  const importers = edges.filter(({ to }) => TIERS.includes(to)).map(({ from }) => from);
  assert.deepEqual([...new Set(importers)], ["keystore/select.ts"]);
});

test("only ffi and platform name Deno, Bun or bun:", () => {
  const others = (path: string) => !isIn("ffi", "platform")(path);
  assert.deepEqual(linesThat(/\bDeno\b\s*[.[]|\bBun\b\s*[.[]|["'`]bun:|typeof (Deno|Bun)\b/, others), []);
});

test("formats and crypto touch no files, processes, network, clock, environment or streams", () => {
  const forbidden =
    /["'`](node:)?(fs|fs\/promises|net|http|https|child_process|os|process|worker_threads|dns|tls)["'`]|\bnew Date\b|\bDate\.now\b|\bperformance\.|\bprocess\.|\bhost\.(?!runtime\b|ts")|\benv\b|\bfetch\(|setTimeout|setInterval/;
  assert.deepEqual(linesThat(forbidden, isIn("formats", "crypto")), []);
});

test("formats does not even know which runtime it runs on, and draws no random numbers", () => {
  assert.deepEqual(
    linesThat(/\bhost\b|globalThis|getRandomValues|randomUUID|Math\.random/, isIn("formats")),
    [],
  );
});

test("Math.random and eval are used nowhere", () => {
  assert.deepEqual(linesThat(/Math\.random|\beval\(|new Function\(/, () => true), []);
});

test("only cli prints, exits or sets exit codes", () => {
  const defined = ["platform/host.ts", "platform/host_deno.ts", "platform/host_node.ts"];
  const others = (path: string) => !isIn("cli")(path) && !defined.includes(path);
  const printing =
    /\bconsole\b|\b(host|process|Deno)\.(stdout|stderr)\b|\bexit\s*\(|setExitCode|\.exitCode\s*=[^=]/;
  assert.deepEqual(linesThat(printing, others), []);
  assert.deepEqual(linesThat(/\bconsole\b/, () => true), []);
});

test("no file is longer than 400 lines", () => {
  const long = files.map(({ path, text }) => [path, text.split("\n").length] as const).filter(([, lines]) =>
    lines > 400
  );
  assert.deepEqual(long, []);
});

test("nothing is left to do, hidden from the compiler or exported as default", () => {
  const found = files.flatMap(({ path, text }) =>
    text.split("\n").filter((line) =>
      /\b(TODO|FIXME|XXX|HACK)\b|^export default\b|@ts-ignore|@ts-nocheck/.test(line)
    )
      .map((line) => `${path}: ${line.trim()}`)
  );
  assert.deepEqual(found, []);
});

test("VERSION is the version of deno.json", () => {
  assert.equal(VERSION, JSON.parse(readFileSync(join(ROOT, "deno.json"), "utf8")).version);
});

test("no library path is a bare name, which Bun would load from the working directory", () => {
  const bare = linesThat(/["'`][^"'`/]*\.(so(\.\d+)*|dylib|dll)["'`]/, () => true);
  assert.deepEqual(bare.filter((line) => !/\bsystemLibraryPaths\("[^"]*"\)/.test(line)), []);
});

test(
  `no file of src awaits at its top level${isDeno ? "" : ": Deno's require() tells"}`,
  { skip: !isDeno },
  () => {
    const require = createRequire(import.meta.url);
    for (const { path } of files) require(join(SRC, path));
  },
);

test("importing all of src opens no library, no file, and starts nothing", () => {
  // A Worker's file waits for messages, which is what it is for.
  const imported = files.filter(({ path }) => !path.endsWith("_worker.ts"));
  const imports = imported.map(({ path }) => `await import(${JSON.stringify(projectUrl(`src/${path}`))});`);
  const code = `
    const opened = [];
    if ("Deno" in globalThis) {
      const { dlopen, openSync, lstatSync } = Deno;
      Deno.dlopen = (path, ...rest) => (opened.push(path), dlopen(path, ...rest));
      Deno.openSync = (path, ...rest) => (opened.push(path), openSync(path, ...rest));
      Deno.lstatSync = (path, ...rest) => (opened.push(path), lstatSync(path, ...rest));
    } else {
      const { getBuiltinModule } = process;
      process.getBuiltinModule = (name) => (opened.push(name), getBuiltinModule.call(process, name));
    }
    ${imports.join("\n")}
    console.log(JSON.stringify(opened));`;
  const { code: exitCode, stdout, stderr } = runChild(evaluation(code));
  assert.equal(stdout, "[]\n", stderr);
  assert.equal(exitCode, 0);
});
