/** A TPM that misbehaves: what the tier makes of it, and what it leaves behind. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { AmeshError, type AmeshErrorCode } from "../../src/errors.ts";
import { type Identity, newIdentityFields } from "../../src/formats/identity_file.ts";
import { parseTss2Key } from "../../src/formats/tss2_key.ts";
import { tpm2Tier } from "../../src/keystore/tpm2.ts";
import { createPrimary, HIERARCHY, startSession } from "../../src/tpm/commands.ts";
import { EsysConnection } from "../../src/tpm/connection.ts";
import { type TpmCondition, TpmError } from "../../src/tpm/response_code.ts";
import { SRK_TEMPLATE } from "../../src/tpm/structures.ts";
import { findTcti } from "../../src/tpm/tcti.ts";
import { type Fault, TPM_CC } from "../support/tpm_proxy.ts";
import { useTpm } from "../support/tpm_tier.ts";

/** The key that every test signs with. */
let identity: Identity;
const tpm = useTpm({
  withProxy: true,
  prepare: async () => {
    const key = await tpm2Tier.generate(tpm.context);
    using signer = key.signer;
    const fields = await newIdentityFields(signer.publicKey, "f", "tpm2", new Date(0), key.identityFields);
    identity = { fields, publicKey: signer.publicKey };
  },
});

async function* message(): AsyncGenerator<Uint8Array> {
  yield Uint8Array.of(1, 2, 3);
}

async function signOnce(): Promise<void> {
  using signer = await tpm2Tier.open(tpm.context, identity, false);
  await signer.sign(message());
}

function flushAll(): void {
  tpm.swtpm.tools("flushcontext", "-t");
  tpm.swtpm.tools("flushcontext", "-l");
}

const { CreatePrimary, StartAuthSession, Load, Sign, FlushContext } = TPM_CC;
const code = (rc: number): Fault => ({ kind: "code", rc });

/** Response codes and what they are told as. */
const codes: [string, number, number, TpmCondition | null, AmeshErrorCode][] = [
  ["not started up", CreatePrimary, 0x100, "notStarted", "ERR_TIER_UNAVAILABLE"],
  ["in failure mode", Sign, 0x101, "failure", "ERR_TIER_UNAVAILABLE"],
  ["without its owner hierarchy", CreatePrimary, 0x185, "hierarchyDisabled", "ERR_TIER_UNAVAILABLE"],
  ["with an owner's auth value", CreatePrimary, 0x9a2, "badAuth", "ERR_TIER_UNAVAILABLE"],
  ["without room for objects", Load, 0x902, "outOfMemory", "ERR_TIER_UNAVAILABLE"],
  ["without room for sessions", StartAuthSession, 0x903, "outOfMemory", "ERR_TIER_UNAVAILABLE"],
  ["without AES-128-CFB", StartAuthSession, 0x2d6, "unsupported", "ERR_TIER_UNAVAILABLE"],
  ["in lockout", Load, 0x921, "lockout", "ERR_TIER_UNAVAILABLE"],
  ["that does not know the key", Load, 0x1df, null, "ERR_CORRUPT"],
  ["that finds the key malformed", Load, 0x2d5, null, "ERR_CORRUPT"],
  ["that was reset", Sign, 0x910, "reset", "ERR_TIER_UNAVAILABLE"],
  ["that refuses for a reason of its own", Sign, 0x12e, "refused", "ERR_TIER_UNAVAILABLE"],
  ["behind a resource manager that is full", Load, 0x000b0902, "outOfMemory", "ERR_TIER_UNAVAILABLE"],
];
for (const [what, command, rc, condition, want] of codes) {
  tpm.it(`a TPM ${what} (0x${rc.toString(16)})`, async () => {
    tpm.proxy.rules({ command, times: Infinity, do: code(rc) });
    await assert.rejects(signOnce, (error) => {
      assert.ok(error instanceof AmeshError);
      assert.equal(error.code, want);
      if (condition !== null) assert.equal((error as TpmError).condition, condition);
      assert.match(error.message, /^cannot [^\n]*[^.]$/);
      assert.ok(error.hint);
      return true;
    });
    tpm.proxy.rules();
    assert.deepEqual(tpm.loaded(), []);
    await signOnce();
  });
}

