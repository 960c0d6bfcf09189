import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import * as nodeCrypto from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { type Bytes, encodeHex, utf8 } from "../../../src/bytes.ts";
import {
  notEnoughMemory,
  type StretchInput,
  stretchPassphrase,
  stretchWasm,
} from "../../../src/crypto/argon2id.ts";
import type { Argon2Params } from "../../../src/formats/key_file.ts";
import { isDeno } from "../../support/child_process.ts";
import { ameshError } from "../../support/errors.ts";

// Argon2id vectors, version 0x13, of the reference implementation: phc-winner-argon2, src/test.c (see tests/vectors).
const reference: [password: string, salt: string, params: Argon2Params, want: string][] = [
  [
    "password",
    "somesalt",
    { t: 2, m: 1 << 16, p: 1 },
    "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7",
  ],
  [
    "password",
    "somesalt",
    { t: 2, m: 1 << 8, p: 1 },
    "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe",
  ],
  [
    "password",
    "somesalt",
    { t: 2, m: 1 << 8, p: 2 },
    "6d093c501fd5999645e0ea3bf620d7b8be7fd2db59c20d9fff9539da2bf57037",
  ],
  [
    "password",
    "somesalt",
    { t: 1, m: 1 << 16, p: 1 },
    "f6a5adc1ba723dddef9b5ac1d464e180fcd9dffc9d1cbf76cca2fed795d9ca98",
  ],
  [
    "password",
    "somesalt",
    { t: 4, m: 1 << 16, p: 1 },
    "9025d48e68ef7395cca9079da4c4ec3affb3c8911fe4f86d1a2520856f63172c",
  ],
  [
    "differentpassword",
    "somesalt",
    { t: 2, m: 1 << 16, p: 1 },
    "0b84d652cf6b0c4beaef0dfe278ba6a80df6696281d7e0d2891b817d8c458fde",
  ],
  [
    "password",
    "diffsalt",
    { t: 2, m: 1 << 16, p: 1 },
    "bdf32b05ccc42eb15d58fd19b1f856b113da1e9a5874fdcc544308565aa8141c",
  ],
];

type Stretch = (input: StretchInput) => Promise<Bytes>;
const foreground: Stretch = (input) => stretchPassphrase(input, false);
const background: Stretch = (input) => stretchPassphrase(input, true);

for (const [password, salt, params, want] of reference) {
  const { t, m, p } = params;
  // The portable code is what Deno's foreground runs too, and a Worker runs it: the cheap ones tell enough there.
  const ways: [name: string, stretch: Stretch][] = [["stretchPassphrase()", foreground]];
  if (m < 1 << 16) {
    ways.push(["stretchPassphrase() in the background", background], ["stretchWasm()", stretchWasm]);
  }
  for (const [name, stretch] of ways) {
    test(`${name} gives the reference's value for ${password}, ${salt}, t=${t} m=${m} p=${p}`, async () => {
      assert.equal(encodeHex(await stretch({ passphrase: utf8(password), salt: utf8(salt), params })), want);
    });
  }
}

const passphrase = fc.uint8Array({ minLength: 1, maxLength: 120 }).map((bytes) => Uint8Array.from(bytes));
const params = fc.record({
  t: fc.integer({ min: 1, max: 3 }),
  m: fc.integer({ min: 32, max: 1024 }),
  p: fc.integer({ min: 1, max: 4 }),
});

const tool = spawnSync("argon2", ["-h"]).error === undefined;
test(
  `stretchPassphrase() and stretchWasm() give what the C tool argon2 gives${
    tool ? "" : ": there is no argon2"
  }`,
  { skip: !tool },
  async () => {
    // The tool takes the salt as an argument, so it is text here.
    const text = fc.string({ unit: fc.constantFrom(..."abcXYZ019+/"), minLength: 16, maxLength: 16 });
    await fc.assert(
      fc.asyncProperty(passphrase, text, params, async (passphrase, salt, params) => {
        const cost = ["-t", `${params.t}`, "-k", `${params.m}`, "-p", `${params.p}`];
        const output = execFileSync("argon2", [salt, "-id", ...cost, "-l", "32", "-r"], {
          input: passphrase,
        });
        for (const stretch of [foreground, stretchWasm]) {
          const derived = await stretch({ passphrase, salt: utf8(salt), params });
          assert.equal(encodeHex(derived), output.toString().trim());
        }
      }),
      { numRuns: 15, examples: [[utf8("floor"), "0123456789abcdef", { t: 2, m: 19_456, p: 4 }]] },
    );
  },
);

