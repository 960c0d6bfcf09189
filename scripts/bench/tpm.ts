/** Signing with a TPM beside tpm2-tools and OpenSSL's tpm2 provider, all on one software TPM. */
import { join } from "node:path";
import { startSwtpm, type Swtpm, swtpmMissing } from "../../tests/support/swtpm.ts";
import { type Command, measure } from "./process.ts";
import type { Form, Programs } from "./programs.ts";
import type { Entry, Group } from "./table.ts";

/** A command with the environment of all. @param identity name of the directory of its identity. */
export type MakeCommand = (argv: readonly string[], identity?: string) => Command;

const SRK = "restricted|decrypt|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda";
const KEY = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|sign";
const KEY_HANDLE = "0x81000010";

/** What amesh does for one signature, step by step: without a resource manager each tool leaves its object loaded. */
const TOOLS = `set -e
tpm2_createprimary -Q -C o -G ecc256:aes128cfb -a '${SRK}' -c srk.ctx
tpm2_flushcontext -t
tpm2_startauthsession -S session.ctx --hmac-session --tpmkey-context srk.ctx
tpm2_flushcontext -t
tpm2_load -Q -C srk.ctx -P session:session.ctx -u key.pub -r key.priv -c key.ctx
tpm2_flushcontext -t
tpm2_sign -Q -c key.ctx -p session:session.ctx -g sha256 -o sig "$1"
tpm2_flushcontext -t
tpm2_flushcontext session.ctx
`;

/** A software TPM with keys in it, and what is measured on it. */
export interface TpmBench extends Disposable {
  readonly groups: readonly Group[];
}

/**
 * @param work a directory of ours.
 * @param file what is signed.
 * @returns `null` where there is no software TPM, which `note` is told.
 */
export function planTpm(
  programs: readonly Programs[],
  work: string,
  file: string,
  rounds: number,
  make: MakeCommand,
  note: (text: string) => void,
): TpmBench | null {
  const missing = swtpmMissing();
  const [first] = programs;
  if (missing !== undefined || first === undefined) {
    note(`sign with a TPM is left out: ${missing}`);
    return null;
  }
  const swtpm = startSwtpm();
  try {
    const command: MakeCommand = (argv, identity) => {
      const made = make(argv, identity);
      const variables = ["AMESH_TPM_TCTI", "TPM2TOOLS_TCTI", "TPM2OPENSSL_TCTI"];
      return {
        ...made,
        env: { ...made.env, ...Object.fromEntries(variables.map((name) => [name, swtpm.tcti])) },
      };
    };
    const init = (identity: string) => {
      const argv = [...first.amesh, "init", "--name=bench", "--backend=tpm2"];
      measure(command(argv, identity), join(work, "errors"));
    };
    init("tpm-anew");
    prepareTools(swtpm);
    init("tpm-kept");
    const tools = ["/bin/sh", "-c", `cd ${swtpm.place.directory}\n${TOOLS}`, "sh", file];
    const bare = [
      "/usr/bin/tpm2_sign",
      "-Q",
      "-c",
      KEY_HANDLE,
      "-g",
      "sha256",
      "-o",
      join(work, "sig"),
      file,
    ];
    const group = (
      how: "anew" | "kept",
      peer: string,
      argv: string[],
      goal: (form: Form) => number | null,
    ) => ({
      title: `\`sign\`, tpm2, SRK ${how === "anew" ? "made anew" : "kept"}`,
      rounds,
      entries: [
        { name: peer, command: command(argv) },
        {
          name: "openssl pkeyutl, tpm2 provider",
          command: openssl(command, work, how, file),
          peer: { name: peer, goal: null },
        },
        ...programs.map(({ title, form, amesh }): Entry => ({
          name: `amesh sign, ${title}`,
          command: command([...amesh, "sign", file], `tpm-${how}`),
          peer: { name: peer, goal: goal(form) },
        })),
      ],
    });
    return {
      groups: [
        group("anew", "tpm2-tools, salted session", tools, (form) => form === "bun" ? 0.7 : null),
        group("kept", "tpm2_sign, kept key, no session", bare, (form) => form === "bun" ? 1.8 : null),
      ],
      [Symbol.dispose]: () => swtpm[Symbol.dispose](),
    };
  } catch (error) {
    swtpm[Symbol.dispose]();
    throw error;
  }
}

/** A wrapped key and a kept one for tpm2-tools, and a kept SRK. */
function prepareTools(swtpm: Swtpm): void {
  const run = (name: string, ...args: string[]) => {
    swtpm.tools(name, "-Q", ...args);
    swtpm.tools("flushcontext", "-t");
  };
  run("createprimary", "-C", "o", "-G", "ecc256:aes128cfb", "-a", SRK, "-c", "srk.ctx");
  run("create", "-C", "srk.ctx", "-G", "ecc256", "-a", KEY, "-u", "key.pub", "-r", "key.priv");
  run("load", "-C", "srk.ctx", "-u", "key.pub", "-r", "key.priv", "-c", "key.ctx");
  run("evictcontrol", "-C", "o", "-c", "key.ctx", KEY_HANDLE);
  run("evictcontrol", "-C", "o", "-c", "srk.ctx", "0x81000001");
}

/** OpenSSL with amesh's own key file. */
function openssl(command: MakeCommand, work: string, how: string, file: string): Command {
  const keys = join(work, `tpm-${how}`, "keys");
  const [name = ""] = [...Deno.readDirSync(keys)].map((entry) => entry.name);
  const provider = ["-provider", "tpm2", "-provider", "default"];
  const key = ["-inkey", join(keys, name)];
  return command([
    "/usr/bin/openssl",
    "pkeyutl",
    ...provider,
    "-sign",
    "-rawin",
    "-digest",
    "sha256",
    ...key,
    "-in",
    file,
  ]);
}
