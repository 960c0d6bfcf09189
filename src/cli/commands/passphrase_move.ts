/** `amesh passphrase move`: puts the passphrase file somewhere else and says which variable to set. */
import { AmeshError } from "../../errors.ts";
import { movePassphrase } from "../../identity/passphrase_move.ts";
import { PASSPHRASE_FILE_VARIABLE } from "../../passphrase/sources.ts";
import { findInput } from "../../platform/input.ts";
import { forbidInspection } from "../../platform/libc.ts";
import { findFileSystem, isVolatile } from "../../platform/mounts.ts";
import { absolutePath, ameshLayout, shellQuote } from "../../platform/paths.ts";
import { print, printable, printJson, tell, warn } from "../output.ts";

/** Options of `passphrase move`. */
export type PassphraseMoveFlags = {
  readonly removeOld: boolean;
  readonly json: boolean;
};

/** @throws {AmeshError} as `movePassphrase`. */
export async function passphraseMove({ removeOld, json }: PassphraseMoveFlags, file: string): Promise<void> {
  if (file === "") throw new AmeshError("ERR_USAGE", "no file is named", { hint: "name the new file" });
  forbidInspection();
  const layout = await ameshLayout();
  const target = absolutePath(file);
  const { from, isRemoved } = await movePassphrase({ layout, target, removeOld, input: {}, warn });
  const isDefault = target === layout.passphrase;
  const info = findInput(target);
  if (info !== null && !isRemoved && isVolatile(findFileSystem(info))) {
    warn(`${target} is in memory and gone when the machine restarts: keep the passphrase elsewhere too`);
  }
  if (json) {
    const variable = isDefault ? null : { name: PASSPHRASE_FILE_VARIABLE, value: target };
    await printJson({ from, to: target, removedOld: isRemoved, variable });
    return;
  }
  const old = from === null
    ? "It was there already."
    : isRemoved
    ? `${from} is gone.`
    : `${from} is still there.`;
  tell(printable(`The key opens with ${target}. ${old} Set for every command of amesh:`));
  // What a shell takes as it stands.
  await print(
    isDefault ? `unset ${PASSPHRASE_FILE_VARIABLE}\n` : `${PASSPHRASE_FILE_VARIABLE}=${shellQuote(target)}\n`,
  );
}
