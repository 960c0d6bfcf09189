/** `amesh passphrase change`: puts the key under another passphrase or another cost. */
import type { Bytes } from "../../bytes.ts";
import { AmeshError } from "../../errors.ts";
import type { Argon2Params } from "../../formats/key_file.ts";
import { type Change, changePassphrase, type NextPassphrase } from "../../identity/passphrase_change.ts";
import { readDescriptorPassphrase, readOperatorPassphrase } from "../../passphrase/files.ts";
import { describeSource } from "../../passphrase/sources.ts";
import { isStandardInput } from "../../platform/input.ts";
import { forbidInspection } from "../../platform/libc.ts";
import { ameshLayout } from "../../platform/paths.ts";
import { print, printable, printJson, tell, warn } from "../output.ts";
import { askNewPassphrase, askPassphrase } from "../terminal.ts";
import { formatTable } from "./status.ts";

/** Options of `passphrase change`. */
export type PassphraseChangeFlags = {
  readonly generate: boolean;
  readonly newPassphraseFile?: string;
  readonly newPassphraseFd?: number;
  readonly keep: boolean;
  readonly argon2Memory?: number;
  readonly argon2Passes?: number;
  readonly argon2Lanes?: number;
  readonly passphraseFd?: number;
  readonly json: boolean;
};

/** @throws {AmeshError} as `changePassphrase`; `ERR_USAGE`. */
export async function passphraseChange(flags: PassphraseChangeFlags): Promise<void> {
  const next = nextPassphrase(flags);
  forbidInspection();
  const change = await changePassphrase({
    layout: await ameshLayout(),
    next,
    cost: costOf(flags),
    input: { descriptor: flags.passphraseFd, ask: askPassphrase },
    warn,
  });
  const { protection: { version, cost }, storedIn, openedBy } = change;
  if (flags.json) {
    await printJson({
      changed: true,
      storedIn,
      keyFile: { version, argon2: { passes: cost.t, memoryKiB: cost.m, lanes: cost.p } },
    });
    return;
  }
  await print(formatTable([
    [
      "Passphrase",
      next.kind === "keep" ? `as before, from ${describeSource(openedBy)}` : describeNew(change),
    ],
    ["Argon2id", `${cost.t} passes, ${cost.m} KiB, ${cost.p === 1 ? "1 lane" : `${cost.p} lanes`}`],
    ["Key file", `version ${version}`],
  ]));
  if (next.kind !== "keep" && storedIn === null) {
    tell(printable(`The key does not open with the old passphrase any more: ${remedyOf(change)}`));
  }
}

function describeNew({ storedIn }: Change): string {
  return storedIn === null ? "new, kept by you" : `new, in file ${storedIn}`;
}

function remedyOf({ openedBy }: Change): string {
  return openedBy.kind === "terminal" || openedBy.kind === "descriptor"
    ? "give the new one from now on"
    : `put the new one where the old one came from, ${describeSource(openedBy)}`;
}

/** @throws {AmeshError} `ERR_USAGE`: more than one, or one descriptor for both. */
function nextPassphrase(flags: PassphraseChangeFlags): NextPassphrase {
  const { generate, newPassphraseFile: file, newPassphraseFd: fd, keep, passphraseFd } = flags;
  if ([generate, file !== undefined, fd !== undefined, keep].filter(Boolean).length > 1) {
    throw new AmeshError("ERR_USAGE", "the new passphrase can come from one place only", {
      hint: "use one of --generate, --new-passphrase-file, --new-passphrase-fd and --keep",
    });
  }
  const isTwice = fd !== undefined && fd === passphraseFd ||
    file !== undefined && passphraseFd === 0 && isStandardInput(file);
  if (isTwice) {
    throw new AmeshError("ERR_USAGE", "a descriptor can be read once only", {
      hint: "give the passphrase in force and the new one by two descriptors",
    });
  }
  if (generate || keep) return { kind: generate ? "generate" : "keep" };
  return { kind: "given", read: () => readNew(file, fd) };
}

async function readNew(file: string | undefined, fd: number | undefined): Promise<Bytes> {
  if (file !== undefined) return readOperatorPassphrase(file, `file ${file}`).bytes;
  if (fd === undefined) return await askNewPassphrase();
  return readDescriptorPassphrase(fd, `descriptor ${fd} (--new-passphrase-fd)`);
}

function costOf(
  { argon2Memory: m, argon2Passes: t, argon2Lanes: p }: PassphraseChangeFlags,
): Partial<Argon2Params> {
  return {
    ...m === undefined ? {} : { m },
    ...t === undefined ? {} : { t },
    ...p === undefined ? {} : { p },
  };
}
