/** The executables of a release: made here, or taken as they are. */
import { basename, dirname, join } from "node:path";
import { buildExecutable, CompileError, runProgram } from "../build.ts";
import { hostTarget, permissionFlags, type Target, warnOfSignature } from "../compile.ts";
import type { Request } from "./request.ts";

/**
 * @param directory is made for executables that are made here, and for one that is tried.
 * @returns absolute paths by name of the target.
 * @throws {CompileError} also for a file that cannot be the executable of its target.
 */
export async function readyExecutables(
  request: Request,
  directory: string,
): Promise<ReadonlyMap<string, string>> {
  const paths = new Map<string, string>();
  for (const row of request.targets) {
    const path = join(request.executables ?? directory, row.output);
    if (request.executables === undefined) await build(row, request, path);
    checkPlatform(await readHead(path), row, path);
    if (row.name.startsWith("darwin-")) await warnOfSignature(path);
    if (row === hostTarget()) await checkVersion(path, directory, request.version);
    paths.set(row.name, path);
  }
  return paths;
}

async function build(row: Target, request: Request, output: string): Promise<void> {
  const runtime = request.runtimeOf(row);
  await buildExecutable({ ...row, runtime, permissions: permissionFlags(), output, verbose: false }, false);
}

/** Bytes from the start of a file in which its format and platform stand. */
const HEAD = 4096;

async function readHead(path: string): Promise<Uint8Array> {
  try {
    using file = await Deno.open(path);
    const head = new Uint8Array(HEAD);
    return head.subarray(0, await file.read(head) ?? 0);
  } catch (error) {
    throw new CompileError(`cannot read the executable "${path}": ${(error as Error).message}`);
  }
}

/** What the head of an executable says, or `null` for none that amesh is built for. */
export function platformOf(head: Uint8Array): string | null {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const number = (offset: number, size: 2 | 4, littleEndian = true) => {
    if (offset + size > head.length) return -1;
    return size === 2 ? view.getUint16(offset, littleEndian) : view.getUint32(offset, littleEndian);
  };
  // System V ABI, ELF header: e_ident, e_machine.
  if (number(0, 4, false) === 0x7f454c46) {
    return { 62: "linux-x64", 183: "linux-arm64" }[number(18, 2)] ?? null;
  }
  // <mach-o/loader.h>: mach_header_64.cputype.
  if (number(0, 4) === 0xfeedfacf) {
    return { 0x01000007: "darwin-x64", 0x0100000c: "darwin-arm64" }[number(4, 4)] ?? null;
  }
  // PE format: e_lfanew, the signature, Machine.
  const pe = number(0x3c, 4);
  if (number(0, 2) !== 0x5a4d || number(pe, 4) !== 0x00004550) return null;
  return number(pe + 4, 2) === 0x8664 ? "windows-x64" : null;
}

function checkPlatform(head: Uint8Array, row: Target, path: string): void {
  const found = platformOf(head);
  if (found === row.name.replace(/-musl$/, "")) return;
  throw new CompileError(`"${basename(path)}" is for ${found ?? "no platform of ours"}, not for ${row.name}`);
}

/** Runs a copy: an executable that came as an artifact of another job has lost its mode. */
async function checkVersion(path: string, directory: string, version: string): Promise<void> {
  const copy = join(directory, "tried", basename(path));
  await Deno.mkdir(dirname(copy), { recursive: true });
  await Deno.copyFile(path, copy);
  await Deno.chmod(copy, 0o755);
  const { text } = await runProgram([copy, "--version"], { env: {} });
  await Deno.remove(copy);
  if (text !== `amesh ${version}\n`) {
    throw new CompileError(`"${path}" is not amesh ${version}: it says ${JSON.stringify(text.trim())}`);
  }
}
