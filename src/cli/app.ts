/** The commands, their options and help texts. */
import {
  type ApplicationText,
  ArgumentParseError,
  buildApplication,
  buildRouteMap,
  EnumValidationError,
  text_en,
} from "@stricli/core";
import { SIGNATURE_ENCODINGS, SIGNATURE_FORMATS } from "../formats/ecdsa_signature.ts";
import { TIER_NAMES } from "../formats/identity_file.ts";
import { PUBLIC_KEY_FORMATS } from "../formats/public_key.ts";
import { agent } from "./agent_commands.ts";
import { certificate, csr } from "./certificate_commands.ts";
import {
  ChoiceError,
  command,
  flag,
  inputFile,
  json,
  kebab,
  NumberError,
  optional,
  passphraseFd,
  publicKeyFormat,
  text,
} from "./command.ts";
import { completion } from "./completion_command.ts";
import type { DeleteFlags } from "./commands/delete.ts";
import type { DoctorFlags } from "./commands/doctor.ts";
import type { InitFlags } from "./commands/init.ts";
import type { PublicKeyFlags } from "./commands/public_key.ts";
import type { RotateFlags } from "./commands/rotate.ts";
import { passphrase } from "./passphrase_commands.ts";
import { SIGN_DEFAULTS, type SignFlags } from "./sign_flags.ts";
import { jws, jwt } from "./token_commands.ts";
import type { StatusFlags } from "./commands/status.ts";
import type { VerifyFlags } from "./commands/verify.ts";
import type { VerifyRotationFlags } from "./commands/verify_rotation.ts";

const init = command<InitFlags, []>({
  brief: "Give this machine an identity",
  description:
    "Makes a P-256 key pair in the best key storage of this machine and writes ~/.amesh. The storage is\n" +
    "detected: secure-enclave, keychain, tpm2, encrypted-file; the first available one wins.",
  examples: [
    'amesh init --name "my-server"',
    'amesh init --name "my-server" --backend encrypted-file',
    "amesh init --name web-1 --if-missing --json",
  ],
  parameters: {
    flags: {
      name: { kind: "parsed", brief: "Friendly name, 1 to 64 characters", parse: text, placeholder: "NAME" },
      backend: {
        kind: "enum",
        brief: "Key storage; auto takes the first available one",
        values: ["auto", ...TIER_NAMES],
        default: "auto",
      },
      force: flag(
        "Replace the existing identity and its key; hardware by software only with --backend",
      ),
      ifMissing: flag("Succeed without a change when there is an identity"),
      passphraseFd,
      json,
    },
  },
  load: async () => (await import("./commands/init.ts")).init,
});

const status = command<StatusFlags, []>({
  brief: "Show this machine's identity",
  description:
    "Shows the identity, its key storage and what that protects. Needs no passphrase, changes nothing.",
  examples: ["amesh status", "amesh status --json"],
  parameters: { flags: { json } },
  load: async () => (await import("./commands/status.ts")).status,
});

const doctor = command<DoctorFlags, []>({
  brief: "Explain what works here, what does not and why",
  description:
    "Shows every key storage with the reason and the remedy where it is not available, the passphrase\n" +
    "source in force, files that are unsafe or left over, and what killed commands left half done.\n" +
    "--fix says what it will do and does it; a key that nothing refers to is moved to orphans/.",
  examples: [
    "amesh doctor",
    "amesh doctor --fix",
    "amesh doctor --fix --delete-orphans",
    "amesh doctor --ssh",
  ],
  parameters: {
    flags: {
      fix: flag("Repair modes, and finish or undo what killed commands left behind"),
      deleteOrphans: flag("With --fix: destroy the keys in orphans/, for ever"),
      ssh: flag("Try the way from ssh and git to the key: the agent signs once"),
      json,
    },
  },
  load: async () => (await import("./commands/doctor.ts")).doctor,
});

const sign = command<SignFlags, [file?: string]>({
  brief: "Sign a file with this machine's key",
  description:
    "ECDSA P-256 with SHA-256 over the whole input, read in constant memory. The raw form is r || s, 64\n" +
    "bytes, low-S (JOSE ES256); der is what OpenSSL reads and writes.",
  examples: [
    "amesh sign release.tar.gz",
    "amesh sign --format der --encoding binary --out release.sig release.tar.gz",
    "git archive HEAD | amesh sign --encoding base64url",
  ],
  parameters: {
    flags: {
      format: {
        kind: "enum",
        brief: "Shape of the signature",
        values: SIGNATURE_FORMATS,
        default: SIGN_DEFAULTS.format,
      },
      encoding: {
        kind: "enum",
        brief: "Text of the signature",
        values: SIGNATURE_ENCODINGS,
        default: SIGN_DEFAULTS.encoding,
      },
      out: optional("Write the signature to this file instead of standard output", "FILE"),
      noAgent: flag("Open the key here, also where an agent holds it"),
      allowProtocolMessage: flag(
        "Sign what is a message of ssh or git, a certificate request, a token or amesh's own",
      ),
      passphraseFd,
      json,
    },
    positional: inputFile,
  },
  load: async () => (await import("./commands/sign.ts")).sign,
});

