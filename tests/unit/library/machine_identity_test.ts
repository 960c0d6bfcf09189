import assert from "node:assert/strict";
import { chmodSync, existsSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { utf8 } from "../../../src/bytes.ts";
import { encodeDigestAnswer, EXTENSION } from "../../../src/formats/agent_message.ts";
import { parseDerSignature } from "../../../src/formats/ecdsa_signature.ts";
import { openIdentity as openKey } from "../../../src/identity/open.ts";
import { AmeshError, type Data, MachineIdentity, openIdentity, type OpenOptions } from "../../../src/mod.ts";
import { accepts, pieces } from "../../contract/keystore_contract.ts";
import {
  type AmeshPlace,
  ameshPlace,
  FLOOR_PASSPHRASE,
  identityOf,
  writeAs,
} from "../../support/amesh_place.ts";
import { evaluation, isDeno, projectUrl, runChild } from "../../support/child_process.ts";
import { ameshError } from "../../support/errors.ts";
import { startFakeAgent, statusAnswer } from "../../support/fake_agent.ts";
import { NAME, REQUEST_INFO, SSHSIG, TOKEN_INPUT, USERAUTH } from "../../support/protocol_messages.ts";

const FLOOR = await identityOf("floor");
const TEXT = "ein Gruß";
const BYTES = utf8(TEXT);

const open = ({ layout }: AmeshPlace, options: OpenOptions = {}) =>
  openIdentity({ directory: layout.directory, ...options });

test("openIdentity() tells what identity.json says", async () => {
  using here = ameshPlace("floor");
  using identity = await open(here);
  assert.ok(identity instanceof MachineIdentity);
  const { deviceId, friendlyName, createdAt } = FLOOR.fields;
  assert.equal(identity.deviceId, deviceId);
  assert.equal(identity.publicKey.deviceId, deviceId);
  assert.equal(identity.name, friendlyName);
  assert.equal(identity.backend, "encrypted-file");
  assert.equal(identity.protection.hardware, false);
  assert.equal(identity.createdAt.toISOString(), createdAt);
  assert.equal(identity.directory, here.layout.directory);
  assert.deepEqual(identity.publicKey.compressed, FLOOR.publicKey);
  assert.equal(await identity.certificate(), null);
  assert.deepEqual(here.warnings, []);
});

test("openIdentity() without a directory opens that of AUTH_MESH_DIR", async () => {
  using elsewhere = ameshPlace("floor");
  using _here = ameshPlace(null, { AUTH_MESH_DIR: elsewhere.layout.directory });
  using identity = await openIdentity();
  assert.equal(identity.directory, elsewhere.layout.directory);
});

const FORMS: Readonly<Record<string, () => Data>> = {
  "a text": () => TEXT,
  "bytes": () => BYTES,
  "a ReadableStream": () => new Response(TEXT).body as ReadableStream<Uint8Array>,
  "pieces whose buffer is used again": () => pieces(BYTES, 2),
};
for (const [form, data] of Object.entries(FORMS)) {
  test(`sign() and verify() take ${form}`, async () => {
    using here = ameshPlace("floor");
    using identity = await open(here);
    const signature = await identity.sign(data());
    assert.ok(await accepts(FLOOR.publicKey, Uint8Array.from(signature), BYTES));
    assert.equal(await identity.publicKey.verify(signature, data()), true);
    assert.equal(await identity.publicKey.verify(signature, utf8(`${TEXT}!`)), false);
  });
}

test("sign() refuses what is no data", async () => {
  using here = ameshPlace("floor");
  using identity = await open(here);
  const texts = async function* () {
    yield "text";
  };
  for (const data of [null, undefined, 1, {}, [1, 2], texts()]) {
    await assert.rejects(identity.sign(data as never), TypeError);
  }
});

test("sign() writes DER as well, and tells whose signature it is", async () => {
  using here = ameshPlace("floor");
  using identity = await open(here);
  const { signature, publicKey } = await identity.signWithKey(TEXT, { format: "der" });
  assert.ok(publicKey.equals(identity.publicKey));
  const raw = await parseDerSignature(Uint8Array.from(signature));
  assert.ok(raw !== null && await accepts(FLOOR.publicKey, raw, BYTES));
  assert.equal(await identity.publicKey.verify(signature, TEXT), true);
});

for (const [name, message] of Object.entries({ NAME, REQUEST_INFO, SSHSIG, TOKEN_INPUT, USERAUTH })) {
  const isProtocol = name !== "NAME";
  test(`sign() ${isProtocol ? "refuses" : "takes"} ${name}, in one piece or in many`, async () => {
    using here = ameshPlace("floor");
    using identity = await open(here);
    for (const data of [message, pieces(message, 5)]) {
      const signing = identity.sign(data);
      if (isProtocol) {
        await assert.rejects(signing, ameshError("ERR_USAGE", /^cannot sign this message: it is/));
      } else await signing;
    }
    const signature = await identity.sign(pieces(message, 5), { allowProtocolMessage: true });
    assert.ok(await accepts(FLOOR.publicKey, Uint8Array.from(signature), message));
  });
}

test("any number of signatures may be asked for at the same time", async () => {
  using here = ameshPlace("floor");
  using identity = await open(here);
  const messages = Array.from({ length: 100 }, (_, i) => utf8(`message ${i}`));
  const signatures = await Promise.all(messages.map((message) => identity.sign(message)));
  for (const [i, signature] of signatures.entries()) {
    assert.equal(await identity.publicKey.verify(signature, messages[i]!), true);
  }
});

test("openIdentity() tells why the key cannot be opened", async () => {
  using nowhere = ameshPlace(null);
  await assert.rejects(open(nowhere), ameshError("ERR_NO_IDENTITY"));
  using here = ameshPlace("floor");
  const wrong = ameshError("ERR_UNLOCK_FAILED", /the passphrase is wrong or the key file damaged/);
  await assert.rejects(open(here, { passphrase: utf8("wrong") }), wrong);
  await assert.rejects(open(here, { passphrase: () => utf8("wrong") }), wrong);
  await assert.rejects(
    open(here, { passphrase: new Uint8Array() }),
    ameshError("ERR_UNLOCK_FAILED", /of the calling program: it is empty/),
  );
  const failure = new Error("no vault");
  await assert.rejects(open(here, { passphrase: () => Promise.reject(failure) }), failure);
  chmodSync(here.layout.identity, 0o644);
  await assert.rejects(open(here), (error) => error instanceof AmeshError && error.exitCode === 8);
});

test("a passphrase that is given comes before all others, is copied, and is not changed", async () => {
  using here = ameshPlace("floor", { AUTH_MESH_PASSPHRASE: "wrong" });
  const passphrase = utf8(FLOOR_PASSPHRASE);
  const opening = open(here, { passphrase });
  passphrase.fill(0);
  using _identity = await opening;
  const given = utf8(FLOOR_PASSPHRASE);
  using _other = await open(here, { passphrase: () => Promise.resolve(given) });
  assert.deepEqual(given, utf8(FLOOR_PASSPHRASE));
});

test("the passphrase in the environment stays there for others of this process", async () => {
  using here = ameshPlace("floor", { AUTH_MESH_PASSPHRASE: FLOOR_PASSPHRASE });
  writeAs(here.layout.passphrase, "wrong", 0o400);
  using _first = await open(here);
  using second = await open(here);
  await second.sign(TEXT);
});

test("hardenProcess takes it out of the environment, and out of what the kernel shows", {
  skip: process.platform !== "linux",
}, () => {
  using here = ameshPlace("floor");
  const code = `
    import { openIdentity } from ${JSON.stringify(projectUrl("src/mod.ts"))};
    import { readFileSync } from "node:fs";
    import process from "node:process";
    const shown = () => {
      try { return readFileSync("/proc/self/environ", "latin1").includes(${
    JSON.stringify(FLOOR_PASSPHRASE)
  }); }
      catch { return "denied"; }
    };
    const told = [];
    for (const hardenProcess of [false, true]) {
      using identity = await openIdentity({ directory: ${
    JSON.stringify(here.layout.directory)
  }, hardenProcess });
      told.push(shown() === true, "AUTH_MESH_PASSPHRASE" in process.env);
    }
    console.log(JSON.stringify(told));`;
  writeAs(here.layout.passphrase, "wrong", 0o400);
  const { stdout, stderr } = runChild(evaluation(code), { env: { AUTH_MESH_PASSPHRASE: FLOOR_PASSPHRASE } });
  assert.equal(stdout, "[true,true,false,false]\n", stderr);
});

test("who has disposed of an identity cannot sign with it any more", async () => {
  using here = ameshPlace("floor");
  const identity = await open(here);
  const { promise, resolve } = Promise.withResolvers<void>();
  const slow = async function* () {
    yield BYTES;
    await promise;
  };
  const underWay = identity.sign(slow());
  const waiting = new Promise((done) => setTimeout(done, 20));
  await waiting;
  await identity[Symbol.asyncDispose]();
  identity[Symbol.dispose]();
  resolve();
  assert.equal(await identity.publicKey.verify(await underWay, BYTES), true);
  await assert.rejects(identity.sign(TEXT), /has been disposed of/);
  await assert.rejects(identity.token({ audience: "a" }), /has been disposed of/);
  assert.throws(() => identity.onRotation(() => {}), /has been disposed of/);
});

test("a directory that cannot be written is enough", async () => {
  using here = ameshPlace("floor");
  const { directory, keys } = here.layout;
  for (const path of [keys, directory]) chmodSync(path, 0o500);
  try {
    const before = here.names();
    using identity = await open(here);
    await identity.sign(TEXT);
    assert.deepEqual(here.names(), before);
    assert.equal(existsSync(here.layout.lock), false);
  } finally {
    for (const path of [directory, keys]) chmodSync(path, 0o700);
  }
});

test("an identity of amesh 0.7 is migrated, with a warning", async () => {
  using here = ameshPlace("amesh-0.7-floor");
  using identity = await open(here, { onWarning: here.warn });
  await identity.sign(TEXT);
  assert.match(here.warnings.join(), /was migrated/);
  using given = ameshPlace("amesh-0.7-floor");
  await assert.rejects(open(given, { passphrase: utf8("x") }), ameshError("ERR_UNLOCK_FAILED"));
});

test("an agent signs where it is preferred, and the key is opened where there is none", async () => {
  using here = ameshPlace("floor");
  const signed = await (async () => {
    using opened = await openKey(here.layout, () => {}, false);
    return await opened.signer.sign(pieces(BYTES));
  })();
  using elsewhere = ameshPlace("floor", { SSH_AUTH_SOCK: here.file("s") });
  // The key cannot be opened in this process.
  writeAs(elsewhere.layout.passphrase, "wrong", 0o400);
  {
    await using _agent = startFakeAgent(here.file("s"), {
      [EXTENSION.STATUS]: statusAnswer(FLOOR.fields.deviceId, "/s"),
      [EXTENSION.SIGN_DIGEST]: { bytes: encodeDigestAnswer(signed) },
    });
    using identity = await open(elsewhere, { agent: "prefer" });
    assert.deepEqual(await identity.sign(pieces(BYTES)), Uint8Array.from(signed));
    await assert.rejects(open(elsewhere), ameshError("ERR_UNLOCK_FAILED"));
  }
  using identity = await open(elsewhere, { agent: "prefer" });
  await assert.rejects(identity.sign(TEXT), ameshError("ERR_UNLOCK_FAILED"));
  writeAs(elsewhere.layout.passphrase, FLOOR_PASSPHRASE, 0o400);
  assert.equal(await identity.publicKey.verify(await identity.sign(TEXT), TEXT), true);
});

test("an agent is not asked unless it is preferred", async () => {
  using elsewhere = ameshPlace(null);
  using here = ameshPlace("floor", { SSH_AUTH_SOCK: elsewhere.file("s") });
  const refusal = { code: "ERR_NOT_CONFIRMED", message: "cannot use the key: x", hint: "" };
  await using _agent = startFakeAgent(elsewhere.file("s"), {
    [EXTENSION.STATUS]: statusAnswer(FLOOR.fields.deviceId, "/s"),
    [EXTENSION.SIGN_DIGEST]: { bytes: encodeDigestAnswer(refusal) },
  });
  using identity = await open(here);
  await identity.sign(TEXT);
  using other = await open(here, { agent: "prefer" });
  await assert.rejects(other.sign(TEXT), ameshError("ERR_NOT_CONFIRMED"));
});

test("token() makes what verifiers read, and no bad ones", async () => {
  using here = ameshPlace("floor");
  using identity = await open(here);
  const token = await identity.token({
    audience: "https://a.example",
    claims: { role: ["x"] },
    lifetime: 60,
  });
  const [header, payload, signature] = token.split(".") as [string, string, string];
  const decode = (part: string) => JSON.parse(atob(part.replaceAll("-", "+").replaceAll("_", "/")));
  assert.deepEqual(decode(header), { alg: "ES256", typ: "JWT", kid: identity.publicKey.thumbprint });
  const { iss, sub, aud, iat, exp, role } = decode(payload);
  assert.deepEqual([iss, sub, aud, exp - iat, role], [
    identity.deviceId,
    identity.deviceId,
    "https://a.example",
    60,
    ["x"],
  ]);
  assert.equal(await identity.publicKey.verify(signature, `${header}.${payload}`), true);
  const bad = [
    { audience: [] },
    { audience: "" },
    { audience: "a", lifetime: 86_400 },
    { audience: "a", claims: { exp: 1 } },
    { audience: "a", claims: { "x=1,y": 1 } },
    { audience: "a", claims: { x: undefined } },
  ];
  for (const options of bad) await assert.rejects(identity.token(options), ameshError("ERR_USAGE"));
  await assert.rejects(identity.token({ audience: "a", lifetime: 1.5 }), TypeError);
});

test("a stream of 100 MiB is signed in constant memory", () => {
  using here = ameshPlace("floor");
  const code = `
    import { openIdentity } from ${JSON.stringify(projectUrl("src/mod.ts"))};
    import process from "node:process";
    using identity = await openIdentity({ directory: ${JSON.stringify(here.layout.directory)} });
    const data = (count, note) => new ReadableStream({
      pull(controller) {
        note();
        if (count-- === 0) controller.close();
        else controller.enqueue(new Uint8Array(1 << 20).fill(count));
      },
    }, { highWaterMark: 0 });
    await identity.publicKey.verify(await identity.sign(data(8, () => {})), data(8, () => {}));
    const before = process.memoryUsage().rss;
    let peak = 0;
    const note = () => { peak = Math.max(peak, process.memoryUsage().rss); };
    const signature = await identity.sign(data(100, note));
    console.log(await identity.publicKey.verify(signature, data(100, note)), Math.round((peak - before) / 2 ** 20));`;
  const { stdout, stderr } = runChild(evaluation(code));
  const [, isValid, mebibytes] = /^(\w+) (-?\d+)\n$/.exec(stdout) ?? [];
  assert.equal(isValid, "true", stderr);
  assert.ok(Number(mebibytes) < 70, `${mebibytes} MiB more`);
});

test("what the documentation says that Deno must permit is enough", { skip: !isDeno }, () => {
  using here = ameshPlace("floor");
  const code = `
    import { openIdentity } from ${JSON.stringify(projectUrl("src/mod.ts"))};
    using identity = await openIdentity({ directory: ${JSON.stringify(here.layout.directory)} });
    console.log((await identity.sign("x")).length);`;
  const flags = [
    "--no-prompt",
    "--allow-read",
    "--allow-env=AUTH_MESH_PASSPHRASE,AMESH_PASSPHRASE_FILE,CREDENTIALS_DIRECTORY,AMESH_ALLOW_GROUP_READ",
    "--allow-sys=uid",
    "--allow-ffi=/lib,/lib64,/usr/lib,/usr/lib64",
  ];
  const { stdout, stderr } = runChild(evaluation(code, flags));
  assert.equal(stdout, "64\n", stderr);
});
