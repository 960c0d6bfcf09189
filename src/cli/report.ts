/** Reporting an error: the only place that does, and that sets the exit code of a failure. */
import { AmeshError, errnoOf, Interrupted, systemError } from "../errors.ts";
import { host } from "../platform/host.ts";
import { OutputClosed, printable, printJson, tell } from "./output.ts";

/**
 * Shows an error and sets the exit code. A reader that has gone away is none; who pressed Ctrl-C knows it.
 *
 * @param json as `{"error":{code,message,hint}}` on stdout; on stderr where stdout is what failed.
 */
export async function report(error: unknown, json: boolean): Promise<void> {
  if (error instanceof OutputClosed) return;
  if (error instanceof Interrupted) return host.setExitCode(128 + error.signalNumber);
  const { exitCode, code, message, hint } = explain(error);
  host.setExitCode(exitCode);
  if (json) {
    try {
      return await printJson({ error: { code, message, hint: hint ?? null } });
    } catch (failure) {
      if (failure instanceof OutputClosed) return;
    }
  }
  tell(`amesh: error: ${printable(message)}`);
  if (hint !== undefined) tell(`amesh: hint: ${printable(hint)}`);
}

function explain(error: unknown): AmeshError {
  if (error instanceof AmeshError) return error;
  if (errnoOf(error) !== undefined) return systemError("go on", error);
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return new AmeshError("ERR_INTERNAL", `unexpected ${text}`, {
    hint: "this is a defect of amesh; please report it with the command that you ran",
    cause: error,
  });
}
