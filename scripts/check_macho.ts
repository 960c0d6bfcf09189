/** `deno task check:macho`: looks at the code signatures of executables for macOS, on any system. */
import { parseArgs } from "node:util";
import { CS_ADHOC, CS_LINKER_SIGNED, CS_RUNTIME, MachOError, readMachO, type Slice } from "./macho.ts";

const USAGE = `usage: deno task check:macho [options] FILE…

Compares every page with its hash in the signature, and says whose signature it claims to be. Certificates are
checked by codesign, on macOS only.

  --identifier NAME   it must be signed as NAME (dev.amesh.cli, dev.amesh.se-helper)
  --team ID           it must be signed by this team; without it ad-hoc signatures are fine too`;

/** What every slice of a file must say. */
export interface Expectation {
  readonly identifier?: string | undefined;
  readonly team?: string | undefined;
}

/** Why a slice is not what it should be, each a sentence; empty when it is. */
export function problemsOf({ signature, problems }: Slice, { identifier, team }: Expectation = {}): string[] {
  const found = [...problems];
  if (signature === null) return found;
  if (identifier !== undefined && signature.identifier !== identifier) {
    found.push(`its identifier is "${signature.identifier}", not "${identifier}"`);
  }
  if (team !== undefined && !(signature.certified && signature.team === team)) {
    found.push(`it is not signed by team ${team}`);
  }
  return found;
}

function describe({ arch, signature }: Slice): string {
  if (signature === null) return arch;
  const { identifier, team, flags, certified, entitlements, pages } = signature;
  const words = [
    `"${identifier}"`,
    team === null ? "no team" : `team ${team}`,
    certified ? "by a certificate" : "no certificate",
    ...(flags & CS_ADHOC ? ["ad-hoc"] : []),
    ...(flags & CS_LINKER_SIGNED ? ["linker-signed"] : []),
    ...(flags & CS_RUNTIME ? ["hardened runtime"] : []),
    `${entitlements?.length ?? 0} entitlements`,
    `${pages} pages`,
  ];
  return `${arch}, ${words.join(", ")}`;
}

const OPTIONS = {
  identifier: { type: "string" },
  team: { type: "string" },
  help: { type: "boolean" },
} as const;

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true });
  } catch (error) {
    console.error(`check_macho: error: ${(error as Error).message}`);
    return null;
  }
}

async function main(args: readonly string[]): Promise<number> {
  const parsed = parse(args);
  if (parsed === null) return 2;
  const { values, positionals } = parsed;
  if (values.help || positionals.length === 0) {
    console.log(USAGE);
    return values.help ? 0 : 2;
  }
  let bad = 0;
  for (const path of positionals) {
    try {
      for (const slice of readMachO(await Deno.readFile(path))) {
        const problems = problemsOf(slice, values);
        console.log(`${problems.length === 0 ? "ok  " : "BAD "} ${path}: ${describe(slice)}`);
        for (const problem of problems) console.log(`      ${problem}`);
        bad += problems.length;
      }
    } catch (error) {
      if (!(error instanceof MachOError)) throw error;
      console.log(`BAD  ${path}: ${error.message}`);
      bad++;
    }
  }
  return bad === 0 ? 0 : 1;
}

if (import.meta.main) Deno.exitCode = await main(Deno.args);
