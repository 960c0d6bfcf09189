/** The commands that make tokens, their options and help texts. */
import { JWS_TYPE } from "../formats/jws.ts";
import {
  command,
  flag,
  inputFile,
  json,
  optionalDuration,
  passphraseFd,
  repeated,
  several,
  text,
} from "./command.ts";
import type { JwsFlags } from "./commands/jws.ts";
import type { JwtFlags } from "./commands/jwt.ts";

const headerX5c = flag("Put the certificates of the key into the header");
const noAgent = flag("Open the key here, also where an agent holds it");

/** `jwt` */
export const jwt = command<JwtFlags, []>({
  brief: "Make a token that shows who this machine is",
  description:
    "A JSON Web Token with ES256. It is this machine's (iss and sub are the device id), for one audience, and\n" +
    "short-lived, because nobody can take it back. Verifiers find the key by kid in what\n" +
    "`amesh public-key --format jwks` prints. Claims are no place for secrets: a token can be read.",
  examples: [
    "amesh jwt --audience https://api.example.com",
    "amesh jwt --audience build --claim role=runner --claim-json 'slots=4' --expires 15m",
    'curl -H "Authorization: Bearer $(amesh jwt --audience https://api.example.com)" https://api.example.com',
  ],
  parameters: {
    flags: {
      audience: several("Whom the token is for", "NAME"),
      claim: repeated("A claim whose value is a text", "NAME=VALUE"),
      claimJson: repeated("A claim whose value is JSON: a number, a list …", "NAME=JSON"),
      expires: optionalDuration("For how long it is valid: 10s to 1h", "TIME", "5m"),
      longLived: flag("Let it be valid for up to 24h"),
      headerX5c,
      noAgent,
      passphraseFd,
      json,
    },
  },
  load: async () => (await import("./commands/jwt.ts")).jwt,
});

/** `jws` */
export const jws = command<JwsFlags, [file?: string]>({
  brief: "Sign a file as a JSON Web Signature",
  description:
    "Compact serialization with ES256 over any payload of up to 16 MiB; with --detached of any length, and the\n" +
    "payload is left out of the result. What a verifier could take for a token is not signed unasked.",
  examples: ["amesh jws manifest.json", "amesh jws --detached --typ example release.tar.gz > release.jws"],
  parameters: {
    flags: {
      detached: flag("Leave the payload out of the result"),
      typ: {
        kind: "parsed",
        brief: "Type in the header",
        parse: text,
        placeholder: "TYPE",
        default: JWS_TYPE,
      },
      headerX5c,
      noAgent,
      allowProtocolMessage: flag("Sign also what a verifier could take for a token"),
      passphraseFd,
      json,
    },
    positional: inputFile,
  },
  load: async () => (await import("./commands/jws.ts")).jws,
});
