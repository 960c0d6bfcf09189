/** Keys that go to and fro between amesh, OpenSSL's tpm2 provider and tpm2-tools. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createPublicKey, verify as verifySignature } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import type { Bytes } from "../../src/bytes.ts";
import { expandPoint, verify } from "../../src/crypto/p256.ts";
import { deviceIdOf, type Identity, newIdentityFields } from "../../src/formats/identity_file.ts";
import { compressPoint, encodeSpki } from "../../src/formats/public_key.ts";
import { parseTss2Key } from "../../src/formats/tss2_key.ts";
import type { TierContext } from "../../src/keystore/keystore.ts";
import { tpm2Tier } from "../../src/keystore/tpm2.ts";
import { Passphrases } from "../../src/passphrase/sources.ts";
import { joinPath, layoutOf } from "../../src/platform/paths.ts";
import { connectTpm } from "../../src/tpm/detect.ts";
import { findStorageRoot } from "../../src/tpm/storage_root.ts";
import { parseEccPublic } from "../../src/tpm/structures.ts";
import { setEnvironment } from "../support/environment.ts";
import { startSwtpm, type Swtpm, swtpmMissing } from "../support/swtpm.ts";
import { temporaryDirectory } from "../support/temporary_directory.ts";

const arch = process.arch === "arm64" ? "aarch64" : "x86_64";
const provider = existsSync(`/usr/lib/${arch}-linux-gnu/ossl-modules/tpm2.so`);
const missing = swtpmMissing() ?? (provider ? undefined : "no tpm2 provider of OpenSSL");
const it = (name: string, run: () => void | Promise<void>) =>
  test(missing === undefined ? name : `${name}: ${missing}`, { skip: missing !== undefined }, run);

const MESSAGE = new TextEncoder().encode("what both sign");
async function* message(): AsyncGenerator<Uint8Array> {
  yield MESSAGE;
}

let swtpm: Swtpm;
let environment: Disposable;
let directory: ReturnType<typeof temporaryDirectory>;
let context: TierContext;

if (missing === undefined) {
  before(() => {
    swtpm = startSwtpm();
    environment = setEnvironment({ AMESH_TPM_TCTI: swtpm.tcti });
    directory = temporaryDirectory();
    const layout = layoutOf(directory.file("amesh"));
    mkdirSync(layout.directory, { mode: 0o700 });
    mkdirSync(layout.keys, { mode: 0o700 });
    context = { layout, passphrases: new Passphrases(layout, undefined, () => {}) };
    writeFileSync(directory.file("message"), MESSAGE);
  });
  after(() => {
    environment[Symbol.dispose]();
    swtpm[Symbol.dispose]();
    directory[Symbol.dispose]();
  });
}

/** OpenSSL 3 with its tpm2 provider. @returns stdout. */
function openssl(...args: readonly string[]): Uint8Array {
  const env = {
    PATH: "/usr/bin:/bin",
    HOME: directory.path,
    TPM2OPENSSL_TCTI: swtpm.tcti,
    TSS2_LOG: "all+NONE",
  };
  const { status, stdout, stderr } = spawnSync("openssl", args, { cwd: directory.path, env });
  assert.equal(status, 0, `openssl ${args.join(" ")}: ${stderr}`);
  return stdout;
}
const TPM2 = ["-provider", "tpm2", "-provider", "default"];

/** Keeps the SRK that amesh makes at 0x81000001. */
function keepRoot(): void {
  const attributes = "restricted|decrypt|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda";
  swtpm.tools("createprimary", "-Q", "-C", "o", "-G", "ecc256:aes128cfb", "-a", attributes, "-c", "srk.ctx");
  swtpm.tools("flushcontext", "-t");
  swtpm.tools("evictcontrol", "-Q", "-C", "o", "-c", "srk.ctx", "0x81000001");
  swtpm.tools("flushcontext", "-t");
}
const dropRoot = () => void swtpm.tools("evictcontrol", "-Q", "-C", "o", "-c", "0x81000001");

async function makeKey(): Promise<{ identity: Identity; path: string }> {
  const key = await tpm2Tier.generate(context);
  using signer = key.signer;
  const fields = await newIdentityFields(signer.publicKey, "i", "tpm2", new Date(0), key.identityFields);
  const identity = { fields, publicKey: signer.publicKey };
  return { identity, path: joinPath(context.layout.keys, `${fields.deviceId}.tss2.pem`) };
}

