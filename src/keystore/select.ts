/** Which tiers there are and which one is used. The only file that imports the tiers; each is loaded when used. */
import { AmeshError } from "../errors.ts";
import { TIER_NAMES, type TierName } from "../formats/identity_file.ts";
import type { Availability, Tier } from "./keystore.ts";

const LOADERS: Readonly<Record<TierName, () => Tier | Promise<Tier>>> = {
  "secure-enclave": async () => (await import("./secure_enclave.ts")).secureEnclaveTier,
  "keychain": async () => (await import("./keychain.ts")).keychainTier,
  "tpm2": async () => (await import("./tpm2.ts")).tpm2Tier,
  "encrypted-file": async () => (await import("./encrypted_file.ts")).encryptedFileTier,
};

/** The tier of that name, whether or not it is available. */
export async function loadTier(name: TierName): Promise<Tier> {
  return await LOADERS[name]();
}

/** A tier and what its probe said. */
export interface Detection {
  readonly name: TierName;
  readonly availability: Availability;
}

/** Probes every tier, in the order in which they are tried. */
export async function detectTiers(): Promise<Detection[]> {
  const detections: Detection[] = [];
  for (const name of TIER_NAMES) {
    const tier = await loadTier(name);
    detections.push({ name, availability: await tier.probe() });
  }
  return detections;
}

/**
 * The tier that a new key goes to.
 *
 * @param backend a tier's name, or `auto` for the first available one.
 * @throws {AmeshError} `ERR_TIER_UNAVAILABLE` with the cause and the remedy; `ERR_USAGE` when the user misnamed
 *   what a tier needs.
 */
export function selectTier(detections: readonly Detection[], backend: TierName | "auto"): TierName {
  const wanted = detections.find(({ name, availability }) =>
    backend === "auto" ? availability.available || availability.code !== undefined : name === backend
  );
  if (wanted === undefined) {
    throw new AmeshError("ERR_TIER_UNAVAILABLE", "cannot make a key: no tier is available", {
      hint: "run: amesh doctor",
    });
  }
  const { name, availability } = wanted;
  if (availability.available) return name;
  const { cause, remedy, code = "ERR_TIER_UNAVAILABLE" } = availability;
  throw new AmeshError(
    code,
    `cannot use backend "${name}": ${cause}`,
    remedy === null ? {} : { hint: remedy },
  );
}
