/** What a test expects to be thrown. */
import assert from "node:assert/strict";
import { AmeshError, type AmeshErrorCode } from "../../src/errors.ts";

/** For `assert.throws` and `assert.rejects`: an AmeshError of this code whose message matches. */
export function ameshError(code: AmeshErrorCode, message = /./): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof AmeshError, `not an AmeshError: ${error}`);
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    return true;
  };
}

/** Runs a parser on input that may be anything: an AmeshError is its only way to fail. */
export async function onlyAmeshErrors(parse: () => unknown): Promise<void> {
  try {
    await parse();
  } catch (error) {
    assert.ok(error instanceof AmeshError, `not an AmeshError: ${error}`);
  }
}
