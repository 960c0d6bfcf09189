/** What the command line of `deno task release` asks for. */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { findTargets, parseRuntime, type Runtime, type Target, UsageError } from "../compile.ts";
import { readSigningKey, type SigningKey } from "./checksums.ts";

/** Where releases are when `--releases` does not say. */
const RELEASES = "https://amesh.dev/releases";

/** The help text. */
export const USAGE = `usage: deno task release --version X.Y.Z [options]

  --target NAME|all     what archives are made for (default: all)
  --runtime deno|bun    the runtime to embed (default: bun for musl, deno for the others)
  --executables DIR     take executables from there instead of making them, by the names that compile gives them
  --helper FILE         the Secure Enclave helper for the archives for macOS (made and signed on a Mac)
  --minisign-key FILE   sign dist/SHA256SUMS with this key; the public key lies beside it, FILE with .pub for .key.
                        A password is read from the terminal, or from standard input
  --releases URL        where it will be published (default: ${RELEASES})
  --allow-dirty         also from files that are not committed`;

/** A release to make, checked. */
export interface Request {
  /** `X.Y.Z` */
  readonly version: string;
  readonly targets: readonly Target[];
  /** What the executable of a target carries. */
  readonly runtimeOf: (row: Target) => Runtime;
  /** Every runtime that is in one of the archives. */
  readonly runtimes: readonly Runtime[];
  /** Absolute directory of ready executables. */
  readonly executables: string | undefined;
  /** Absolute path. */
  readonly helper: string | undefined;
  readonly signing: SigningKey | undefined;
  /** Without a slash at its end. */
  readonly releases: string;
  readonly allowDirty: boolean;
}

const OPTIONS = {
  version: { type: "string" },
  target: { type: "string" },
  runtime: { type: "string" },
  executables: { type: "string" },
  helper: { type: "string" },
  "minisign-key": { type: "string" },
  releases: { type: "string" },
  "allow-dirty": { type: "boolean" },
} as const;

/** @throws {UsageError} and, for a key that cannot be used, {CompileError}. */
export async function parseRequest(args: readonly string[]): Promise<Request> {
  const values = parseOptions(args);
  const { version } = values;
  if (version === undefined) throw new UsageError("--version is missing");
  if (!/^\d+\.\d+\.\d+$/.test(version)) {
    throw new UsageError(`no version: "${version}": expected three numbers, as in 1.2.3`);
  }
  const targets = findTargets(values.target ?? "all");
  const runtime = parseRuntime(values.runtime);
  const runtimeOf = (row: Target) => runtime ?? row.runtime;
  const key = values["minisign-key"];
  return {
    version,
    targets,
    runtimeOf,
    runtimes: [...new Set(targets.map(runtimeOf))].sort(),
    executables: values.executables === undefined ? undefined : resolve(values.executables),
    helper: values.helper === undefined ? undefined : resolve(values.helper),
    signing: key === undefined ? undefined : await readSigningKey(resolve(key)),
    releases: checkReleases(values.releases ?? RELEASES),
    allowDirty: values["allow-dirty"] ?? false,
  };
}

function parseOptions(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

/** The address goes into a shell script and into Ruby, between quotes. */
function checkReleases(url: string): string {
  if (/^(https:\/\/|http:\/\/(127\.0\.0\.1|localhost)\b)[\w.~:/%-]*[\w]$/.test(url)) return url;
  throw new UsageError(`no address of releases: "${url}": expected https:// and no slash at the end`);
}

/** Name of an archive without `.tar.gz`, and of the one directory in it. */
export function archiveName(version: string, target: string): string {
  return `amesh-${version}-${target}`;
}
