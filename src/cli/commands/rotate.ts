/** `amesh rotate`: a new key takes the place of the old one, and both say so. */
import { continuityFields } from "../../formats/continuity.ts";
import type { TierName } from "../../formats/identity_file.ts";
import { rotateIdentity } from "../../identity/rotate.ts";
import { PROTECTION } from "../../keystore/keystore.ts";
import { describeSource } from "../../passphrase/sources.ts";
import { forbidInspection } from "../../platform/libc.ts";
import { ameshLayout } from "../../platform/paths.ts";
import { print, printable, printJson, tell, warn } from "../output.ts";
import { askPassphrase } from "../terminal.ts";
import { describeIdentity, formatTable, identityRows } from "./status.ts";

/** Options of `rotate`. */
export type RotateFlags = {
  readonly backend?: TierName;
  readonly passphraseFd?: number;
  readonly json: boolean;
};

/** @throws {AmeshError} as `rotateIdentity`. */
export async function rotate({ backend, passphraseFd, json }: RotateFlags): Promise<void> {
  forbidInspection();
  const layout = await ameshLayout();
  const rotation = await rotateIdentity({
    layout,
    backend,
    now: new Date(),
    input: { descriptor: passphraseFd, ask: askPassphrase },
    warn,
  });
  const { identity, replaced, statement, statementFile, passphraseSource } = rotation;
  const source = passphraseSource === undefined ? undefined : describeSource(passphraseSource);
  const before = replaced.fields;
  if (PROTECTION[before.storageBackend].hardware && !PROTECTION[identity.fields.storageBackend].hardware) {
    warn(`the key was in hardware (${before.storageBackend}); the new one is in software`);
  }
  if (json) {
    await printJson({
      ...describeIdentity(identity, layout),
      replaced: { deviceId: before.deviceId, backend: before.storageBackend },
      ...source === undefined ? {} : { passphraseSource: source },
      statementFile,
      continuity: continuityFields(statement),
    });
    return;
  }
  const rows = identityRows(identity, layout);
  if (source !== undefined) rows.splice(-1, 0, ["Passphrase", source]);
  rows.splice(1, 0, ["Replaces", before.deviceId], ["Statement", statementFile]);
  await print(formatTable(rows));
  if (before.storageBackend === "encrypted-file" && source === undefined) {
    tell("No passphrase is needed any more: what holds the old one can be removed.");
  }
  tell(printable(`Give the statement to whoever knows the old key: amesh verify-rotation FILE --key OLD`));
}
