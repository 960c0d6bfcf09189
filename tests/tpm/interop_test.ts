/** Keys that go to and fro between amesh, OpenSSL's tpm2 provider and tpm2-tools. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import type { Bytes } from "../../src/bytes.ts";
import { expandPoint, verify } from "../../src/crypto/p256.ts";
import { formatSignature, parseSignature } from "../../src/formats/ecdsa_signature.ts";
import { deviceIdOf, type Identity, newIdentityFields } from "../../src/formats/identity_file.ts";
import { compressPoint, encodeSpki } from "../../src/formats/public_key.ts";
import { parseTss2Key } from "../../src/formats/tss2_key.ts";
import { tpm2Tier } from "../../src/keystore/tpm2.ts";
import { joinPath } from "../../src/platform/paths.ts";
import { connectTpm } from "../../src/tpm/detect.ts";
import { findStorageRoot } from "../../src/tpm/storage_root.ts";
import { parseEccPublic } from "../../src/tpm/structures.ts";
import { swtpmMissing } from "../support/swtpm.ts";
import { KEPT_SRK, SRK_ATTRIBUTES, useTpm } from "../support/tpm_tier.ts";

const arch = process.arch === "arm64" ? "aarch64" : "x86_64";
const provider = existsSync(`/usr/lib/${arch}-linux-gnu/ossl-modules/tpm2.so`);
const MESSAGE = new TextEncoder().encode("what both sign");
async function* message(): AsyncGenerator<Uint8Array> {
  yield MESSAGE;
}

const tpm = useTpm({
  missing: swtpmMissing() ?? (provider ? undefined : "no tpm2 provider of OpenSSL"),
  prepare: () => writeFileSync(tpm.directory.file("message"), MESSAGE),
});

/** OpenSSL 3 with its tpm2 provider. @returns stdout. */
function openssl(...args: readonly string[]): Uint8Array {
  const env = {
    PATH: "/usr/bin:/bin",
    HOME: tpm.directory.path,
    TPM2OPENSSL_TCTI: tpm.swtpm.tcti,
    TSS2_LOG: "all+NONE",
  };
  const { status, stdout, stderr } = spawnSync("openssl", args, { cwd: tpm.directory.path, env });
  assert.equal(status, 0, `openssl ${args.join(" ")}: ${stderr}`);
  return stdout;
}
const TPM2 = ["-provider", "tpm2", "-provider", "default"];
/** The SRK that amesh makes, as tpm2-tools name it: kept, or saved in a file. @returns what `-C` takes. */
function rootOfTools(kept: boolean): string {
  if (kept) return KEPT_SRK;
  tpm.tools("createprimary", "-C", "o", "-G", "ecc256:aes128cfb", "-a", SRK_ATTRIBUTES, "-c", "root.ctx");
  return "root.ctx";
}

/** Nothing is left by whoever used the TPM. */
const isEmpty = () => assert.deepEqual(tpm.loaded(), []);

async function makeKey(): Promise<{ identity: Identity; path: string }> {
  const key = await tpm2Tier.generate(tpm.context);
  using signer = key.signer;
  const fields = await newIdentityFields(signer.publicKey, "i", "tpm2", new Date(0), key.identityFields);
  const identity = { fields, publicKey: signer.publicKey };
  return { identity, path: joinPath(tpm.context.layout.keys, `${fields.deviceId}.tss2.pem`) };
}

/** An identity for a key file that another program made. */
async function adopt(pem: Uint8Array): Promise<Identity> {
  const key = parseTss2Key(pem, "adopted");
  const publicKey: Bytes = compressPoint(parseEccPublic(key.publicArea)!.point);
  using connection = connectTpm();
  const tpmRecord = { srkName: findStorageRoot(connection).name, parent: `0x${key.parent.toString(16)}` };
  const fields = await newIdentityFields(publicKey, "o", "tpm2", new Date(0), { tpm: tpmRecord });
  writeFileSync(joinPath(tpm.context.layout.keys, `${await deviceIdOf(publicKey)}.tss2.pem`), pem, {
    mode: 0o600,
  });
  return { fields, publicKey };
}

async function signWith(identity: Identity): Promise<Bytes> {
  using signer = await tpm2Tier.open(tpm.context, identity, false);
  return await signer.sign(message());
}

