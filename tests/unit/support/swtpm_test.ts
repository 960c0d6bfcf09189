/** What stands in for a TPM, and for a TPM that misbehaves, seen by tpm2-tools. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { evaluation, projectUrl, type Running, startChild } from "../../support/child_process.ts";
import { setEnvironment } from "../../support/environment.ts";
import { end, hasEnded, startSwtpm, swtpmMissing, type TpmClient, waitUntil } from "../../support/swtpm.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";
import {
  type Exchange,
  type Fault,
  GARBAGE_BYTE,
  startTpmProxy,
  TPM_CC,
  type TpmProxy,
} from "../../support/tpm_proxy.ts";

const skip = swtpmMissing() ?? false;
const PERSISTENT = "0x81000001";
const IO_FAILURE = /0xA000A/;

/** Makes a primary key of the owner, which stays loaded, and puts it into `srk`. */
const createPrimary = (tpm: TpmClient) =>
  void tpm.tools("createprimary", "-Q", "-C", "o", "-G", "ecc", "-c", "srk");
const nameOf = (tpm: TpmClient, object: string) =>
  /^name: (000b[0-9a-f]{64})$/m.exec(tpm.tools("readpublic", "-c", object))?.[1];
const persistentHandles = (tpm: TpmClient) => tpm.tools("getcap", "handles-persistent");

test("swtpmMissing() says what is missing", () => {
  using _path = setEnvironment({ PATH: "/nowhere" });
  assert.match(swtpmMissing() ?? "", process.platform === "linux" ? /^swtpm is not installed$/ : /for Linux/);
});

test("startSwtpm() starts a TPM that answers, and disposing of it leaves nothing", { skip }, () => {
  let started;
  {
    using swtpm = startSwtpm();
    started = { pid: swtpm.pid(), directory: swtpm.place.directory };
    assert.match(swtpm.tools("getcap", "properties-fixed"), /TPM2_PT_FAMILY_INDICATOR/);
    assert.equal(hasEnded(started.pid), false);
  }
  assert.equal(hasEnded(started.pid), true);
  assert.equal(existsSync(started.directory), false);
});

test("startSwtpm() gives each its own TPM", { skip }, () => {
  using one = startSwtpm();
  using other = startSwtpm();
  createPrimary(one);
  createPrimary(other);
  assert.match(nameOf(one, "srk") ?? "", /^000b/);
  assert.notEqual(nameOf(one, "srk"), nameOf(other, "srk"));
});

test("startSwtpm() without startup gives a TPM that wants TPM2_Startup", { skip }, () => {
  using swtpm = startSwtpm({ startup: false });
  assert.throws(() => swtpm.tools("getrandom", "1"), /\(0x100\)/);
  swtpm.tools("startup", "-c");
  swtpm.tools("getrandom", "--hex", "1");
});

test("startSwtpm() takes up a state, and leaves it", { skip }, () => {
  using state = temporaryDirectory();
  const names = [1, 2].map(() => {
    using swtpm = startSwtpm({ state: state.path });
    createPrimary(swtpm);
    return nameOf(swtpm, "srk");
  });
  assert.equal(names[0], names[1]);
});

test("startSwtpm() says why there is none", { skip }, () => {
  using state = temporaryDirectory();
  using _holder = startSwtpm({ state: state.path });
  assert.throws(() => startSwtpm({ state: state.path }), /^Error: swtpm ended: .*lock/s);
});

test("a swtpm ends with the process that started it", { skip }, async () => {
  const code = `
    import { startSwtpm } from ${JSON.stringify(projectUrl("tests/support/swtpm.ts"))};
    const swtpm = startSwtpm();
    console.log(JSON.stringify([swtpm.pid(), swtpm.place.directory]));
    setInterval(() => {}, 1000);`;
  const parent = startChild(evaluation(code));
  const [pid, directory] = JSON.parse(await parent.firstLine);
  try {
    assert.equal(hasEnded(pid), false);
    process.kill(parent.pid, "SIGKILL");
    waitUntil(() => hasEnded(pid), "end of swtpm");
  } finally {
    if (!hasEnded(parent.pid)) await parent.kill();
    end(pid, directory);
    rmSync(directory, { recursive: true });
  }
});

