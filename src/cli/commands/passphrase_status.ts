/** `amesh passphrase status`: where the passphrase comes from and how strong it is. */
import { type PassphraseStatus, readPassphraseStatus } from "../../identity/passphrase_status.ts";
import { describeSource } from "../../passphrase/sources.ts";
import { forbidInspection } from "../../platform/libc.ts";
import { ameshLayout } from "../../platform/paths.ts";
import { print, printJson, tell, warn } from "../output.ts";
import { formatTable } from "./status.ts";

/** Options of `passphrase status`. */
export type PassphraseStatusFlags = {
  readonly passphraseFd?: number;
  readonly json: boolean;
};

/** @throws {AmeshError} as `readPassphraseStatus`. */
export async function passphraseStatus({ passphraseFd, json }: PassphraseStatusFlags): Promise<void> {
  forbidInspection();
  const layout = await ameshLayout();
  const status = await readPassphraseStatus({ layout, input: { descriptor: passphraseFd }, warn });
  const { identity, protection: { version, cost }, source, strength, place, interrupted } = status;
  if (json) {
    await printJson({
      deviceId: identity.fields.deviceId,
      source: { ...source, description: describeSource(source) },
      place,
      strength,
      keyFile: { version, argon2: { passes: cost.t, memoryKiB: cost.m, lanes: cost.p } },
      interrupted,
    });
    return;
  }
  const rows: [string, string][] = [
    ["Device ID", identity.fields.deviceId],
    ["Source", describeSource(source)],
    ...place === null ? [] : [["Place", place] as [string, string]],
    ["Strength", describeStrength(status)],
    ["Argon2id", `${cost.t} passes, ${cost.m} KiB, ${cost.p === 1 ? "1 lane" : `${cost.p} lanes`}`],
    ["Key file", `version ${version}`],
  ];
  await print(formatTable(rows));
  for (const path of interrupted) {
    tell(`A change was interrupted: ${path} is still there; run: amesh doctor --fix`);
  }
}

function describeStrength(
  { strength: { bytes, isGenerated, bitsAtMost, isWeak } }: PassphraseStatus,
): string {
  if (isGenerated) return "in the form of the 256 random bits that amesh generates";
  const most = `${bytes === 1 ? "1 byte" : `${bytes} bytes`}, at most ${bitsAtMost} bits if chosen at random`;
  return isWeak ? `weak: ${most}; run: amesh passphrase change --generate` : most;
}
