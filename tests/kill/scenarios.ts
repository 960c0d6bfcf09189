/** All scenarios, a row each. */
import * as start from "./prepare.ts";
import { NEW_PASSPHRASE, steps } from "./prepare.ts";
import type { Scenario } from "./scenario.ts";

const NAMED = { AMESH_PASSPHRASE_FILE: "secrets/passphrase" };
const NEW = ["--new-passphrase-file", "secrets/new"];
const MIGRATED =
  /^amesh: warning: the passphrase in identity\.json (was migrated|could not be migrated)\b.*\n/gm;
/** Among them the codes of what remains to be repaired. */
const DOCTOR_CODES = [0, 1, 3, 5, 8, 9];

const init = (...args: string[]) => ["init", "--name", "after", ...args];

const identities: readonly Scenario[] = [
  { name: "init", command: init(), prepare: start.nothing, effect: "makes" },
  {
    name: "init, passphrase file named",
    command: init(),
    prepare: start.secrets,
    effect: "makes",
    env: NAMED,
  },
  {
    name: "init --force",
    command: init("--force"),
    prepare: start.encrypted,
    effect: "replaces",
  },
  {
    name: "init --force, amesh 0.7",
    command: init("--force"),
    prepare: start.legacy,
    effect: "replaces",
    signSays: MIGRATED,
  },
  {
    name: "rotate",
    command: ["rotate"],
    prepare: start.encrypted,
    effect: "replaces",
    leavesStatement: true,
  },
  {
    name: "rotate, passphrase file named",
    command: ["rotate"],
    prepare: steps(start.encrypted, start.passphraseMoved),
    effect: "replaces",
    env: NAMED,
    leavesStatement: true,
  },
  {
    name: "rotate, amesh 0.7",
    command: ["rotate"],
    prepare: start.legacy,
    effect: "replaces",
    signSays: MIGRATED,
    leavesStatement: true,
  },
  {
    name: "delete",
    command: ["delete", "--yes"],
    prepare: start.encrypted,
    effect: "deletes",
    next: init(),
  },
  {
    name: "delete, amesh 0.7",
    command: ["delete", "--yes"],
    prepare: start.legacy,
    effect: "deletes",
    signSays: MIGRATED,
    next: init(),
  },
  {
    name: "delete, another key remains",
    command: ["delete", "--yes"],
    prepare: steps(start.encrypted, start.orphan),
    effect: "deletes",
    leavesPassphrase: true,
    next: init(),
  },
  {
    name: "delete, passphrase file named",
    command: ["delete", "--yes"],
    prepare: steps(start.encrypted, start.passphraseMoved),
    effect: "deletes",
    env: NAMED,
    next: init(),
  },
];

const keeps = { effect: "keeps" } as const;
const change = (...args: string[]) => ["passphrase", "change", ...args];
const move = (...args: string[]) => ["passphrase", "move", "secrets/passphrase", ...args];

const passphrases: readonly Scenario[] = [
  {
    ...keeps,
    name: "passphrase change",
    command: change(...NEW),
    prepare: steps(start.encrypted, start.newPassphrase),
    passphraseAfter: NEW_PASSPHRASE,
  },
  {
    ...keeps,
    name: "passphrase change --generate",
    command: change("--generate"),
    prepare: start.encrypted,
  },
  {
    ...keeps,
    name: "passphrase change --keep",
    command: change("--keep", "--argon2-passes", "3"),
    prepare: start.encrypted,
  },
  {
    ...keeps,
    name: "passphrase change, passphrase file named",
    command: change(...NEW),
    prepare: steps(start.encrypted, start.passphraseMoved, start.newPassphrase),
    env: NAMED,
    passphraseAfter: NEW_PASSPHRASE,
  },
  {
    ...keeps,
    name: "passphrase change --generate, passphrase file named",
    command: change("--generate"),
    prepare: steps(start.encrypted, start.passphraseMoved),
    env: NAMED,
  },
  {
    ...keeps,
    name: "passphrase change, amesh 0.7",
    command: change(...NEW),
    prepare: steps(start.legacy, start.newPassphrase),
    signSays: MIGRATED,
    passphraseAfter: NEW_PASSPHRASE,
  },
  {
    ...keeps,
    name: "passphrase move",
    command: move(),
    prepare: steps(start.encrypted, start.secrets),
    envAfter: NAMED,
  },
  {
    ...keeps,
    name: "passphrase move --remove-old",
    command: move("--remove-old"),
    prepare: steps(start.encrypted, start.secrets),
    otherEnv: NAMED,
    envAfter: NAMED,
  },
  {
    ...keeps,
    name: "passphrase move --remove-old, amesh 0.7",
    command: move("--remove-old"),
    prepare: steps(start.legacy, start.secrets),
    signSays: MIGRATED,
    otherEnv: NAMED,
    envAfter: NAMED,
  },
  {
    ...keeps,
    name: "sign, amesh 0.7",
    command: ["sign", "doc"],
    prepare: start.legacy,
    signSays: MIGRATED,
  },
  {
    ...keeps,
    name: "sign, amesh 0.7, passphrase file named",
    command: ["sign", "doc"],
    prepare: steps(start.legacy, start.legacyPassphraseFile),
    env: NAMED,
    signSays: MIGRATED,
  },
];

