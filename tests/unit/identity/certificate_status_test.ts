import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Bytes } from "../../../src/bytes.ts";
import { parseCertificate } from "../../../src/formats/certificate.ts";
import type { Identity } from "../../../src/formats/identity_file.ts";
import {
  certificateState,
  DEFAULT_RENEW_BEFORE,
  needsRenewal,
  type RenewBefore,
} from "../../../src/identity/certificate_status.ts";

const DER = Uint8Array.from(
  readFileSync(join(import.meta.dirname!, "../../fuzz/seeds/certificate/leaf-der")),
);
/** Valid from second 1000 on for 300 seconds. */
const CERTIFICATE = { ...parseCertificate(DER, "a.pem"), notBefore: 1000, notAfter: 1299 };
const identityOf = (publicKey: Bytes) => ({ publicKey }) as Identity;
const OURS = identityOf(CERTIFICATE.publicKey as Bytes);
const stateAt = (now: number, renewBefore: RenewBefore = DEFAULT_RENEW_BEFORE) =>
  certificateState(CERTIFICATE, OURS, now, renewBefore);

test("a certificate is due when less than a third of its lifetime is left", () => {
  assert.equal(stateAt(999), "not yet valid");
  assert.equal(stateAt(1000), "valid");
  assert.equal(stateAt(1199), "valid");
  assert.equal(stateAt(1200), "due");
  assert.equal(stateAt(1299), "due");
  assert.equal(stateAt(1300), "expired");
});

test("a certificate is due by another part of its lifetime, or a time before its end", () => {
  assert.equal(stateAt(1149, { percent: 50 }), "valid");
  assert.equal(stateAt(1150, { percent: 50 }), "due");
  assert.equal(stateAt(1239, { seconds: 60 }), "valid");
  assert.equal(stateAt(1240, { seconds: 60 }), "due");
  assert.equal(stateAt(1299, { seconds: 0 }), "valid");
  assert.equal(stateAt(1000, { seconds: 1_000_000 }), "due");
});

test("a certificate of another key is of no use, however long it is valid, and none is needed by whom has a good one", () => {
  const other = Uint8Array.from(OURS.publicKey);
  other[5]! ^= 1;
  assert.equal(certificateState(CERTIFICATE, identityOf(other), 1000, { percent: 1 }), "of another key");
  assert.equal(
    certificateState({ ...CERTIFICATE, publicKey: null }, OURS, 1000, { percent: 1 }),
    "of another key",
  );
  assert.equal(certificateState(null, OURS, 1000, { percent: 1 }), "none");
  const states = ["valid", "not yet valid", "due", "expired", "of another key", "none"] as const;
  assert.deepEqual(states.map(needsRenewal), [false, false, true, true, true, true]);
});