const { argon2Sync } = nodeCrypto as unknown as {
  argon2Sync?: (algorithm: "argon2id", parameters: Record<string, Uint8Array | number>) => Uint8Array;
};
test(
  `node:crypto's argon2, which stretchPassphrase() uses, gives the value of RFC 9106 §5.3${
    argon2Sync === undefined ? ": not on this runtime, whose hash-wasm takes no associated data" : ""
  }`,
  { skip: argon2Sync === undefined },
  () => {
    const derived = argon2Sync!("argon2id", {
      message: new Uint8Array(32).fill(1),
      nonce: new Uint8Array(16).fill(2),
      secret: new Uint8Array(8).fill(3),
      associatedData: new Uint8Array(12).fill(4),
      passes: 3,
      memory: 32,
      parallelism: 4,
      tagLength: 32,
    });
    assert.equal(
      encodeHex(Uint8Array.from(derived)),
      "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659",
    );
  },
);

test("stretchPassphrase() takes the longest passphrase and leaves its input as it was", async () => {
  const input = {
    passphrase: new Uint8Array(4096).fill(65),
    salt: new Uint8Array(16).fill(66),
    params: { t: 1, m: 64, p: 1 },
  };
  for (const stretch of [foreground, background, stretchWasm]) {
    await stretch(input);
    assert.deepEqual(input.passphrase, new Uint8Array(4096).fill(65));
    assert.deepEqual(input.salt, new Uint8Array(16).fill(66));
  }
});

test("notEnoughMemory() says how much it needs", () => {
  const error = notEnoughMemory(65_536);
  assert.equal(error.code, "ERR_SYSTEM");
  assert.match(
    error.message,
    /^cannot stretch the passphrase: it needs 64 MiB of memory, and there is less$/,
  );
  assert.match(error.hint ?? "", /never lowered/);
});

for (const [name, stretch] of [["", foreground], [" in the background", background]] as const) {
  test(
    `stretchPassphrase()${name} says when memory cannot be had${isDeno ? "" : ": WebAssembly only"}`,
    { skip: !isDeno },
    async () => {
      // More than a WebAssembly memory can be.
      const input = {
        passphrase: utf8("x"),
        salt: new Uint8Array(16),
        params: { t: 1, m: (1 << 22) - 1, p: 1 },
      };
      await assert.rejects(
        stretch(input),
        ameshError("ERR_SYSTEM", /needs 4096 MiB of memory/),
      );
    },
  );
}

test("stretchWasm() leaves its memory wiped, and WebAssembly as it was", async () => {
  const { instantiate } = WebAssembly;
  const memories: WebAssembly.Memory[] = [];
  const spy = async (module: WebAssembly.Module, imports?: WebAssembly.Imports) => {
    const instance = await instantiate(module, imports);
    memories.push(instance.exports["memory"] as WebAssembly.Memory);
    return instance;
  };
  WebAssembly.instantiate = spy as unknown as typeof instantiate;
  try {
    const params = { t: 2, m: 19_456, p: 1 };
    await stretchWasm({ passphrase: utf8("correct horse battery staple"), salt: new Uint8Array(16), params });
    assert.equal(WebAssembly.instantiate as unknown, spy);
  } finally {
    WebAssembly.instantiate = instantiate;
  }
  assert.ok(memories.some(({ buffer }) => buffer.byteLength > 19_456 * 1024));
  for (const { buffer } of memories) assert.ok(new Uint8Array(buffer).every((byte) => byte === 0));
});
