/** The fake Secure Enclave helper as a program of its own, which takes no arguments. */
import { chmodSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { TEST_HELPER_VARIABLE } from "../../src/apple/find_helper.ts";
import { EnclaveHelper, type HelperLimits } from "../../src/apple/helper.ts";
import { makeSecureEnclaveTier } from "../../src/keystore/secure_enclave.ts";
import type { Tier } from "../../src/keystore/keystore.ts";
import { isDeno } from "./child_process.ts";

const PROGRAM = join(import.meta.dirname!, "..", "fakes", "fake_helper.ts");
/** Faults that the fake is told by, where a script sets them and not the one who makes it. */
export const FAULTS_VARIABLE = "AMESH_FAKE_HELPER";

/** Where the machine is slow the fake takes a second to start. */
export const PATIENT: HelperLimits = { requestMs: 20_000, totalMs: 60_000 };

/**
 * Makes the program. @param faults as fake_helper.ts takes them; what {@linkcode FAULTS_VARIABLE} says counts instead.
 *
 * @returns its path.
 */
export function makeFakeHelper(directory: string, faults = "", name = "amesh-se-helper"): string {
  const path = join(directory, name);
  // A cache of the user's own home would be made anew in every home that a test makes up.
  const runtime = isDeno
    ? `DENO_DIR=${quote(denoDirectory())} exec ${
      quote(process.execPath)
    } run --quiet --no-config --no-check --allow-all`
    : `exec ${quote(process.execPath)} run`;
  const script = `#!/bin/sh\n${runtime} ${quote(PROGRAM)} "\${${FAULTS_VARIABLE}-${faults}}"\n`;
  writeFileSync(path, script);
  chmodSync(path, 0o755);
  return path;
}

const quote = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

function denoDirectory(): string {
  const home = process.env["HOME"] ?? "/tmp";
  return process.env["DENO_DIR"] ?? join(home, ".cache", "deno");
}

/** Starts it. */
export function startFakeHelper(
  directory: string,
  faults = "",
  limits: HelperLimits = PATIENT,
): EnclaveHelper {
  return new EnclaveHelper(makeFakeHelper(directory, faults), limits);
}

/** The tier on a helper of that path. */
export function tierOn(path: string, limits: HelperLimits = PATIENT): Tier {
  return makeSecureEnclaveTier({ find: () => ({ path, isDouble: true }), limits, trialLimits: limits });
}

/** The arguments that start amesh, with Deno's permissions widened so that it looks for the fake. */
export function permitFakeHelper(argv: readonly string[]): string[] {
  return argv.map((word) => word.startsWith("--allow-env=") ? `${word},${TEST_HELPER_VARIABLE}` : word);
}

/** Names of the processes that a process has started and that are there, reaped or not. Linux. */
export function childrenOf(pid: number): string[] {
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((name) => {
    const [, program, parent] = /^\d+ \((.*)\) \S (\d+)/s.exec(textOf(`/proc/${name}/stat`)) ?? [];
    return program !== undefined && Number(parent) === pid ? [program] : [];
  });
}

/** Empty for a process that has just gone. */
function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
