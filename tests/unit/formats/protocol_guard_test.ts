import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { concatBytes, utf8 } from "../../../src/bytes.ts";
import { refuseProtocols as refuseUnless } from "../../../src/formats/protocol_guard.ts";
import { PROTOCOL_START_BYTES } from "../../../src/formats/protocol_message.ts";
import { tokenInput } from "../../support/protocol_messages.ts";
import { ameshError } from "../../support/errors.ts";
import { inPieces } from "../../support/message_pieces.ts";

const refuseProtocols = (message: AsyncIterable<Uint8Array>) => refuseUnless(message, "--say-so");

async function passOn(message: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  let all: Uint8Array = new Uint8Array(0);
  for await (const piece of refuseProtocols(message)) all = concatBytes(all, piece);
  return all;
}

const refused = ameshError("ERR_USAGE", /^cannot sign this message: it is a statement of amesh itself$/);
const STATEMENT = concatBytes(utf8("amesh continuity v1\0"), new Uint8Array(300).fill(7));
/** Of exactly so many bytes. */
const statementOf = (length: number) => STATEMENT.subarray(0, length);

for (const size of [1, 2, 3, 7, 19, 20, 21, 32, 63, 64, 65, 128, 320]) {
  test(`refuseProtocols() refuses a statement in pieces of ${size} bytes before any of it is passed on`, async () => {
    for (const length of [20, 63, 64, 65, 128, 320]) {
      let passed = 0;
      const guarded = refuseProtocols(inPieces(statementOf(length), Array(length).fill(size)));
      await assert.rejects(async () => {
        for await (const piece of guarded) passed += piece.length;
      }, refused);
      assert.equal(passed, 0);
    }
  });

  test(`refuseProtocols() passes on another message in pieces of ${size} bytes as it stands`, async () => {
    for (const length of [0, 1, 19, 20, 63, 64, 65, 128, 1000]) {
      const message = Uint8Array.from({ length }, (_, i) => i * 7 + 1);
      assert.deepEqual(await passOn(inPieces(message, Array(length).fill(size))), message);
    }
  });
}

test("refuseProtocols() decides alike for every division into pieces, empty ones too", async () => {
  const message = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.uint8Array({ maxLength: 200 }).map((rest) => concatBytes(utf8("amesh continuity v1\0"), rest)),
    fc.uint8Array({ maxLength: 200 }).map((rest) => concatBytes(utf8("amesh continuity v1"), rest)),
  );
  await fc.assert(
    fc.asyncProperty(message, fc.array(fc.nat({ max: 70 }), { maxLength: 20 }), async (bytes, sizes) => {
      const text = new TextDecoder("latin1").decode(bytes);
      if (text.startsWith("amesh continuity v1\0")) {
        await assert.rejects(passOn(inPieces(bytes, sizes)), refused);
      } else if (!/^amesh [a-z0-9 -]+ v\d+\0/.test(text)) {
        assert.deepEqual(await passOn(inPieces(bytes, sizes)), Uint8Array.from(bytes));
      }
    }),
    { numRuns: 300 },
  );
});

test("refuseProtocols() says how to sign it all the same", async () => {
  await assert.rejects(passOn(inPieces(STATEMENT, [])), (error) => {
    assert.match((error as { hint: string }).hint, /--say-so$/);
    return true;
  });
});

test("refuseProtocols() passes on the error of a message that cannot be read", async () => {
  const failing = async function* () {
    yield utf8("first");
    throw new Error("disk on fire");
  };
  await assert.rejects(passOn(failing()), /disk on fire/);
});

test("refuseProtocols() looks at the start of a message, not of a long piece", async () => {
  const long = concatBytes(STATEMENT, new Uint8Array(PROTOCOL_START_BYTES));
  await assert.rejects(passOn(inPieces(long, [10])), refused);
  const other = concatBytes(utf8("not "), long);
  assert.deepEqual(await passOn(inPieces(other, [4])), other);
});

/** One byte shorter than what is looked at, as long, and longer. */
const LENGTHS = [-1, 0, 1, 70_000].map((more) => PROTOCOL_START_BYTES + more);
for (const size of [1, 4095, 65_535, 65_536, 65_537, 131_072]) {
  test(`refuseProtocols() passes on a long message in pieces of ${size} bytes as it stands`, async () => {
    for (const length of LENGTHS) {
      const message = Uint8Array.from({ length }, (_, i) => i * 7 + (i >> 8));
      const pieces: Uint8Array[] = [];
      // Each piece is valid until the next.
      for await (const piece of refuseProtocols(inPieces(message, Array(length).fill(size)))) {
        pieces.push(Uint8Array.from(piece));
      }
      assert.deepEqual(concatBytes(...pieces), message);
    }
  });

  test(`refuseProtocols() looks at no more and no less of a message in pieces of ${size} bytes`, async () => {
    // A token whose header ends with its dot at the last place that is looked at, and at the next one.
    for (const [length, isToken] of [[65_535, true], [65_536, false]] as const) {
      const token = tokenInput("\0".repeat(length * 3 / 4 - 5) + '"alg"', "e30");
      const junk = new Uint8Array(length - token.indexOf(0x2e));
      const message = concatBytes(junk, token);
      assert.equal(message.indexOf(0x2e), length);
      const passed = passOn(inPieces(message, Array(message.length).fill(size)));
      if (isToken) {
        await assert.rejects(passed, ameshError("ERR_USAGE", /it is the signing input of a token/));
      } else assert.deepEqual(await passed, message);
    }
  });
}

test("refuseProtocols() passes on the piece itself when it is long", async () => {
  const piece = new Uint8Array(PROTOCOL_START_BYTES);
  const message = async function* () {
    yield piece;
    yield piece.subarray(1);
  };
  const passed: Uint8Array[] = [];
  for await (const part of refuseProtocols(message())) passed.push(part);
  assert.deepEqual(passed.map(({ buffer, byteOffset }) => [buffer === piece.buffer, byteOffset]), [
    [true, 0],
    [true, 1],
  ]);
});

test("refuseProtocols() takes a message that is cut off where it ends for the whole of it", async () => {
  const header = tokenInput(`{"x":"${"x".repeat(60_000)}`, "").subarray(0, PROTOCOL_START_BYTES);
  const short = header.subarray(0, -1);
  assert.deepEqual(await passOn(inPieces(short, [])), short);
  await assert.rejects(
    passOn(inPieces(header, [])),
    ameshError("ERR_USAGE", /it is the signing input of a token/),
  );
});

test("refuseProtocols() does not read on when nobody wants more", async () => {
  let read = 0;
  let closed = false;
  const endless = async function* () {
    try {
      for (;;) {
        read++;
        yield new Uint8Array(40_000);
      }
    } finally {
      closed = true;
    }
  };
  for await (const _piece of refuseProtocols(endless())) break;
  assert.deepEqual([read, closed], [2, true]);
});
