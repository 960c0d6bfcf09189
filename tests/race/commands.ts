/** The commands that run at the same time: how often, with which arguments, and how each of them may end. */

/** A signature that a process has made. */
export interface MadeSignature {
  readonly text: string;
  /** Device id of its maker. */
  readonly deviceId: string;
  /** A file with the public key of its maker. */
  readonly keyFile: string;
}

/** What a command may take from what others have left. */
export interface Material {
  /** The file that is signed. */
  readonly document: string;
  /** One that was made; `null` before there is one. */
  readonly signature: MadeSignature | null;
  /** A file with a passphrase of a person. */
  readonly passphraseFile: string;
}

/** A kind of command. */
export interface Kind {
  /** As the report shows it. */
  readonly name: string;
  /** How often, beside the others. */
  readonly weight: number;
  /** `identity`: puts another identity in force when it ends with 0; `key`: writes its key anew. */
  readonly changes?: "identity" | "key";
  /** How it may end once there is an identity. */
  readonly codes: readonly number[];
  /** How else it may end while the first one is only being made. */
  readonly early: readonly number[];
  /** Whether it says nothing on stderr when all is well. */
  readonly isSilent: boolean;
  /** `null` when what it needs is not there yet. */
  readonly args: (material: Material) => readonly string[] | null;
}

const DONE = 0;
/** Exit code: there is no identity. */
export const NO_IDENTITY = 3;
const EXISTS = 6;
/** Exit code: the signature is not valid for this key. */
export const INVALID = 7;
/** Exit code: another amesh is changing the directory. */
export const BUSY = 10;

const reading = { codes: [DONE], early: [NO_IDENTITY], isSilent: true } as const;
const changing = { codes: [DONE, BUSY], early: [NO_IDENTITY], isSilent: false } as const;
const creating = { ...changing, changes: "identity" } as const;
const init = ["init", "--name", "racer", "--backend", "encrypted-file", "--json"];
const change = ["passphrase", "change", "--json"];
/** The least that is accepted: `rotate` and `init --force` bring the cost back to the default. */
const floor = ["--argon2-memory", "19456", "--argon2-passes", "2"];

/** All of them. */
export const KINDS: readonly Kind[] = [
  // Nobody gets a second identity by accident.
  { name: "init", weight: 1, ...creating, codes: [EXISTS], early: [DONE, BUSY], args: () => init },
  {
    name: "init --if-missing",
    weight: 1,
    ...creating,
    codes: [DONE],
    early: [BUSY],
    args: () => [...init, "--if-missing"],
  },
  { name: "init --force", weight: 2, ...creating, args: () => [...init, "--force"] },
  { name: "rotate", weight: 4, ...creating, args: () => ["rotate", "--json"] },
  {
    name: "passphrase change --generate",
    weight: 4,
    ...changing,
    changes: "key",
    args: () => [...change, "--generate", ...floor],
  },
  {
    name: "passphrase change --new-passphrase-file",
    weight: 4,
    ...changing,
    changes: "key",
    args: ({ passphraseFile }) => [...change, "--new-passphrase-file", passphraseFile, ...floor],
  },
  {
    name: "passphrase change --keep",
    weight: 2,
    ...changing,
    changes: "key",
    args: () => [...change, "--keep", ...floor],
  },
  { name: "sign", weight: 3, ...reading, args: ({ document }) => ["sign", "--json", document] },
  {
    name: "verify --key",
    weight: 3,
    ...reading,
    args: ({ document, signature }) =>
      signature && ["verify", "--signature", signature.text, "--key", signature.keyFile, document],
  },
  {
    name: "verify",
    weight: 3,
    ...reading,
    codes: [DONE, INVALID],
    args: ({ document, signature }) => signature && ["verify", "--signature", signature.text, document],
  },
  { name: "status", weight: 3, ...reading, args: () => ["status", "--json"] },
  { name: "public-key", weight: 2, ...reading, args: () => ["public-key", "--json", "--format", "base64"] },
  { name: "passphrase status", weight: 2, ...reading, args: () => ["passphrase", "status", "--json"] },
  { name: "doctor", weight: 1, ...reading, args: () => ["doctor", "--json"] },
];

/** Those that make an identity where there is none. */
export const CREATING: readonly Kind[] = KINDS.filter(({ name }) => name.startsWith("init"));

/** One of them, by its weight. @param chance from 0 up to but not including 1. */
export function chooseKind(chance: number, kinds: readonly Kind[] = KINDS): Kind {
  let rest = chance * kinds.reduce((sum, { weight }) => sum + weight, 0);
  return kinds.find(({ weight }) => (rest -= weight) < 0) as Kind;
}