/** What befalls one command; `lost` says that the TPM has loaded what nobody then knows of. */
const faults: [string, number, Fault, lost?: boolean][] = [];
for (const [name, command] of Object.entries({ CreatePrimary, StartAuthSession, Load, Sign })) {
  const lost = command !== Sign;
  faults.push(
    [`${name}: the connection closed`, command, { kind: "close" }],
    [`${name}: an answer cut short`, command, { kind: "truncate", bytes: 7, then: "close" }, lost],
    [
      `${name}: an answer cut in its parameters`,
      command,
      { kind: "truncate", bytes: 20, then: "close" },
      lost,
    ],
    [
      `${name}: no answer at all, though it was done`,
      command,
      { kind: "truncate", bytes: 0, then: "close" },
      lost,
    ],
    [`${name}: an answer that is too long`, command, { kind: "oversize", bytes: 5000 }, lost],
    [`${name}: an answer of garbage`, command, { kind: "garbage" }, lost],
    [`${name}: a response code of garbage`, command, { kind: "garbage", from: 6 }, lost],
    [`${name}: an impossible response code`, command, { kind: "flip", offset: 6 }, lost],
    [`${name}: the TPM killed`, command, { kind: "kill" }],
  );
}
faults.push(
  ["Sign: a changed signature", Sign, { kind: "flip", offset: 24, mask: 1 }],
  ["Sign: a changed digest", Sign, { kind: "flip-command", offset: 75, mask: 1 }],
  ["Load: a changed name", Load, { kind: "flip", offset: 30, mask: 1 }, true],
  ["StartAuthSession: a changed nonce", StartAuthSession, { kind: "flip", offset: 20, mask: 1 }],
  ["Load: restarted before it", Load, { kind: "restart" }],
  ["Sign: restarted before it", Sign, { kind: "restart" }],
  ["FlushContext: restarted before it", FlushContext, { kind: "restart" }],
);
for (const [what, command, fault, lost] of faults) {
  tpm.it(what, async () => {
    tpm.proxy.rules({ command, do: fault });
    await assert.rejects(signOnce, (error) => {
      assert.ok(error instanceof AmeshError, `${error}`);
      assert.equal(error.code, "ERR_TIER_UNAVAILABLE", error.message);
      return true;
    });
    tpm.proxy.rules();
    if (fault.kind === "kill") tpm.swtpm.restart();
    const left = tpm.loaded();
    assert.ok(left.length <= (lost ? 1 : 0), `left: ${left}`);
    if (left.length > 0) flushAll();
    await signOnce();
    assert.deepEqual(tpm.loaded(), []);
  });
}

tpm.it("a new key has no endorsement key's Name only where there is none to have", async () => {
  for (const rc of [0x902, 0x101, 0x921]) {
    tpm.proxy.rules({ command: CreatePrimary, do: code(rc) });
    await assert.rejects(() => tpm2Tier.generate(tpm.context), TpmError, `0x${rc.toString(16)}`);
  }
  for (const rc of [0x9a2, 0x185]) {
    tpm.proxy.rules({ command: CreatePrimary, do: code(rc) });
    const key = await tpm2Tier.generate(tpm.context);
    using _signer = key.signer;
    assert.equal((key.identityFields["tpm"] as { ekName?: string }).ekName, undefined);
    await key.discard();
  }
  tpm.proxy.rules();
  assert.deepEqual(tpm.loaded(), []);
});

tpm.it("a TPM in failure mode, which tells little of itself, is told as that", async () => {
  // The first property of its answer is not the family: header 10, moreData 1, capability 4, count 4.
  tpm.proxy.rules({ command: TPM_CC.GetCapability, do: { kind: "flip", offset: 21 } });
  const availability = await tpm2Tier.probe();
  tpm.proxy.rules();
  assert.ok(!availability.available);
  assert.match(availability.cause, /^the TPM cannot be used: it is in failure mode/);
});

tpm.it("a TPM that is busy for a while is asked again", async () => {
  for (const rc of [0x922, 0x908, 0x90a]) {
    tpm.proxy.rules({ command: Sign, times: 12, do: code(rc) });
    await signOnce();
  }
  tpm.proxy.rules({ command: Load, do: { kind: "delay", ms: 300 } });
  await signOnce();
  tpm.proxy.rules();
  assert.deepEqual(tpm.loaded(), []);
});

for (const fault of [{ kind: "drop" }, { kind: "truncate", bytes: 5, then: "hold" }] as const) {
  tpm.it(`a TPM that does not answer is given up (${fault.kind})`, () => {
    tpm.proxy.rules({ command: StartAuthSession, do: fault });
    const connection = new EsysConnection(findTcti(), 300);
    const handle = createPrimary(connection, HIERARCHY.owner, SRK_TEMPLATE);
    assert.throws(() => startSession(connection, handle), (error) => {
      assert.ok(error instanceof TpmError);
      assert.deepEqual([error.condition, error.code], ["timeout", "ERR_TIER_UNAVAILABLE"]);
      return true;
    });
    // Twice: what a command does in its own error path and when it ends.
    connection[Symbol.dispose]();
    connection[Symbol.dispose]();
    tpm.proxy.rules();
    // A session that was started and never heard of may be left, nothing else.
    assert.ok(tpm.loaded().length <= (fault.kind === "drop" ? 0 : 1), `${tpm.loaded()}`);
    flushAll();
  });
}

