/** The commands, their options and help texts. A command's own file is loaded when the command runs. */
import {
  type ApplicationText,
  buildApplication,
  buildCommand,
  buildRouteMap,
  type Command,
  type CommandContext as ParserContext,
  EnumValidationError,
  text_en,
  type TypedCommandParameters,
} from "@stricli/core";
import { SIGNATURE_ENCODINGS, SIGNATURE_FORMATS } from "../formats/ecdsa_signature.ts";
import { TIER_NAMES } from "../formats/identity_file.ts";
import { PUBLIC_KEY_FORMATS } from "../formats/public_key.ts";
import type { DoctorFlags } from "./commands/doctor.ts";
import type { InitFlags } from "./commands/init.ts";
import type { PublicKeyFlags } from "./commands/public_key.ts";
import type { SignFlags } from "./commands/sign.ts";
import type { StatusFlags } from "./commands/status.ts";
import type { VerifyFlags } from "./commands/verify.ts";

/** What the parser hands to a command, and what the command leaves for `run`. */
export interface CommandContext extends ParserContext {
  /** The parser writes help to stdout and complaints to stderr; `exitCode` is 0 unless it has complained. */
  readonly process: ParserContext["process"] & { exitCode?: number | string | null };
  /** What the command threw. */
  failure: { readonly error: unknown } | undefined;
}

/** A command's implementation. */
type Run<Flags, Args extends readonly unknown[]> = (flags: Flags, ...args: Args) => Promise<void>;

interface CommandDefinition<
  Flags extends Readonly<Record<string, unknown>>,
  Args extends readonly unknown[],
> {
  readonly brief: string;
  readonly description: string;
  readonly examples: readonly string[];
  readonly parameters: TypedCommandParameters<Flags, Args, CommandContext>;
  readonly load: () => Promise<Run<Flags, Args>>;
}

function command<Flags extends Readonly<Record<string, unknown>>, Args extends readonly unknown[]>(
  definition: CommandDefinition<Flags, Args>,
): Command<CommandContext> {
  const examples = definition.examples.map((line) => `  ${line}`).join("\n");
  return buildCommand<Flags, Args, CommandContext>({
    docs: {
      brief: definition.brief,
      fullDescription: `${definition.description}\n\nEXAMPLES\n${examples}`,
    },
    parameters: definition.parameters,
    loader: async () => {
      const implementation = await definition.load();
      return async function (this: CommandContext, flags: Flags, ...args: Args) {
        try {
          await implementation(flags, ...args);
        } catch (error) {
          this.failure = { error };
        }
      };
    },
  });
}

const text = (value: string): string => value;

const json = {
  kind: "boolean",
  brief: "Print the result as JSON",
  default: false,
  withNegated: false,
} as const;
const flag = (brief: string) => ({ kind: "boolean", brief, default: false, withNegated: false }) as const;
const inputFile = {
  kind: "tuple",
  parameters: [{
    brief: "Input; - or nothing is standard input",
    parse: text,
    placeholder: "FILE",
    optional: true,
  }],
} as const;

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
    "source in force, and files that are unsafe or left over.",
  examples: ["amesh doctor", "amesh doctor --fix"],
  parameters: { flags: { fix: flag("Repair modes and remove what killed commands left behind"), json } },
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
      format: { kind: "enum", brief: "Shape of the signature", values: SIGNATURE_FORMATS, default: "raw" },
      encoding: {
        kind: "enum",
        brief: "Text of the signature",
        values: SIGNATURE_ENCODINGS,
        default: "base64",
      },
      out: {
        kind: "parsed",
        brief: "Write the signature to this file instead of standard output",
        parse: text,
        placeholder: "FILE",
        optional: true,
      },
      noAgent: flag("Do not use a running agent; this version has none, so it changes nothing"),
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
      key: {
        kind: "parsed",
        brief: "File with the signer's public key; without it, this machine's own",
        parse: text,
        placeholder: "FILE",
        optional: true,
      },
      json,
    },
    positional: inputFile,
  },
  load: async () => (await import("./commands/verify.ts")).verify,
});

const publicKey = command<PublicKeyFlags, []>({
  brief: "Print this machine's public key",
  description: "Needs no passphrase and no hardware. base64 and hex are the compressed point, 33 bytes.",
  examples: ["amesh public-key > my-server.pem", "amesh public-key --format ssh >> authorized_keys"],
  parameters: {
    flags: {
      format: { kind: "enum", brief: "Form of the key", values: PUBLIC_KEY_FORMATS, default: "pem" },
      json,
    },
  },
  load: async () => (await import("./commands/public_key.ts")).publicKey,
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
    const message = error instanceof Error ? error.message : String(error);
    return message.charAt(0).toLowerCase() + message.slice(1);
  },
};

/** The command line of amesh. */
export const application = buildApplication(
  buildRouteMap({
    routes: { init, status, doctor, sign, verify, publicKey },
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