/** An identity for a key file that another program made. */
async function adopt(pem: Uint8Array): Promise<Identity> {
  const key = parseTss2Key(pem, "adopted");
  const publicKey: Bytes = compressPoint(parseEccPublic(key.publicArea)!.point);
  using tpm = connectTpm();
  const tpmRecord = { srkName: findStorageRoot(tpm).name, parent: `0x${key.parent.toString(16)}` };
  const fields = await newIdentityFields(publicKey, "o", "tpm2", new Date(0), { tpm: tpmRecord });
  writeFileSync(joinPath(context.layout.keys, `${await deviceIdOf(publicKey)}.tss2.pem`), pem, {
    mode: 0o600,
  });
  return { fields, publicKey };
}

async function signWith(identity: Identity): Promise<Bytes> {
  using signer = await tpm2Tier.open(context, identity, false);
  return await signer.sign(message());
}

for (const kept of [false, true]) {
  const where = kept ? "a kept SRK" : "an SRK made anew";

  it(`OpenSSL reads and signs with a key of amesh, under ${where}`, async () => {
    if (kept) keepRoot();
    const { identity, path } = await makeKey();
    const spki = openssl("pkey", ...TPM2, "-in", path, "-pubout", "-outform", "der");
    const point = await expandPoint(identity.publicKey);
    assert.deepEqual(Uint8Array.from(spki), encodeSpki(point));
    const publicKey = createPublicKey({ key: spki as never, format: "der", type: "spki" });
    const signatures = [
      openssl("pkeyutl", ...TPM2, "-sign", "-rawin", "-digest", "sha256", "-inkey", path, "-in", "message"),
      openssl("dgst", "-sha256", ...TPM2, "-propquery", "?provider=tpm2", "-sign", path, "message"),
    ];
    for (const signature of signatures) assert.ok(verifySignature("sha256", MESSAGE, publicKey, signature));
    assert.ok(await verify(point, [await signWith(identity)], message()));
    if (kept) dropRoot();
  });

  it(`amesh signs with a key of OpenSSL, under ${where}`, async () => {
    if (kept) keepRoot();
    const parent = kept ? ["-pkeyopt", "parent:0x81000001"] : [];
    openssl(
      "genpkey",
      ...TPM2,
      "-algorithm",
      "EC",
      "-pkeyopt",
      "group:P-256",
      ...parent,
      "-out",
      "openssl.pem",
    );
    const identity = await adopt(readFileSync(directory.file("openssl.pem")));
    assert.ok(await verify(identity.publicKey, [await signWith(identity)], message()));
    if (kept) dropRoot();
  });
}

it("tpm2-tools load and sign with a key of amesh", async () => {
  keepRoot();
  const { identity, path } = await makeKey();
  const { publicArea, privateArea } = parseTss2Key(readFileSync(path), path);
  const files = ["k.pub", "k.priv", "k.ctx", "k.sig", "message"].map((name) => swtpm.file(name));
  const [pub, priv, ctx, sig, text] = files as [string, string, string, string, string];
  writeFileSync(pub, publicArea);
  writeFileSync(priv, privateArea);
  writeFileSync(text, MESSAGE);
  swtpm.tools("load", "-Q", "-C", "0x81000001", "-u", pub, "-r", priv, "-c", ctx);
  swtpm.tools("flushcontext", "-t");
  swtpm.tools("sign", "-Q", "-c", ctx, "-g", "sha256", "-f", "plain", "-o", sig, text);
  swtpm.tools("flushcontext", "-t");
  const spki = encodeSpki(await expandPoint(identity.publicKey));
  const publicKey = createPublicKey({ key: spki as never, format: "der", type: "spki" });
  assert.ok(verifySignature("sha256", MESSAGE, publicKey, readFileSync(sig)));
  dropRoot();
});

it("amesh signs with a key of tpm2-tools", async () => {
  keepRoot();
  const [pub, priv, pem] = ["t.pub", "t.priv", "t.pem"].map((name) => swtpm.file(name)) as [
    string,
    string,
    string,
  ];
  swtpm.tools("create", "-Q", "-C", "0x81000001", "-G", "ecc256", "-u", pub, "-r", priv);
  swtpm.tools("flushcontext", "-t");
  swtpm.tools("encodeobject", "-Q", "-C", "0x81000001", "-u", pub, "-r", priv, "-o", pem);
  swtpm.tools("flushcontext", "-t");
  swtpm.tools("flushcontext", "-l");
  const identity = await adopt(readFileSync(pem));
  assert.ok(await verify(identity.publicKey, [await signWith(identity)], message()));
  dropRoot();
  assert.deepEqual([swtpm.transientHandles(), swtpm.loadedSessions()], [[], []]);
});