test("tools() throws what the tool says, and file() is where it works", { skip }, () => {
  using swtpm = startSwtpm();
  assert.throws(() => swtpm.tools("readpublic", "-c", "absent"), /tpm2 readpublic: exit 1: .*absent/s);
  swtpm.tools("getrandom", "-o", "random", "20");
  assert.equal(readFileSync(swtpm.file("random")).length, 20);
});

test("transientHandles() and loadedSessions() see what is left in the TPM", { skip }, () => {
  using swtpm = startSwtpm();
  assert.deepEqual([swtpm.transientHandles(), swtpm.loadedSessions()], [[], []]);
  createPrimary(swtpm);
  // TPM2_StartAuthSession (Part 3 §11.1): HMAC, neither salted nor bound; the tools would save the session.
  const body = `40000007 40000007 0010 ${"00".repeat(16)} 0000 00 0010 000b`.replaceAll(" ", "");
  const size = (10 + body.length / 2).toString(16).padStart(8, "0");
  writeFileSync(swtpm.file("command"), Buffer.from(`8001${size}00000176${body}`, "hex"));
  swtpm.tools("send", "-o", "response", "command");
  assert.deepEqual([swtpm.transientHandles(), swtpm.loadedSessions()], [["0x80000000"], ["0x02000000"]]);
  swtpm.tools("flushcontext", "0x02000000");
  swtpm.tools("flushcontext", "0x80000000");
  assert.deepEqual([swtpm.transientHandles(), swtpm.loadedSessions()], [[], []]);
});

test("restart() keeps what is persistent and nothing else, and clear() not even that", { skip }, () => {
  using swtpm = startSwtpm();
  createPrimary(swtpm);
  swtpm.tools("evictcontrol", "-Q", "-C", "o", "-c", "srk", PERSISTENT);
  const name = nameOf(swtpm, PERSISTENT);
  const pid = swtpm.pid();
  swtpm.restart();
  assert.notEqual(swtpm.pid(), pid);
  assert.equal(nameOf(swtpm, PERSISTENT), name);
  assert.deepEqual(swtpm.transientHandles(), []);
  swtpm.restart({ startup: false });
  assert.throws(() => swtpm.transientHandles(), /\(0x100\)/);
  swtpm.restart();
  swtpm.clear();
  assert.equal(persistentHandles(swtpm), "");
});

test("kill() leaves a TPM that refuses, until restart()", { skip }, () => {
  using swtpm = startSwtpm();
  swtpm.kill();
  assert.throws(() => swtpm.tools("getrandom", "1"), /Could not load tcti/);
  swtpm.kill();
  assert.throws(() => swtpm.freeze(), /does not run/);
  swtpm.restart();
  swtpm.tools("getrandom", "--hex", "1");
});

test("freeze() stops a TPM, thaw() lets it go on, and a frozen one can be disposed of", { skip }, () => {
  using swtpm = startSwtpm();
  const state = () => /\) (\w)/.exec(readFileSync(`/proc/${swtpm.pid()}/stat`, "utf8"))?.[1];
  swtpm.freeze();
  assert.equal(state(), "T");
  swtpm.thaw();
  swtpm.tools("getrandom", "--hex", "1");
  swtpm.freeze();
});

/** What getrandom prints, or why it failed. */
function getRandom(tpm: TpmClient): string {
  try {
    return tpm.tools("getrandom", "--hex", "8");
  } catch (error) {
    return `${error}`;
  }
}
const RANDOM = /^[0-9a-f]{16}$/;
const last = (proxy: TpmProxy): Exchange | undefined => proxy.traffic().at(-1);