const verify = command<VerifyFlags, [file?: string]>({
  brief: "Verify a signature",
  description:
    "Finds out the form of the signature (raw or strict DER; base64, base64url, hex or binary) and of the key\n" +
    "(PEM, JWK, ssh line, base64 or hex point, DER) by itself. Prints `valid` and ends with 0, or ends with 7.",
  examples: [
    "amesh verify --signature @release.sig release.tar.gz",
    'amesh verify --signature "$SIG" --key their-key.pem release.tar.gz',
  ],
  parameters: {
    flags: {
      signature: {
        kind: "parsed",
        brief: "The signature, or @FILE that holds it",
        parse: text,
        placeholder: "SIG|@FILE",
      },
      key: optional("File with the signer's public key; without it, this machine's own", "FILE"),
      json,
    },
    positional: inputFile,
  },
  load: async () => (await import("./commands/verify.ts")).verify,
});

const publicKey = command<PublicKeyFlags, []>({
  brief: "Print this machine's public key",
  description:
    "Needs no passphrase and no hardware. base64 and hex are the compressed point, 33 bytes; jwks is what a\n" +
    "verifier of tokens is configured with.",
  examples: [
    "amesh public-key > my-server.pem",
    "amesh public-key --format ssh >> authorized_keys",
    "amesh public-key --format jwks > jwks.json",
  ],
  parameters: {
    flags: {
      format: { kind: "enum", brief: "Form of the key", values: PUBLIC_KEY_FORMATS, default: "pem" },
      json,
    },
  },
  load: async () => (await import("./commands/public_key.ts")).publicKey,
});

const rotate = command<RotateFlags, []>({
  brief: "Replace this machine's key by a new one",
  description:
    "Makes a new key, lets the old and the new one sign a continuity statement (kept in history/), puts the\n" +
    "new key in force and destroys the old one. Give the statement to whoever knows the old key.",
  examples: [
    "amesh rotate",
    "amesh rotate --backend tpm2",
    "amesh rotate --json | jq .continuity > rotation.json",
  ],
  parameters: {
    flags: {
      backend: {
        kind: "enum",
        brief: "Key storage of the new key; without it, that of the old one",
        values: TIER_NAMES,
        optional: true,
      },
      passphraseFd,
      json,
    },
  },
  load: async () => (await import("./commands/rotate.ts")).rotate,
});

const verifyRotation = command<VerifyRotationFlags, string[]>({
  brief: "Verify that a new key follows an old one",
  description:
    "Checks continuity statements offline: one, or all of a chain in any order, beginning with the key that is\n" +
    "trusted. Ends with 0, or with 7 when a signature or a link of the chain is missing.",
  examples: [
    "amesh verify-rotation rotation.json --key old.pem",
    "amesh verify-rotation history/*.json --key oldest.pem --format pem > newest.pem",
  ],
  parameters: {
    flags: {
      key: { kind: "parsed", brief: "File with the old public key", parse: text, placeholder: "OLD" },
      format: publicKeyFormat("Print only the newest public key, in this form"),
      json,
    },
    positional: {
      kind: "array",
      minimum: 1,
      parameter: { brief: "Continuity statement", parse: text, placeholder: "FILE" },
    },
  },
  load: async () => (await import("./commands/verify_rotation.ts")).verifyRotation,
});

const deleteCommand = command<DeleteFlags, []>({
  brief: "Destroy this machine's key and identity",
  description:
    "Destroys the private key, whatever its storage, the identity, its certificate and the passphrase file in the\n" +
    "amesh directory. This cannot be undone: what the key has signed stays valid, and nothing new can be signed\n" +
    "with it.",
  examples: ["amesh delete", "amesh delete --yes"],
  parameters: { flags: { yes: flag("Do not ask"), json } },
  load: async () => (await import("./commands/delete.ts")).deleteKey,
});

const TEXT: ApplicationText = {
  ...text_en,
  noCommandRegisteredForInput: ({ input, corrections }) =>
    `unknown command ${JSON.stringify(input)}${
      corrections.length > 0 ? `; did you mean ${corrections.join(" or ")}?` : ""
    }`,
  // The library's own wording depends on class names, which minification takes away.
  exceptionWhileParsingArguments: (error) => {
    if (error instanceof EnumValidationError) {
      const { externalFlagName, input, values } = error;
      return `cannot use ${JSON.stringify(input)} for --${externalFlagName}: it must be one of ${
        values.join(", ")
      }`;
    }
    if (error instanceof ArgumentParseError && error.exception instanceof NumberError) {
      return `cannot use ${JSON.stringify(error.input)} for --${
        kebab(error.externalFlagNameOrPlaceholder)
      }: ${error.exception.message}`;
    }
    if (error instanceof ArgumentParseError && error.exception instanceof ChoiceError) {
      return `cannot use ${JSON.stringify(error.input)}: ${error.exception.message}`;
    }
    const message = error instanceof Error ? error.message : String(error);
    return message.charAt(0).toLowerCase() + message.slice(1);
  },
};

/** The command line of amesh. */
export const application = buildApplication(
  buildRouteMap({
    routes: {
      init,
      status,
      doctor,
      sign,
      verify,
      jwt,
      jws,
      publicKey,
      rotate,
      verifyRotation,
      csr,
      certificate,
      passphrase,
      agent,
      delete: deleteCommand,
      completion,
    },
    docs: {
      brief: "An identity for a machine: a P-256 key in the best storage that the machine has.",
      fullDescription:
        "An identity for a machine: a P-256 key in the best storage that the machine has.\n\n" +
        "  amesh init --name NAME   makes it\n  amesh COMMAND --help     explains a command\n  amesh --version          prints the version",
    },
  }),
  {
    name: "amesh",
    scanner: { caseStyle: "allow-kebab-for-camel", allowArgumentEscapeSequence: true },
    documentation: { caseStyle: "convert-camel-to-kebab", disableAnsiColor: true },
    localization: { text: TEXT },
  },
);
