import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, readdirSync, writeFileSync } from "node:fs";
import process from "node:process";
import { after, test } from "node:test";
import { type Bytes, decodeBase64, utf8 } from "../../../src/bytes.ts";
import { EnclaveHelper } from "../../../src/apple/helper.ts";
import { type HelperCondition, HelperError } from "../../../src/apple/helper_error.ts";
import { verify } from "../../../src/crypto/p256.ts";
import type { HelperAction, HelperRequest } from "../../../src/formats/helper_message.ts";
import { childrenOf, makeFakeHelper, PATIENT, startFakeHelper } from "../../support/fake_helper.ts";
import { type Exchange, readTranscript, TRANSCRIPTS } from "../../support/helper_transcripts.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const linux = process.platform === "linux";
const onLinux = linux ? "" : ": /proc tells";
const directory = temporaryDirectory();
after(() => directory[Symbol.dispose]());

/** Long enough for the fake to start where the machine is slow, and short where it is waited for in vain. */
const IMPATIENT = { requestMs: 3000, totalMs: Infinity };

const start = (faults = "", limits = PATIENT) => startFakeHelper(directory.path, faults, limits);

/** Of this process; none on macOS, where it is not told. */
const descriptors = () => linux ? readdirSync("/proc/self/fd").length : 0;

/** For `assert.throws`: a HelperError of that condition, that says what was asked and nothing of the helper's own. */
function helperError(condition: HelperCondition, action: string, cause?: RegExp): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof HelperError, String(error));
    assert.equal(error.condition, condition, error.message);
    assert.equal(error.code, "ERR_TIER_UNAVAILABLE");
    assert.ok(error.message.startsWith(`cannot use the Secure Enclave: ${error.reason}`));
    assert.ok(error.reason.includes(`(${action}`), error.reason);
    assert.ok((error.hint ?? "").length > 0);
    // deno-lint-ignore no-control-regex -- that is what must not be there.
    assert.doesNotMatch(`${error.message}${error.hint}`, /as it was told|flood|about to|[\u0000-\u001f]/);
    if (cause !== undefined) assert.match(String((error.cause as Error).message), cause);
    return true;
  };
}

async function* messageOf(bytes: Bytes): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(bytes);
}

test("a helper makes a key and signs with it, and ends when it is disposed of", async () => {
  const before = descriptors();
  {
    using helper = start();
    assert.deepEqual(helper.ask({ action: "probe" }).protocol, [1]);
    const { blob, publicKey } = helper.ask({ action: "generate" });
    assert.deepEqual(helper.ask({ action: "public-key", blob }), { publicKey });
    assert.deepEqual(helper.ask({ action: "sign-begin", blob }), { publicKey });
    helper.ask({ action: "sign-update", data: utf8("a mess") });
    helper.ask({ action: "sign-update", data: utf8("age") });
    const { signature } = helper.ask({ action: "sign-end" });
    assert.ok(await verify(publicKey, [signature], messageOf(utf8("a message"))));
    if (linux) assert.equal(childrenOf(process.pid).length, 1);
  }
  if (linux) assert.deepEqual(childrenOf(process.pid), []);
  assert.equal(descriptors(), before);
});

test("a helper that refuses goes on", () => {
  using helper = start("generate#1=access-denied:-25293,public-key=bad-blob");
  assert.throws(
    () => helper.ask({ action: "generate" }),
    helperError("access-denied", "generate: access-denied, NSOSStatusErrorDomain -25293", /^as it was told$/),
  );
  const { blob } = helper.ask({ action: "generate" });
  assert.throws(
    () => helper.ask({ action: "public-key", blob }),
    helperError("bad-blob", "public-key: bad-blob)"),
  );
  assert.throws(
    () => helper.ask({ action: "sign-end" }),
    helperError("bad-request", "sign-end: bad-request)"),
  );
  assert.equal(helper.ask({ action: "probe" }).secureEnclave, true);
});

