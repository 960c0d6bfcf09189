/** `amesh delete`: destroys this machine's key and identity. */
import type { Identity } from "../../formats/identity_file.ts";
import { deleteIdentity } from "../../identity/delete.ts";
import { forbidInspection } from "../../platform/libc.ts";
import { ameshLayout } from "../../platform/paths.ts";
import { print, printable, printJson, tell, warn } from "../output.ts";
import { confirm } from "../terminal.ts";
import { formatTable } from "./status.ts";

/** Options of `delete`. */
export type DeleteFlags = {
  readonly yes: boolean;
  readonly json: boolean;
};

/** @throws {AmeshError} as `deleteIdentity`; `ERR_USAGE` without a terminal and `--yes`; `ERR_NOT_CONFIRMED`. */
export async function deleteKey({ yes, json }: DeleteFlags): Promise<void> {
  forbidInspection();
  const layout = await ameshLayout();
  const { identity, removed, otherKeys } = await deleteIdentity({
    layout,
    warn,
    confirm: async (shown) => {
      if (!yes) await confirm(`${whatIsLost(shown)} Delete it?`);
      else if (!json) tell(printable(whatIsLost(shown)));
    },
  });
  const { deviceId, friendlyName, storageBackend } = identity.fields;
  if (json) {
    await printJson({
      deleted: true,
      deviceId,
      friendlyName,
      backend: storageBackend,
      removed,
      otherKeys,
    });
    return;
  }
  await print(formatTable([
    ["Deleted", deviceId],
    ["Name", friendlyName],
    ["Backend", storageBackend],
    ...removed.map((path): [string, string] => ["Removed", path]),
  ]));
  if (otherKeys.length > 0) {
    tell(
      printable(
        `Keys of other identities are still there, and so is the passphrase file: ${otherKeys.join(", ")}`,
      ),
    );
  }
}

/** What cannot be undone. */
function whatIsLost({ fields: { deviceId, friendlyName, storageBackend } }: Identity): string {
  return `The private key of ${deviceId} ("${friendlyName}", ${storageBackend}) is destroyed for ever: nothing can be signed ` +
    "with it any more, and it cannot be rotated. What it has signed stays valid.";
}