test("a proxy hands on, and records whole commands and answers", { skip }, () => {
  using swtpm = startSwtpm();
  using proxy = startTpmProxy(swtpm);
  createPrimary(proxy);
  assert.deepEqual(swtpm.transientHandles(), ["0x80000000"]);
  const [created, ...more] = proxy.traffic().filter(({ name }) => name === "CreatePrimary");
  assert.equal(more.length, 0);
  assert.equal(created!.commandCode, TPM_CC.CreatePrimary);
  const [command, response] = [Buffer.from(created!.command), Buffer.from(created!.response!)];
  assert.deepEqual([command.readUInt16BE(0), response.readUInt16BE(0)], [0x8002, 0x8002]);
  assert.deepEqual([command.readUInt32BE(2), response.readUInt32BE(2)], [command.length, response.length]);
  assert.deepEqual([response.readUInt32BE(6), response.readUInt32BE(10)], [0, 0x80000000]);
  const random = getRandom(proxy);
  assert.match(random, RANDOM);
  assert.equal(Buffer.from(last(proxy)!.response!.subarray(12)).toString("hex"), random);
});

const faults: [name: string, fault: Fault, said: RegExp, answer: (response: Buffer | null) => boolean][] = [
  ["code", { kind: "code", rc: 0x921 }, /0x921/, (r) => r?.toString("hex") === "80010000000a00000921"],
  ["truncate", { kind: "truncate", bytes: 12, then: "close" }, IO_FAILURE, (r) => r?.length === 12],
  ["truncate to nothing", { kind: "truncate", bytes: 0, then: "close" }, IO_FAILURE, (r) => r === null],
  ["oversize", { kind: "oversize", bytes: 5000 }, /0x80012/, (r) => r?.readUInt32BE(2) === 5020],
  ["garbage", { kind: "garbage" }, /0x80012/, (r) => r!.length === 20 && r!.every((b) => b === GARBAGE_BYTE)],
  ["garbage in the parameters", { kind: "garbage", from: 10 }, /0x90006/, (r) => r?.readUInt32BE(6) === 0],
  ["close", { kind: "close" }, IO_FAILURE, (r) => r === null],
  ["flip", { kind: "flip", offset: 0 }, /0x80011/, (r) => r?.readUInt16BE(0) === 0x7f01],
  ["flip of some bits", { kind: "flip", offset: 9, mask: 1 }, /\(0x1\)/, (r) => r?.readUInt32BE(6) === 1],
  [
    "flip-command",
    { kind: "flip-command", offset: 11, mask: 0x0c },
    /Got 4 bytes/,
    (r) => r?.readUInt16BE(10) === 4,
  ],
  ["delay", { kind: "delay", ms: 1 }, RANDOM, (r) => r?.length === 20],
];
for (const [name, fault, said, isAnswer] of faults) {
  test(`a proxy does ${name} to one command, and hands on the next`, { skip }, () => {
    using swtpm = startSwtpm();
    using proxy = startTpmProxy(swtpm);
    proxy.rules({ command: TPM_CC.GetRandom, do: fault });
    assert.match(getRandom(proxy), said);
    const { name, command, response } = last(proxy)!;
    assert.deepEqual([name, Buffer.from(command).toString("hex")], ["GetRandom", "80010000000c0000017b0008"]);
    assert.ok(isAnswer(response && Buffer.from(response)), `answer ${response}`);
    assert.match(getRandom(proxy), RANDOM);
  });
}

/** Starts getrandom and waits until the proxy has its command. */
function startGetRandom(proxy: TpmProxy): Running {
  const before = proxy.traffic().length;
  const child = startChild(["env", `TPM2TOOLS_TCTI=${proxy.tcti}`, "tpm2", "getrandom", "--hex", "8"]);
  child.firstLine.catch(() => {/* it is killed */});
  waitUntil(() => proxy.traffic().slice(before).some(({ name }) => name === "GetRandom"), "GetRandom");
  return child;
}

