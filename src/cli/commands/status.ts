/** `amesh status`: who this machine is. Reads identity.json and nothing else. */
import { encodeBase64 } from "../../bytes.ts";
import type { Identity } from "../../formats/identity_file.ts";
import { loadIdentity } from "../../identity/store.ts";
import { PROTECTION } from "../../keystore/keystore.ts";
import { host } from "../../platform/host.ts";
import { ameshLayout, type Layout } from "../../platform/paths.ts";
import { print, printable, printJson } from "../output.ts";

/** Options of `status`. */
export type StatusFlags = {
  readonly json: boolean;
};

/** @throws {AmeshError} `ERR_NO_IDENTITY`, `ERR_CORRUPT`, `ERR_UNSAFE_PERMISSIONS`, `ERR_SYSTEM`. */
export async function status({ json }: StatusFlags): Promise<void> {
  const layout = await ameshLayout();
  const identity = await loadIdentity(layout);
  if (json) await printJson(describeIdentity(identity, layout));
  else await print(formatTable(identityRows(identity, layout)));
}

/** The identity as `--json` shows it. */
export function describeIdentity({ fields, publicKey }: Identity, layout: Layout): Record<string, unknown> {
  return {
    deviceId: fields.deviceId,
    friendlyName: fields.friendlyName,
    backend: fields.storageBackend,
    publicKey: encodeBase64(publicKey),
    createdAt: fields.createdAt,
    directory: layout.directory,
    files: { identity: layout.identity, keys: layout.keys },
    protection: PROTECTION[fields.storageBackend],
  };
}

/** The identity as rows of label and value. */
export function identityRows({ fields, publicKey }: Identity, layout: Layout): [string, string][] {
  const { summary, extractable } = PROTECTION[fields.storageBackend];
  const rows: [string, string][] = [
    ["Device ID", fields.deviceId],
    ["Name", fields.friendlyName],
    ["Backend", fields.storageBackend],
    ["Public key", encodeBase64(publicKey)],
    ["Created", fields.createdAt],
    ["Identity", layout.identity],
    ["Keys", layout.keys],
    ["Extractable", extractable],
    ["Protection", summary],
  ];
  if (host.os === "windows") {
    rows.push([
      "Files",
      "protected by the access lists of the user profile; file modes are not enforced on Windows",
    ]);
  }
  return rows;
}

/** Rows as aligned text, a line each. */
export function formatTable(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([label]) => label.length)) + 1;
  return rows.map(([label, value]) => `${`${label}:`.padEnd(width)} ${printable(value)}\n`).join("");
}