for (
  const code of [
    "bad-request",
    "unsupported-version",
    "unknown-action",
    "enclave-unavailable",
    "missing-entitlement",
    "interaction-not-allowed",
    "user-canceled",
    "internal",
  ] as const
) {
  test(`a refusal with ${code} becomes a cause and a remedy`, () => {
    using helper = start(`generate=${code}:-1`);
    assert.throws(
      () => helper.ask({ action: "generate" }),
      helperError(code, `generate: ${code}, NSOSStatusErrorDomain -1)`),
    );
  });
}

const FAULTS: [fault: string, condition: HelperCondition, cause?: RegExp][] = [
  ["malformed", "malformed"],
  ["not-utf8", "malformed"],
  ["array", "malformed"],
  ["wrong-id", "wrong-id"],
  ["wrong-version", "wrong-version"],
  ["huge-line", "too-long"],
  ["endless", "too-long"],
  ["half-line", "ended"],
  ["hang", "timeout"],
  ["crash", "ended", /^about to crash \[2J$/],
  ["exit", "ended", /^about to exit$/],
];
for (const [fault, condition, cause] of FAULTS) {
  test(`a helper with the fault "${fault}" is ended, reaped, and asked nothing more`, () => {
    const before = descriptors();
    using helper = start(`generate=${fault}`, fault === "hang" ? IMPATIENT : PATIENT);
    helper.ask({ action: "probe" });
    const failed = helperError(condition, "generate", cause);
    assert.throws(() => helper.ask({ action: "generate" }), failed);
    if (linux) assert.deepEqual(childrenOf(process.pid), []);
    assert.equal(descriptors(), before);
    assert.throws(() => helper.ask({ action: "probe" }), failed);
  });
}

test("a helper that answers twice is found out by the next answer at the latest", () => {
  using helper = start("generate=two-lines");
  assert.throws(() => {
    helper.ask({ action: "generate" });
    helper.ask({ action: "probe" });
  }, (error) => error instanceof HelperError && ["malformed", "wrong-id"].includes(error.condition));
  if (linux) assert.deepEqual(childrenOf(process.pid), []);
});

test("how a helper ended is told", () => {
  for (
    const [fault, detail] of [["crash", "signal 9"], ["exit", "exit code 3"], ["half-line", "exit code 0"]]
  ) {
    using helper = start(`probe=${fault}`);
    assert.throws(() => helper.ask({ action: "probe" }), helperError("ended", `probe: ${detail})`));
  }
});

test("a helper that does not even read is ended when the time is over", () => {
  using helper = start("start=deaf", { requestMs: 500, totalMs: Infinity });
  const begun = performance.now();
  assert.throws(() => helper.ask({ action: "probe" }), helperError("timeout", "probe)"));
  assert.ok(performance.now() - begun < 3000);
  if (linux) assert.deepEqual(childrenOf(process.pid), []);
});

test("a helper that does not read is no reason to wait for room in its pipe", () => {
  using helper = start("start=deaf", { requestMs: 300, totalMs: Infinity });
  // Less than a pipe holds goes through; what does not fit waits no longer than an answer.
  const data = new Uint8Array(48_000) as Bytes;
  assert.throws(() => helper.ask({ action: "sign-update", data }), helperError("timeout", "sign-update)"));
});

test("the time of all answers is limited too", () => {
  using helper = start("", { requestMs: 20_000, totalMs: 1000 });
  const until = performance.now() + 20_000;
  assert.throws(() => {
    while (performance.now() < until) helper.ask({ action: "probe" });
  }, helperError("timeout", "probe)"));
});

test("a helper that does not end with its input is killed", () => {
  {
    using helper = start("probe=stay");
    helper.ask({ action: "probe" });
  }
  if (linux) assert.deepEqual(childrenOf(process.pid), []);
});

test("a helper that fills its stderr is not stopped by that, and little of it is kept", () => {
  using helper = start("probe=flood,generate=internal");
  helper.ask({ action: "probe" });
  assert.throws(() => helper.ask({ action: "generate" }), (error) => {
    const { message } = (error as HelperError).cause as Error;
    assert.match(message, /^as it was told; flood flood /);
    return message.length < 1100;
  });
});

test("nothing is asked of a helper that was disposed of", () => {
  const helper = start();
  helper[Symbol.dispose]();
  helper[Symbol.dispose]();
  assert.throws(() => helper.ask({ action: "probe" }), TypeError);
});

test("a helper that cannot be started says so, and leaves no descriptor open", () => {
  const before = descriptors();
  writeFileSync(directory.file("no-program"), "\0");
  chmodSync(directory.file("no-program"), 0o700);
  for (
    const [name, why] of [["no-program", "not a program"], ["missing", "no such file or directory"]] as const
  ) {
    assert.throws(
      () => new EnclaveHelper(directory.file(name)),
      helperError("not-started", `start: ${why})`),
    );
  }
  assert.equal(descriptors(), before);
});

test(`a helper gets its three streams and no other descriptor${onLinux}`, { skip: !linux }, () => {
  const path = directory.file("lists");
  writeFileSync(path, "#!/bin/sh\nls -l /proc/self/fd >&2\nexit 4\n");
  chmodSync(path, 0o700);
  using helper = new EnclaveHelper(path, PATIENT);
  assert.throws(() => helper.ask({ action: "probe" }), (error) => {
    const { message } = (error as HelperError).cause as Error;
    const targets = [...message.matchAll(/(\d+) -> (\S+)/g)].map((
      [, fd, target],
    ) => [fd, target!.split(":")[0]]);
    const own = targets.filter(([, target]) => target !== "/proc/");
    assert.deepEqual(own.slice(0, 3), [["0", "pipe"], ["1", "pipe"], ["2", "pipe"]], message);
    return own.every(([fd]) => Number(fd) <= 3);
  });
});

/** What the fake answers to the lines of a transcript. */
function replay(exchanges: readonly Exchange[], faults: string): Exchange["answer"][] {
  const program = makeFakeHelper(directory.path, faults, "replayed");
  const lines = exchanges.map(({ request }) =>
    typeof request === "string" ? request : JSON.stringify(request)
  );
  const { stdout, status } = spawnSync(program, [], { input: `${lines.join("\n")}\n`, encoding: "utf8" });
  assert.equal(status, 0);
  return stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
}

for (const name of TRANSCRIPTS) {
  test(`the fake helper answers the golden transcript "${name}" as the real one must`, async () => {
    const exchanges = readTranscript(name);
    const answers = replay(exchanges, name === "no_enclave" ? "golden,probe=no-enclave" : "golden");
    assert.equal(answers.length, exchanges.length);
    for (const [index, { answer: expected }] of exchanges.entries()) {
      const answer = answers[index] as Exchange["answer"];
      const { signature, ...result } = answer.result ?? {};
      if (signature === undefined) {
        assert.deepEqual(answer, expected, `${name} ${index + 1}`);
        continue;
      }
      // Every signature is another one; that of the transcript stands for all that verify.
      const { signature: golden, ...rest } = expected.result ?? {};
      assert.deepEqual(result, rest);
      for (const raw of [signature, golden]) {
        assert.ok(
          await verify(GOLDEN_KEY, [decodeBase64(raw as string) as Bytes], messageOf(utf8("sample"))),
        );
      }
    }
  });
}

const GOLDEN_KEY = Uint8Array.fromHex(
  "0360fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6",
) as Bytes;

test("every action of the protocol stands in the golden transcripts", () => {
  const actions: Readonly<Record<HelperAction, true>> = {
    "probe": true,
    "generate": true,
    "public-key": true,
    "sign-begin": true,
    "sign-update": true,
    "sign-end": true,
  };
  const seen = readTranscript("session").map(({ request }) => (request as unknown as HelperRequest).action);
  assert.deepEqual([...new Set(seen)].sort(), Object.keys(actions).sort());
});