const holding: [name: string, fault: Fault, bytes: number | undefined][] = [
  ["drop", { kind: "drop" }, undefined],
  ["truncate and hold", { kind: "truncate", bytes: 12, then: "hold" }, 12],
  ["a long delay", { kind: "delay", ms: 3_600_000 }, undefined],
];
for (const [name, fault, bytes] of holding) {
  test(`a proxy does ${name}: the client waits, and others do not`, { skip }, async () => {
    using swtpm = startSwtpm();
    using proxy = startTpmProxy(swtpm);
    proxy.rules({ command: TPM_CC.GetRandom, do: fault });
    const waiting = startGetRandom(proxy);
    try {
      const number = proxy.traffic().length - 1;
      assert.match(getRandom(proxy), RANDOM);
      assert.equal(proxy.traffic()[number]!.response?.length, bytes);
      assert.equal(hasEnded(waiting.pid), false);
    } finally {
      await waiting.kill();
    }
  });
}

test("a proxy tells a command that the TPM never got from an answer that was lost", { skip }, () => {
  using swtpm = startSwtpm();
  using proxy = startTpmProxy(swtpm);
  for (const [fault, loaded] of [["close", 0], ["truncate", 1]] as const) {
    const lost: Fault = fault === "close" ? { kind: fault } : { kind: fault, bytes: 0, then: "close" };
    proxy.rules({ command: TPM_CC.CreatePrimary, do: lost });
    assert.throws(() => createPrimary(proxy), IO_FAILURE);
    assert.equal(swtpm.transientHandles().length, loaded, fault);
  }
});

test("a proxy kills the TPM, or restarts it, when the command comes", { skip }, () => {
  using swtpm = startSwtpm();
  using proxy = startTpmProxy(swtpm);
  createPrimary(swtpm);
  const pid = swtpm.pid();
  proxy.rules({ command: TPM_CC.GetRandom, do: { kind: "restart" } });
  assert.match(getRandom(proxy), RANDOM);
  assert.deepEqual([swtpm.transientHandles(), swtpm.pid() === pid], [[], false]);
  proxy.rules({ command: TPM_CC.GetRandom, do: { kind: "kill" } });
  assert.match(getRandom(proxy), IO_FAILURE);
  assert.match(getRandom(swtpm), /Could not load tcti/);
  swtpm.restart();
  assert.match(getRandom(proxy), RANDOM);
});

const unfit: [name: string, fault: Fault][] = [
  ["truncate", { kind: "truncate", bytes: 20, then: "close" }],
  ["garbage", { kind: "garbage", from: 20 }],
  ["flip", { kind: "flip", offset: 20 }],
  ["flip-command", { kind: "flip-command", offset: 12 }],
];
for (const [name, fault] of unfit) {
  test(`a proxy does not outlive a ${name} that would change nothing`, { skip }, () => {
    using swtpm = startSwtpm();
    const proxy = startTpmProxy(swtpm);
    proxy.rules({ command: TPM_CC.GetRandom, do: fault });
    assert.match(getRandom(proxy), IO_FAILURE);
    assert.throws(() => proxy[Symbol.dispose](), /the proxy ended: .*a rule names byte/s);
  });
}

test("a proxy counts from when the rules are set, and obeys the first that fits", { skip }, () => {
  using swtpm = startSwtpm();
  using proxy = startTpmProxy(swtpm);
  const code = (rc: number): Fault => ({ kind: "code", rc });
  const outcomes = (count: number) =>
    Array.from({ length: count }, () => /Esys_GetRandom\((0x\w+)\)/.exec(getRandom(proxy))?.[1]);
  const set = () =>
    proxy.rules(
      { command: TPM_CC.GetRandom, nth: 2, times: 2, do: code(0x921) },
      { command: TPM_CC.GetRandom, nth: 3, times: Infinity, do: code(0x904) },
    );
  set();
  assert.deepEqual(outcomes(5), [undefined, "0x921", "0x921", "0x904", "0x904"]);
  set();
  assert.deepEqual(outcomes(2), [undefined, "0x921"]);
  // Each getrandom asks for a property first.
  proxy.rules({ command: "any", nth: 2, do: code(0x901) });
  assert.deepEqual(outcomes(2), ["0x901", undefined]);
  proxy.rules();
  assert.deepEqual(outcomes(1), [undefined]);
});
