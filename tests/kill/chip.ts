/** The software TPM of one worker, with identities in it from which scenarios start. */
import { createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { deviceIdOf } from "../../src/formats/identity_file.ts";
import { startSwtpm, type Swtpm } from "../support/swtpm.ts";
import { put } from "./files.ts";

/** What amesh 0.7 called its key, and the persistent handle that follows from it. */
const LEGACY_ALIAS = "am_legacy-key-0001";
const LEGACY_HANDLE = "0x81462b61";

/** A software TPM that is used again for every point. */
export class Chip implements Disposable {
  readonly #swtpm: Swtpm = startSwtpm();
  #legacyIdentity: string | undefined;

  get tcti(): string {
    return this.#swtpm.tcti;
  }

  /** Removes what a killed program left in it: there is no resource manager. */
  flush(): void {
    for (const kind of ["-t", "-l", "-s"]) this.#swtpm.tools("flushcontext", kind);
  }

  /** Handles of what a program that came to its end should have flushed. */
  leftovers(): string[] {
    return [...this.#swtpm.transientHandles(), ...this.#swtpm.loadedSessions()];
  }

  /** identity.json of amesh 0.7 whose key lies at a persistent handle; made once. */
  async legacyIdentity(): Promise<string> {
    return this.#legacyIdentity ??= await this.#makeLegacyKey();
  }

  /** Whether that key is in the TPM; `null` when it was never made. */
  get hasLegacyKey(): boolean | null {
    if (this.#legacyIdentity === undefined) return null;
    return this.#swtpm.tools("getcap", "handles-persistent").toLowerCase().includes(LEGACY_HANDLE.slice(2));
  }

  /** Puts that key back or takes it away, so that the TPM is as `hasLegacyKey` was. */
  set hasLegacyKey(wanted: boolean | null) {
    if (wanted === null || wanted === this.hasLegacyKey) return;
    if (wanted) this.#persist();
    else this.#swtpm.tools("evictcontrol", "-C", "o", "-c", LEGACY_HANDLE);
  }

  /** As amesh 0.7 did it: the default attributes of tpm2-tools. */
  async #makeLegacyKey(): Promise<string> {
    this.#withPrimary(["create", "-C", "p.ctx", "-G", "ecc256", "-u", "k.pub", "-r", "k.priv"]);
    this.#persist();
    this.#swtpm.tools("readpublic", "-c", LEGACY_HANDLE, "-f", "pem", "-o", "k.pem");
    const { x = "", y = "" } = createPublicKey(readFileSync(this.#swtpm.file("k.pem"))).export({
      format: "jwk",
    });
    const sign = Buffer.from(y, "base64url").at(-1)! & 1;
    const point = Uint8Array.of(2 + sign, ...Buffer.from(x, "base64url"));
    return JSON.stringify({
      version: "2.0.0",
      deviceId: await deviceIdOf(point),
      keyAlias: LEGACY_ALIAS,
      publicKey: point.toBase64(),
      friendlyName: "before",
      createdAt: "2025-01-01T00:00:00.000Z",
      storageBackend: "tpm2",
    });
  }

  #withPrimary(...commands: [string, ...string[]][]): void {
    this.#swtpm.tools("createprimary", "-C", "o", "-G", "ecc256", "-c", "p.ctx");
    this.#swtpm.tools("flushcontext", "-t");
    for (const command of commands) {
      this.#swtpm.tools(...command);
      this.#swtpm.tools("flushcontext", "-t");
    }
  }

  #persist(): void {
    this.#withPrimary(
      ["load", "-C", "p.ctx", "-u", "k.pub", "-r", "k.priv", "-c", "k.ctx"],
      ["evictcontrol", "-C", "o", "-c", "k.ctx", LEGACY_HANDLE],
    );
  }

  [Symbol.dispose](): void {
    this.#swtpm[Symbol.dispose]();
  }
}

/** Makes HOME hold an identity of amesh 0.7 in this TPM. */
export async function putLegacyIdentity(home: string, chip: Chip): Promise<void> {
  put(join(home, ".amesh", "identity.json"), await chip.legacyIdentity(), 0o600);
  chip.hasLegacyKey = true;
}
