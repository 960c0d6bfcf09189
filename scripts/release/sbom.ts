/** The bill of materials: what is in the executables, in CycloneDX 1.6 JSON. */
import { join, resolve } from "node:path";
import { BUN_VERSION, CompileError, installPackages, MODULES, runProgram } from "../build.ts";
import type { Runtime } from "../compile.ts";
import type { Commit } from "./checks.ts";

const ROOT = resolve(import.meta.dirname!, "..", "..");

/** An npm package in the executables. */
export interface NpmPackage {
  readonly name: string;
  readonly version: string;
  /** SPDX identifier or expression. */
  readonly license: string;
  /** SHA-512 of the package as npm serves it, in the form of the lock file: `sha512-` and base64. */
  readonly integrity: string;
  /** `name@version` of each package that it needs. */
  readonly dependencies: readonly string[];
}

/** Everything that a bill of materials says. */
export interface Materials {
  readonly version: string;
  readonly commit: Pick<Commit, "id" | "time">;
  /** The packages that the source itself imports. */
  readonly direct: readonly string[];
  /** All packages by `name@version`. */
  readonly packages: ReadonlyMap<string, NpmPackage>;
  readonly runtimes: readonly Runtime[];
  readonly denoVersion: string;
}

/** What `deno info --json` says of a module and what it imports. */
interface ModuleGraph {
  readonly modules: readonly { readonly npmPackage?: string }[];
  readonly npmPackages: Readonly<
    Record<
      string,
      { readonly name: string; readonly version: string; readonly dependencies: readonly string[] }
    >
  >;
}

/** The text of the bill of materials of this source. @throws {CompileError} */
export async function makeSbom(
  release: Pick<Materials, "version" | "commit" | "runtimes">,
): Promise<string> {
  await installPackages();
  const lock = JSON.parse(await Deno.readTextFile(join(ROOT, "deno.lock")));
  const direct = new Set<string>();
  const packages = new Map<string, NpmPackage>();
  for (const graph of await Promise.all(MODULES.map(moduleGraph))) {
    const visit = async (id: string) => {
      const { name, version, dependencies } = graph.npmPackages[id]!;
      if (packages.has(id)) return;
      const { integrity } = lock.npm[id];
      packages.set(id, { name, version, dependencies, integrity, license: await licenseOf(id, name) });
      for (const dependency of dependencies) await visit(dependency);
    };
    for (const { npmPackage } of graph.modules) {
      if (npmPackage === undefined) continue;
      direct.add(npmPackage);
      await visit(npmPackage);
    }
  }
  const materials = { ...release, direct: [...direct].sort(), packages, denoVersion: Deno.version.deno };
  return await formatSbom(materials);
}

async function moduleGraph(path: string): Promise<ModuleGraph> {
  const { success, text, stdout } = await runProgram([Deno.execPath(), "info", "--json", path]);
  if (!success) throw new CompileError(`cannot tell what ${path} imports:\n${text.trim()}`);
  return JSON.parse(stdout);
}

/** Where Deno keeps a package: its own directory in node_modules. */
async function licenseOf(id: string, name: string): Promise<string> {
  const directory = join(ROOT, "node_modules", ".deno", id.replace("/", "+"), "node_modules", name);
  return JSON.parse(await Deno.readTextFile(join(directory, "package.json"))).license;
}

/**
 * The same materials give the same text: its time is that of the commit, its serial number follows from the rest.
 *
 * @see https://cyclonedx.org/docs/1.6/json/
 */
async function formatSbom(materials: Materials): Promise<string> {
  const { version, commit, direct, packages, runtimes, denoVersion } = materials;
  const main = `pkg:generic/amesh@${version}`;
  const runtimeParts = runtimes.map((name) => runtimeComponent(name, denoVersion));
  const sorted = [...packages].sort(([a], [b]) => (a < b ? -1 : 1));
  const refOf = (id: string) => purlOf(packages.get(id)!);
  const content = {
    metadata: {
      timestamp: new Date(commit.time * 1000).toISOString(),
      component: {
        type: "application",
        "bom-ref": main,
        name: "amesh",
        version,
        licenses: [{ license: { id: "MIT" } }],
        purl: main,
        properties: [{ name: "amesh:commit", value: commit.id }],
      },
    },
    components: [...runtimeParts, ...sorted.map(([, part]) => npmComponent(part))],
    dependencies: [
      { ref: main, dependsOn: [...runtimeParts.map((part) => part["bom-ref"]), ...direct.map(refOf)] },
      ...runtimeParts.map((part) => ({ ref: part["bom-ref"] })),
      ...sorted.map(([, part]) => ({ ref: purlOf(part), dependsOn: part.dependencies.map(refOf) })),
    ],
  };
  const bom = {
    $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: await serialNumber(JSON.stringify(content)),
    version: 1,
    ...content,
  };
  return JSON.stringify(bom, null, 2) + "\n";
}

function npmComponent(part: NpmPackage) {
  const [scope, name] = part.name.startsWith("@") ? part.name.split("/") : [undefined, part.name];
  const isExpression = /\s/.test(part.license);
  return {
    type: "library",
    "bom-ref": purlOf(part),
    ...(scope === undefined ? {} : { group: scope }),
    name,
    version: part.version,
    hashes: [{ alg: "SHA-512", content: hexOf(part.integrity) }],
    licenses: [isExpression ? { expression: part.license } : { license: { id: part.license } }],
    purl: purlOf(part),
  };
}

/** @see https://github.com/package-url/purl-spec: the at sign of a scope is encoded. */
function purlOf({ name, version }: Pick<NpmPackage, "name" | "version">): string {
  return `pkg:npm/${name.replace("@", "%40")}@${version}`;
}

function runtimeComponent(name: Runtime, denoVersion: string) {
  const version = name === "bun" ? BUN_VERSION : denoVersion;
  const purl = name === "bun" ? purlOf({ name: "bun", version }) : `pkg:github/denoland/deno@v${version}`;
  return { type: "platform", "bom-ref": purl, name, version, licenses: [{ license: { id: "MIT" } }], purl };
}

function hexOf(integrity: string): string {
  const base64 = /^sha512-([A-Za-z0-9+/]{86}==)$/.exec(integrity)?.[1];
  if (base64 === undefined) throw new CompileError(`deno.lock has no SHA-512: "${integrity}"`);
  return Uint8Array.fromBase64(base64).toHex();
}

/** A UUID of version 8 (RFC 9562 §5.8) from the SHA-256 of the content. */
async function serialNumber(content: string): Promise<string> {
  const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(content)));
  bytes[6] = 0x80 | bytes[6]! & 0x0f;
  bytes[8] = 0x80 | bytes[8]! & 0x3f;
  const hex = bytes.subarray(0, 16).toHex();
  return `urn:uuid:${hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5")}`;
}
