import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8 } from "../../../src/bytes.ts";
import { OpenedKey } from "../../../src/library/opened_key.ts";
import { ameshPlace, FLOOR_PASSPHRASE } from "../../support/amesh_place.ts";
import { ameshError } from "../../support/errors.ts";

test("OpenedKey.open() wipes the passphrase as soon as the key is open, and when it is the wrong one", async () => {
  using here = ameshPlace("floor");
  for (const [text, isRight] of [[FLOOR_PASSPHRASE, true], ["another one", false]] as const) {
    const bytes = utf8(text);
    const opening = OpenedKey.open(here.layout, here.warn, { given: () => Promise.resolve(bytes) });
    const key = isRight ? await opening : null;
    if (key === null) await assert.rejects(opening, ameshError("ERR_UNLOCK_FAILED"));
    assert.deepEqual(bytes, new Uint8Array(bytes.length));
    key?.retire();
  }
});
