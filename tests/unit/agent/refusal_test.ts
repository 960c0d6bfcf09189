import assert from "node:assert/strict";
import { test } from "node:test";
import { errorOf, refusalOf } from "../../../src/agent/refusal.ts";
import { AmeshError } from "../../../src/errors.ts";

const said = ({ code, message, hint }: AmeshError) => ({ code, message, hint });

test("an error that was told of is the same on the other side", () => {
  for (
    const error of [new AmeshError("ERR_UNLOCK_FAILED", "a", { hint: "b" }), new AmeshError("ERR_BUSY", "c")]
  ) {
    assert.deepEqual(said(errorOf(refusalOf(error))), said(error));
  }
});

test("errorOf() adds what else can be done to the hint", () => {
  const refusal = { code: "ERR_BUSY", message: "a", hint: "b" };
  assert.equal(errorOf(refusal, "c").hint, "b; or c");
  assert.equal(errorOf({ ...refusal, hint: "" }, "c").hint, "c");
});

test("errorOf() takes no code that it does not know, and no name of the language for one", () => {
  for (const code of ["ERR_UNHEARD_OF", "", "toString", "__proto__"]) {
    assert.equal(errorOf({ code, message: "a", hint: "" }).code, "ERR_INTERNAL");
  }
});

test("refusalOf() of what is no error of ours is a defect, in its own words", () => {
  assert.deepEqual(refusalOf(new TypeError("a")), {
    code: "ERR_INTERNAL",
    message: "unexpected TypeError: a",
    hint: "this is a defect of amesh; please report it",
  });
  assert.equal(refusalOf("b").message, "unexpected b");
});
