/** A tier that this version does not have: it is probed, named and explained like the others. */
import { AmeshError } from "../errors.ts";
import type { TierName } from "../formats/identity_file.ts";
import type { Tier } from "./keystore.ts";

const CAUSE = "not part of this version yet";
const REMEDY = "use a later version of amesh, or --backend encrypted-file";

/** @returns a tier whose every operation but the probe throws `ERR_TIER_UNAVAILABLE`. */
export function absentTier(name: TierName): Tier {
  const refuse = () => {
    throw new AmeshError("ERR_TIER_UNAVAILABLE", `cannot use backend "${name}": ${CAUSE}`, { hint: REMEDY });
  };
  return {
    name,
    probe: () => Promise.resolve({ available: false, cause: CAUSE, remedy: REMEDY }),
    generate: refuse,
    open: refuse,
    inspect: refuse,
    checkDelete: refuse,
    delete: refuse,
  };
}
