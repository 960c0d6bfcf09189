/** What shellcheck says of shell scripts. */
import { runChild } from "./child_process.ts";

/** Why it cannot be asked, for the `skip` of a test; `false` when it can. */
export function shellcheckMissing(): string | false {
  return runChild(["shellcheck", "--version"]).code === 0 ? false : "shellcheck is not installed";
}

/** Its complaints, one per line; empty when there are none. @param path relative to the project. */
export function checkScriptFile(path: string): string {
  return complaints(runChild(["shellcheck", "--format=gcc", path]));
}

/** The same of text. @param shell what it is written for. */
export function checkScript(text: string, shell: "sh" | "bash"): string {
  return complaints(runChild(["shellcheck", "--format=gcc", `--shell=${shell}`, "-"], { input: text }));
}

function complaints({ code, stdout, stderr }: ReturnType<typeof runChild>): string {
  // Exit code 1 is for complaints; what it could not read is no answer.
  if (code !== 0 && (code !== 1 || stdout === "")) {
    throw new Error(`shellcheck: exit ${code}: ${stderr}${stdout}`);
  }
  return stdout;
}