const repair = {
  command: ["doctor", "--fix"],
  effect: "keeps",
  exitCodes: DOCTOR_CODES,
  isRepair: true,
} as const;

const repairs: readonly Scenario[] = [
  {
    ...repair,
    name: "doctor --fix, modes",
    prepare: steps(start.encrypted, start.wideModes),
    isBroken: true,
  },
  {
    ...repair,
    name: "doctor --fix, temporary files",
    prepare: steps(start.encrypted, start.temporaryFiles),
  },
  { ...repair, name: "doctor --fix, orphaned key", prepare: steps(start.encrypted, start.orphan) },
  {
    ...repair,
    name: "doctor --fix --delete-orphans",
    command: ["doctor", "--fix", "--delete-orphans"],
    prepare: steps(start.encrypted, start.orphan),
  },
  {
    ...repair,
    name: "doctor --fix, passphrase changed, key under the new one",
    prepare: steps(start.encrypted, start.passphraseHalfChanged(true)),
  },
  {
    ...repair,
    name: "doctor --fix, passphrase changed, key under the old one",
    prepare: steps(start.encrypted, start.passphraseHalfChanged(false)),
  },
  {
    ...repair,
    name: "doctor --fix, named passphrase changed, key under the new one",
    prepare: steps(start.encrypted, start.namedPassphraseHalfChanged(true)),
    env: NAMED,
  },
  {
    ...repair,
    name: "doctor --fix, named passphrase changed, key under the old one",
    prepare: steps(start.encrypted, start.namedPassphraseHalfChanged(false)),
    env: NAMED,
  },
  {
    ...repair,
    name: "doctor --fix, identity not yet replaced",
    prepare: steps(start.encrypted, start.notReplaced),
  },
  {
    ...repair,
    name: "doctor --fix, identity replaced",
    prepare: steps(start.encrypted, start.justReplaced),
  },
  {
    ...repair,
    name: "doctor --fix, identity deleted",
    prepare: steps(start.encrypted, start.justDeleted),
    effect: "none",
  },
  {
    ...repair,
    name: "doctor --fix, amesh 0.7",
    prepare: start.legacy,
    signSays: MIGRATED,
  },
];

const chip = { usesTpm: true } as const;

const tpms: readonly Scenario[] = [
  { ...chip, name: "init, tpm2", command: init(), prepare: start.nothing, effect: "makes" },
  {
    ...chip,
    name: "init --force, tpm2 after tpm2",
    command: init("--force"),
    prepare: start.tpm2,
    effect: "replaces",
  },
  {
    ...chip,
    name: "init --force, tpm2 after encrypted-file",
    command: init("--force", "--backend", "tpm2"),
    prepare: start.encrypted,
    effect: "replaces",
  },
  {
    ...chip,
    name: "init --force, encrypted-file after tpm2",
    command: init("--force", "--backend", "encrypted-file"),
    prepare: start.tpm2,
    effect: "replaces",
  },
  {
    ...chip,
    name: "init --force, tpm2 after a key of amesh 0.7",
    command: init("--force"),
    prepare: start.tpm2Handle,
    effect: "replaces",
  },
  {
    ...chip,
    name: "rotate, tpm2",
    command: ["rotate"],
    prepare: start.tpm2,
    effect: "replaces",
    leavesStatement: true,
  },
  {
    ...chip,
    name: "rotate, encrypted-file to tpm2",
    command: ["rotate", "--backend", "tpm2"],
    prepare: start.encrypted,
    effect: "replaces",
    leavesStatement: true,
  },
  {
    ...chip,
    name: "rotate, tpm2 to encrypted-file",
    command: ["rotate", "--backend", "encrypted-file"],
    prepare: start.tpm2,
    effect: "replaces",
    leavesStatement: true,
  },
  {
    ...chip,
    name: "rotate, a key of amesh 0.7 in the TPM",
    command: ["rotate"],
    prepare: start.tpm2Handle,
    effect: "replaces",
    leavesStatement: true,
  },
  {
    ...chip,
    name: "delete, tpm2",
    command: ["delete", "--yes"],
    prepare: start.tpm2,
    effect: "deletes",
    next: init(),
  },
  {
    ...chip,
    name: "delete, a key of amesh 0.7 in the TPM",
    command: ["delete", "--yes"],
    prepare: start.tpm2Handle,
    effect: "deletes",
    next: init(),
  },
];

/** In the order in which they are reported. */
export const SCENARIOS: readonly Scenario[] = [...identities, ...passphrases, ...repairs, ...tpms];