/** Whether OpenSSL, without any TPM, accepts a raw signature of the message. */
async function opensslAccepts(point: Bytes, signature: Bytes): Promise<void> {
  writeFileSync(tpm.directory.file("spki.der"), encodeSpki(await expandPoint(point)));
  writeFileSync(tpm.directory.file("sig.der"), await formatSignature(signature, "der"));
  const key = ["-keyform", "DER", "-verify", "spki.der"];
  const said = openssl("dgst", "-sha256", ...key, "-signature", "sig.der", "message");
  assert.equal(new TextDecoder().decode(said), "Verified OK\n");
}

for (const kept of [false, true]) {
  const where = kept ? "a kept SRK" : "an SRK made anew";
  const parent = kept ? 0x81000001 : 0x40000001;

  tpm.it(`OpenSSL reads and signs with a key of amesh, under ${where}`, async () => {
    using _root = kept ? tpm.keepRoot() : null;
    const { identity, path } = await makeKey();
    const spki = openssl("pkey", ...TPM2, "-in", path, "-pubout", "-outform", "der");
    const point = await expandPoint(identity.publicKey);
    assert.deepEqual(Uint8Array.from(spki), encodeSpki(point));
    const signatures = [
      openssl("pkeyutl", ...TPM2, "-sign", "-rawin", "-digest", "sha256", "-inkey", path, "-in", "message"),
      openssl("dgst", "-sha256", ...TPM2, "-propquery", "?provider=tpm2", "-sign", path, "message"),
    ];
    for (const der of signatures) assert.ok(await verify(point, await parseSignature(der), message()));
    await opensslAccepts(identity.publicKey, await signWith(identity));
    isEmpty();
  });

  tpm.it(`amesh signs with a key of OpenSSL, under ${where}`, async () => {
    using _root = kept ? tpm.keepRoot() : null;
    const options = ["group:P-256", ...(kept ? [`parent:${KEPT_SRK}`] : [])].flatMap((o) => ["-pkeyopt", o]);
    openssl("genpkey", ...TPM2, "-algorithm", "EC", ...options, "-out", "openssl.pem");
    const pem = readFileSync(tpm.directory.file("openssl.pem"));
    assert.equal(parseTss2Key(pem, "openssl.pem").parent, parent);
    const identity = await adopt(pem);
    await opensslAccepts(identity.publicKey, await signWith(identity));
    isEmpty();
  });

  tpm.it(`tpm2-tools load and sign with a key of amesh, under ${where}`, async () => {
    using _root = kept ? tpm.keepRoot() : null;
    const { identity, path } = await makeKey();
    const key = parseTss2Key(readFileSync(path), path);
    assert.equal(key.parent, parent);
    writeFileSync(tpm.swtpm.file("k.pub"), key.publicArea);
    writeFileSync(tpm.swtpm.file("k.priv"), key.privateArea);
    writeFileSync(tpm.swtpm.file("message"), MESSAGE);
    tpm.swtpm.tools("load", "-Q", "-C", rootOfTools(kept), "-u", "k.pub", "-r", "k.priv", "-c", "k.ctx");
    tpm.swtpm.tools("flushcontext", "-t");
    tpm.swtpm.tools("sign", "-Q", "-c", "k.ctx", "-g", "sha256", "-f", "plain", "-o", "k.sig", "message");
    tpm.swtpm.tools("flushcontext", "-t");
    const signatures = await parseSignature(readFileSync(tpm.swtpm.file("k.sig")));
    assert.ok(await verify(identity.publicKey, signatures, message()));
  });

  tpm.it(`amesh signs with a key of tpm2-tools, under ${where}`, async () => {
    using _root = kept ? tpm.keepRoot() : null;
    const root = rootOfTools(kept);
    tpm.swtpm.tools("create", "-Q", "-C", root, "-G", "ecc256", "-u", "t.pub", "-r", "t.priv");
    tpm.swtpm.tools("flushcontext", "-t");
    tpm.swtpm.tools("encodeobject", "-Q", "-C", root, "-u", "t.pub", "-r", "t.priv", "-o", "t.pem");
    tpm.swtpm.tools("flushcontext", "-t");
    tpm.swtpm.tools("flushcontext", "-l");
    const identity = await adopt(readFileSync(tpm.swtpm.file("t.pem")));
    await opensslAccepts(identity.publicKey, await signWith(identity));
    isEmpty();
  });
}