tpm.it("a TPM that stays busy is given up", () => {
  tpm.proxy.rules({ command: CreatePrimary, times: Infinity, do: code(0x922) });
  using connection = new EsysConnection(findTcti(), 300);
  assert.throws(() => createPrimary(connection, HIERARCHY.owner, SRK_TEMPLATE), (error) => {
    assert.equal((error as TpmError).condition, "busy");
    return true;
  });
  tpm.proxy.rules();
});

tpm.it("a simulator that is stopped before it is connected to is given up", () => {
  tpm.swtpm.freeze();
  try {
    const way = {
      ...findTcti(),
      conf: tpm.swtpm.tcti,
      control: { path: `${tpm.swtpm.tcti.slice(11)}.ctrl` },
    };
    assert.throws(() => new EsysConnection(way, 300), (error) => {
      assert.equal((error as TpmError).condition, "timeout");
      return true;
    });
  } finally {
    tpm.swtpm.thaw();
  }
});

tpm.it("one bit changed anywhere in a key file never opens it", async () => {
  const [name] = readdirSync(tpm.context.layout.keys);
  const path = `${tpm.context.layout.keys}/${name}`;
  const good = readFileSync(path, "utf8");
  const der = Uint8Array.fromBase64(good.replaceAll(/-----[^-]*-----|\s/g, ""));
  const emptyAuth = der.findIndex((_, i) => der[i] === 1 && der[i + 1] === 1 && der[i + 2] === 0xff) + 2;
  let opened = 0;
  try {
    for (let at = 0; at < der.length; at++) {
      if (at === emptyAuth) continue;
      const bad = Uint8Array.from(der);
      bad[at]! ^= 1 << (at % 8);
      writeFileSync(
        path,
        `-----BEGIN TSS2 PRIVATE KEY-----\n${bad.toBase64()}\n-----END TSS2 PRIVATE KEY-----\n`,
      );
      await assert.rejects(signOnce, (error) => {
        assert.ok(error instanceof AmeshError, `byte ${at}: ${error}`);
        assert.equal(error.code, "ERR_CORRUPT", `byte ${at}: ${error.message}`);
        opened++;
        return true;
      });
    }
  } finally {
    writeFileSync(path, good);
  }
  assert.equal(opened, der.length - 1);
  assert.deepEqual(tpm.loaded(), []);
  await signOnce();
});

tpm.it("nothing crosses the bus in the clear that is not public", async () => {
  const seen = tpm.proxy.traffic().length;
  const made = await tpm2Tier.generate(tpm.context);
  using signer = made.signer;
  await signer.sign(message());
  const traffic = tpm.proxy.traffic().slice(seen);
  const names = readdirSync(tpm.context.layout.keys).map((name) => `${tpm.context.layout.keys}/${name}`);
  const keys = names.map((name) => parseTss2Key(readFileSync(name), name));
  await made.discard();

  const of = (name: string) => traffic.filter((exchange) => exchange.name === name);
  const view = ({ command }: { command: Uint8Array }) => new DataView(command.buffer, command.byteOffset);
  assert.deepEqual(["Create", "Load", "Sign"].map((name) => of(name).length), [1, 1, 1]);
  for (const exchange of [...of("Create"), ...of("Load"), ...of("Sign")]) {
    // header 10, handle 4, authorization size 4, session handle 4, nonce, attributes.
    const data = view(exchange);
    assert.equal(data.getUint32(18) >>> 24, 0x02, `${exchange.name} is authorised by an HMAC session`);
    const attributes = exchange.command[24 + data.getUint16(22)]!;
    const encrypts = exchange.name === "Sign" ? 0 : 0x60;
    assert.equal(attributes & 0x60, encrypts, `${exchange.name} encrypts its parameters`);
  }
  for (const exchange of of("StartAuthSession")) {
    const data = view(exchange);
    assert.equal(data.getUint32(10) >>> 24, 0x80, "the salt is for a loaded key");
    const nonce = data.getUint16(18);
    assert.ok(data.getUint16(20 + nonce) > 0, "there is a salt");
  }
  // Before a session can be salted there is TPM2_CreatePrimary: an empty auth value, and public parameters.
  for (const exchange of of("CreatePrimary")) {
    const data = view(exchange);
    assert.deepEqual(
      [data.getUint32(18), data.getUint16(22), exchange.command[24], data.getUint16(25)],
      [0x40000009, 0, exchange.command[24], 0],
    );
  }
  const all = traffic.map(({ command, response }) => command.toHex() + (response?.toHex() ?? "")).join("|");
  assert.ok(keys.length > 0);
  for (const { privateArea } of keys) assert.ok(!all.includes(privateArea.slice(2, 40).toHex()));
  // An empty TPM2B_SENSITIVE_CREATE in the clear would be found in TPM2_Create.
  assert.ok(!of("Create").some(({ command }) => command.toHex().includes("000400000000")));
});
