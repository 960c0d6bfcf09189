/** `amesh init`: gives this machine an identity. */
import type { TierName } from "../../formats/identity_file.ts";
import { createIdentity } from "../../identity/create.ts";
import type { Detection } from "../../keystore/select.ts";
import { describeSource } from "../../passphrase/sources.ts";
import { AmeshError } from "../../errors.ts";
import { forbidInspection } from "../../platform/libc.ts";
import { ameshLayout } from "../../platform/paths.ts";
import { print, printable, printJson, tell, warn } from "../output.ts";
import { describeIdentity, formatTable, identityRows } from "./status.ts";

/** Options of `init`. */
export type InitFlags = {
  readonly name: string;
  readonly backend: TierName | "auto";
  readonly force: boolean;
  readonly ifMissing: boolean;
  readonly passphraseFd?: number;
  readonly json: boolean;
};

/** @throws {AmeshError} as `createIdentity`. */
export async function init(
  { name, backend, force, ifMissing, passphraseFd, json }: InitFlags,
): Promise<void> {
  if (force && ifMissing) {
    throw new AmeshError("ERR_USAGE", "--force and --if-missing contradict each other", {
      hint: "use one of them",
    });
  }
  forbidInspection();
  const layout = await ameshLayout();
  let found: readonly Detection[] = [];
  const { identity, created, passphraseSource } = await createIdentity({
    layout,
    name,
    backend,
    force,
    ifMissing,
    now: new Date(),
    input: { descriptor: passphraseFd },
    warn,
    onDetected: (detections, selected) => {
      found = detections;
      if (!json) { for (const detection of detections) tell(printable(detectionLine(detection, selected))); }
    },
  });
  const source = passphraseSource === undefined ? undefined : describeSource(passphraseSource);
  if (json) {
    const passphrase = source === undefined ? {} : { passphraseSource: source };
    const detection = found.map(({ name, availability }) => ({ backend: name, ...availability }));
    await printJson({ created, ...describeIdentity(identity, layout), ...passphrase, detection });
    return;
  }
  if (!created) tell("There is an identity already; nothing was changed.");
  const rows = identityRows(identity, layout);
  if (source !== undefined) rows.splice(-1, 0, ["Passphrase", source]);
  await print(formatTable(rows));
}

function detectionLine({ name, availability }: Detection, selected: TierName): string {
  if (name === selected) return `${name}: selected`;
  if (availability.available) return `${name}: available`;
  return `${name}: not available: ${availability.cause}`;
}
