import assert from "node:assert/strict";
import { test } from "node:test";
import {
  AppleError,
  conditionOf,
  ITEM_NOT_FOUND,
  type KeychainCondition,
} from "../../../src/apple/os_status.ts";

/** Status, its name in SecBase.h or MacErrors.h, what it means here. */
const statuses: readonly (readonly [number, string, KeychainCondition])[] = [
  [-25308, "errSecInteractionNotAllowed", "notAllowed"],
  [-25315, "errSecInteractionRequired", "notAllowed"],
  [-25320, "errSecInDarkWake", "notAllowed"],
  [-25293, "errSecAuthFailed", "denied"],
  [-128, "errSecUserCanceled", "cancelled"],
  [-25291, "errSecNotAvailable", "noKeychain"],
  [-25307, "errSecNoDefaultKeychain", "noKeychain"],
  [-25294, "errSecNoSuchKeychain", "noKeychain"],
  [-25295, "errSecInvalidKeychain", "noKeychain"],
  [-25300, "errSecItemNotFound", "notFound"],
  [-25299, "errSecDuplicateItem", "duplicate"],
  [-25292, "errSecReadOnly", "readOnly"],
  [-61, "errSecWrPerm", "readOnly"],
  [-34, "errSecDiskFull", "storage"],
  [-36, "errSecIO", "storage"],
  [-67585, "errSecServiceNotAvailable", "unreachable"],
  [-34018, "errSecMissingEntitlement", "notEntitled"],
  [-4, "errSecUnimplemented", "unsupported"],
  [-50, "errSecParam", "misused"],
  [-1, "another", "refused"],
];
for (const [status, name, condition] of statuses) {
  test(`${name} (${status}) is "${condition}", with a cause and a remedy`, () => {
    assert.equal(conditionOf(status), condition);
    const error = new AppleError(condition, "SecItemDelete", status, "as macOS says");
    assert.equal(error.code, condition === "notFound" ? "ERR_CORRUPT" : "ERR_TIER_UNAVAILABLE");
    assert.match(error.message, new RegExp(`^cannot use the keychain: \\w.*\\(SecItemDelete: ${status}`));
    assert.equal(error.message.includes("as macOS says"), condition === "refused");
    assert.ok(error.hint !== undefined && error.hint.length > 0 && !error.hint.endsWith("."));
  });
}

test("an AppleError without a status names the function alone", () => {
  assert.match(
    new AppleError("silent", "SecKeyCreateSignature", null).message,
    /reason \(SecKeyCreateSignature\)$/,
  );
  assert.equal(conditionOf(ITEM_NOT_FOUND), "notFound");
});
