/** What a test file of the tpm2 tier works with: a software TPM, perhaps behind a proxy, and an amesh directory. */
import { mkdirSync } from "node:fs";
import { after, before, test } from "node:test";
import type { TierContext } from "../../src/keystore/keystore.ts";
import { Passphrases } from "../../src/passphrase/passphrases.ts";
import { layoutOf } from "../../src/platform/paths.ts";
import { setEnvironment } from "./environment.ts";
import { startSwtpm, type Swtpm, swtpmMissing } from "./swtpm.ts";
import { temporaryDirectory } from "./temporary_directory.ts";
import { startTpmProxy, type TpmProxy } from "./tpm_proxy.ts";

/** The attributes of the SRK that amesh makes, as tpm2-tools name them. */
export const SRK_ATTRIBUTES = "restricted|decrypt|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda";
/** Where an SRK is kept. */
export const KEPT_SRK = "0x81000001";

/** There while the tests of a file run, and not before. */
export interface TpmTier {
  readonly swtpm: Swtpm;
  /** @throws {Error} it was not asked for. */
  readonly proxy: TpmProxy;
  readonly directory: ReturnType<typeof temporaryDirectory>;
  readonly context: TierContext;
  /** Registers a test; it is skipped with the reason in its name where there is no TPM to be had. */
  it(name: string, run: () => void | Promise<void>): void;
  /** Handles of all objects and sessions that are loaded. */
  loaded(): string[];
  /** Runs one of tpm2-tools and flushes what it leaves loaded. */
  tools(name: string, ...args: readonly string[]): void;
  /** Keeps the SRK that amesh makes, until it is disposed of. */
  keepRoot(): Disposable;
}

/**
 * Starts a TPM for the tests of the file that calls it, and ends it after them.
 *
 * @param withProxy whether amesh reaches it through a proxy.
 * @param missing why the tests cannot run.
 * @param prepare called when all is there, before the first test.
 */
export function useTpm(
  { withProxy = false, missing = swtpmMissing(), prepare = () => {} }: {
    readonly withProxy?: boolean;
    readonly missing?: string | undefined;
    readonly prepare?: () => void | Promise<void>;
  } = {},
): TpmTier {
  let swtpm: Swtpm;
  let proxy: TpmProxy | undefined;
  let environment: Disposable;
  let directory: ReturnType<typeof temporaryDirectory>;
  let context: TierContext;
  if (missing === undefined) {
    before(async () => {
      swtpm = startSwtpm();
      proxy = withProxy ? startTpmProxy(swtpm) : undefined;
      directory = temporaryDirectory();
      const layout = layoutOf(directory.file("amesh"));
      environment = setEnvironment({
        AMESH_TPM_TCTI: (proxy ?? swtpm).tcti,
        AUTH_MESH_DIR: layout.directory,
      });
      mkdirSync(layout.directory, { mode: 0o700 });
      mkdirSync(layout.keys, { mode: 0o700 });
      context = { layout, passphrases: new Passphrases(layout, undefined, () => {}) };
      await prepare();
    });
    after(() => {
      environment[Symbol.dispose]();
      proxy?.[Symbol.dispose]();
      swtpm[Symbol.dispose]();
      directory[Symbol.dispose]();
    });
  }
  const tools = (name: string, ...args: readonly string[]) => {
    swtpm.tools(name, "-Q", ...args);
    swtpm.tools("flushcontext", "-t");
  };
  return {
    get swtpm() {
      return swtpm;
    },
    get proxy() {
      if (proxy === undefined) throw new Error("there is no proxy");
      return proxy;
    },
    get directory() {
      return directory;
    },
    get context() {
      return context;
    },
    it: (name, run) => {
      test(missing === undefined ? name : `${name}: ${missing}`, { skip: missing !== undefined }, run);
    },
    loaded: () => [...swtpm.transientHandles(), ...swtpm.loadedSessions()],
    tools,
    keepRoot: () => {
      tools("createprimary", "-C", "o", "-G", "ecc256:aes128cfb", "-a", SRK_ATTRIBUTES, "-c", "srk.ctx");
      tools("evictcontrol", "-C", "o", "-c", "srk.ctx", KEPT_SRK);
      return { [Symbol.dispose]: () => tools("evictcontrol", "-C", "o", "-c", KEPT_SRK) };
    },
  };
}
