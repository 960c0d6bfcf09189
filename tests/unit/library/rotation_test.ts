import assert from "node:assert/strict";
import { readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { utf8 } from "../../../src/bytes.ts";
import { createIdentity } from "../../../src/identity/create.ts";
import { rotateIdentity } from "../../../src/identity/rotate.ts";
import { type MachineIdentity, openIdentity, type OpenOptions, type Rotation } from "../../../src/mod.ts";
import { type AmeshPlace, ameshPlace, FLOOR_PASSPHRASE, writeAs } from "../../support/amesh_place.ts";
import { evaluation, isDeno, projectUrl, runChild } from "../../support/child_process.ts";
import { ameshError } from "../../support/errors.ts";

const open = ({ layout, warn }: AmeshPlace, options: OpenOptions = {}) =>
  openIdentity({ directory: layout.directory, rotationIntervalMs: 20, onWarning: warn, ...options });

const rotate = ({ layout, warn }: AmeshPlace) =>
  rotateIdentity({ layout, backend: undefined, now: new Date(), input: {}, warn });

/** The next rotation that it tells of. */
const nextOf = (identity: MachineIdentity) =>
  new Promise<Rotation>((resolve) => {
    const subscription = identity.onRotation((rotation) => {
      subscription[Symbol.dispose]();
      resolve(rotation);
    });
  });

/** Waits for what is told by itself; without a timer of its own nothing would keep the process alive. */
async function withTimer<T>(promise: Promise<T>): Promise<T> {
  const timer = setInterval(() => {}, 1000);
  try {
    return await promise;
  } finally {
    clearInterval(timer);
  }
}

async function requireSigns(identity: MachineIdentity): Promise<void> {
  const { signature, publicKey } = await identity.signWithKey("x");
  assert.equal(publicKey.deviceId, identity.deviceId);
  assert.equal(await identity.publicKey.verify(signature, "x"), true);
}

test("a rotation by another process is told, and its key signs from then on", async () => {
  using here = ameshPlace("floor");
  using identity = await open(here);
  const before = identity.publicKey;
  const told = nextOf(identity);
  const flags = isDeno ? ["run", "--allow-all", "--no-check", "--cached-only"] : [];
  const main = join(import.meta.dirname!, "..", "..", "..", "main.ts");
  const env = { AUTH_MESH_DIR: here.layout.directory };
  const { code, stdout, stderr } = runChild([process.execPath, ...flags, main, "rotate", "--json"], { env });
  assert.equal(code, 0, stderr);
  const { previous, current, statements } = await withTimer(told);
  assert.ok(previous.equals(before));
  assert.equal(current.deviceId, JSON.parse(stdout).deviceId);
  assert.equal(statements.length, 1);
  assert.ok(statements[0]!.includes(previous.deviceId) && statements[0]!.includes(current.deviceId));
  assert.equal(identity.deviceId, current.deviceId);
  await requireSigns(identity);
});

test("a rotation that nobody listens for is noticed by the next signature", async () => {
  using here = ameshPlace("floor");
  using identity = await open(here);
  await requireSigns(identity);
  const { identity: next } = await rotate(here);
  const { signature, publicKey } = await identity.signWithKey("x");
  assert.equal(publicKey.deviceId, next.fields.deviceId);
  assert.equal(identity.deviceId, next.fields.deviceId);
  assert.equal(await publicKey.verify(signature, "x"), true);
  const token = await identity.token({ audience: "a" });
  assert.ok(atob(token.split(".")[0]!).includes(publicKey.thumbprint));
});

test("every signature of a rotation's moment is that of the key that it says", async () => {
  using here = ameshPlace("floor");
  using identity = await open(here);
  const rotated = rotate(here);
  const ids = new Set<string>();
  let nextId = "";
  const signing = (async () => {
    while (!ids.has(nextId)) {
      const made = await Promise.all(Array.from({ length: 8 }, () => identity.signWithKey("x")));
      for (const { signature, publicKey } of made) {
        assert.equal(await publicKey.verify(signature, "x"), true);
        ids.add(publicKey.deviceId);
      }
      // Bun's promises alone would leave no room for the rotation.
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  })();
  const { identity: next } = await rotated;
  nextId = next.fields.deviceId;
  await signing;
  await requireSigns(identity);
});

test("a stream that is being read while the identity is replaced is not signed with the dead key", async () => {
  using here = ameshPlace("floor");
  using identity = await open(here);
  const slow = async function* () {
    yield utf8("x");
    await rotate(here);
  };
  await assert.rejects(identity.sign(slow()), ameshError("ERR_BUSY", /was replaced meanwhile/));
  await requireSigns(identity);
});

test("an identity that was made anew is told without a statement", async () => {
  using here = ameshPlace("floor");
  using identity = await open(here);
  const told = nextOf(identity);
  await createIdentity({
    layout: here.layout,
    name: "another",
    backend: "encrypted-file",
    force: true,
    ifMissing: false,
    now: new Date(),
    warn: here.warn,
    onDetected: () => {},
  });
  const { current, statements } = await withTimer(told);
  assert.deepEqual(statements, []);
  assert.equal(identity.name, "another");
  assert.equal(identity.deviceId, current.deviceId);
});

test("several rotations at once are one, with all their statements in order", async () => {
  using here = ameshPlace("floor");
  using identity = await open(here, { rotationIntervalMs: 60_000 });
  const told = nextOf(identity);
  const chain = [await rotate(here), await rotate(here)];
  await requireSigns(identity);
  const { statements } = await withTimer(told);
  assert.deepEqual(
    statements.map((text) => JSON.parse(text).newDeviceId),
    chain.map(({ identity }) => identity.fields.deviceId),
  );
});

const FORGERIES: Readonly<Record<string, (statement: Record<string, unknown>) => unknown>> = {
  "is no statement": ({ newDeviceId }) => ({ newDeviceId }),
  "is signed by nobody": (statement) => ({ ...statement, oldSignature: statement["newSignature"] }),
  "is of another day": (statement) => ({ ...statement, createdAt: "2020-01-01T00:00:00.000Z" }),
};
for (const [what, forge] of Object.entries(FORGERIES)) {
  test(`a statement that ${what} is not handed on`, async () => {
    using here = ameshPlace("floor");
    using identity = await open(here, { rotationIntervalMs: 60_000 });
    const told = nextOf(identity);
    const { statementFile } = await rotate(here);
    const statement = JSON.parse(readFileSync(statementFile, "utf8"));
    assert.deepEqual(Object.keys(forge(statement) as object).filter((name) => !(name in statement)), []);
    writeAs(statementFile, JSON.stringify(forge(statement)), 0o600);
    await requireSigns(identity);
    assert.deepEqual((await withTimer(told)).statements, []);
  });
}

test("a passphrase that was given opens the new key too, and a function is asked again", async () => {
  for (const isFunction of [false, true]) {
    using here = ameshPlace("floor");
    let asked = 0;
    const bytes = utf8(FLOOR_PASSPHRASE);
    using identity = await open(here, {
      passphrase: isFunction ? () => (asked++, bytes) : bytes,
    });
    await rotate(here);
    rmSync(here.layout.passphrase);
    await requireSigns(identity);
    assert.equal(asked, isFunction ? 2 : 0);
  }
});

test("a rotated key that cannot be opened is an error, never a signature of the old one", async () => {
  using here = ameshPlace("floor");
  using identity = await open(here);
  const { identity: next } = await rotate(here);
  writeAs(here.layout.passphrase, "wrong", 0o400);
  for (let i = 0; i < 2; i++) await assert.rejects(identity.sign("x"), ameshError("ERR_UNLOCK_FAILED"));
  assert.equal(identity.deviceId, next.fields.deviceId);
  writeAs(here.layout.passphrase, FLOOR_PASSPHRASE, 0o400);
  await requireSigns(identity);
});

test("without an identity nothing is signed, and with the same one again it is", async () => {
  using here = ameshPlace("floor");
  using identity = await open(here);
  let told = 0;
  using _subscription = identity.onRotation(() => told++);
  const { identity: path } = here.layout;
  renameSync(path, `${path}.away`);
  await assert.rejects(identity.sign("x"), ameshError("ERR_NO_IDENTITY"));
  await withTimer(new Promise((resolve) => setTimeout(resolve, 100)));
  // Told once, however often it was looked.
  assert.equal(here.warnings.length, 1, here.warnings.join());
  renameSync(`${path}.away`, path);
  await requireSigns(identity);
  assert.equal(told, 0);
});

test("a listener that was disposed of is not called, one of two goes on", async () => {
  using here = ameshPlace("floor");
  using identity = await open(here);
  const told: string[] = [];
  const listener = (name: string) => () => void told.push(name);
  const first = identity.onRotation(listener("first"));
  using _second = identity.onRotation(listener("second"));
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  await rotate(here);
  await requireSigns(identity);
  await withTimer(new Promise((resolve) => setTimeout(resolve, 60)));
  assert.deepEqual(told, ["second"]);
});

test("waiting for rotations does not keep the process alive", () => {
  using here = ameshPlace("floor");
  const code = `
    import { openIdentity } from ${JSON.stringify(projectUrl("src/mod.ts"))};
    const identity = await openIdentity({ directory: ${JSON.stringify(here.layout.directory)} });
    identity.onRotation(() => {});
    console.log("done");`;
  const { code: exitCode, stdout, stderr } = runChild(evaluation(code), { timeout: 60_000 });
  assert.deepEqual([exitCode, stdout], [0, "done\n"], stderr);
});
