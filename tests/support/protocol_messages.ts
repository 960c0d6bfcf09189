/** Messages of the protocols that a device key serves: as real programs made them, and made of any fields. */
import { type Bytes, concatBytes, encodeBase64Url, utf8 } from "../../src/bytes.ts";
import { sshString } from "../../src/formats/ssh_wire.ts";

const hex = (text: string) => Uint8Array.fromHex(text.replaceAll(/\s+/g, ""));

/** The key of an ecdsa-sha2-nistp256 user, in the messages below. */
export const SSH_KEY_BLOB = hex(`
  0000001365636473612d736861322d6e69737470323536000000086e69737470323536000000410416ef94926f54e85158513792a88f4679ec
  31ec1082cbc75ce984145620e4e16b9af7c97d5f98cba2a45b4cebae4aa496dd87e1e588458283c38cc2a5b0a2e313`);

/** What OpenSSH 9.2 had its agent sign to log in as root, with `-o PubkeyAuthentication=unbound`. */
export const USERAUTH = concatBytes(
  hex(`
  00000040d8c799c32e9e5bb4a8114d7576ae10510cbe119e8cfa446391e91b3851d3c3046fea9c1418b3c816fdbc1652ae528dcb2add5b7df3
  59fdda59022996ce2f96913200000004726f6f740000000e7373682d636f6e6e656374696f6e000000097075626c69636b6579010000001365
  636473612d736861322d6e6973747032353600000068`),
  SSH_KEY_BLOB,
);

/** The same bound to the host's key. */
export const USERAUTH_HOSTBOUND = concatBytes(
  hex(`
  0000004032852d8edb4ee336442038eb30a2e1cf26e4785801f82e9e4eb317501b1bc7737a90643f10a6d395b2634b19e54cf9418dd7c82dcd
  7a28d5a9bf411f1a79e3c33200000004726f6f740000000e7373682d636f6e6e656374696f6e000000237075626c69636b65792d686f737462
  6f756e642d763030406f70656e7373682e636f6d010000001365636473612d736861322d6e6973747032353600000068`),
  SSH_KEY_BLOB,
  hex(`
  000000330000000b7373682d6564323535313900000020259b5b58ad34c60a3b7175350f3133efc672a96b2b487ad31db0b15f315984c7`),
);

/** What `ssh-keygen -Y sign -n git` had it sign for the document `a document`. */
export const SSHSIG = hex(`
  535348534947000000036769740000000000000006736861353132000000401b496a352bda4808d14b0b2ddeedf56f2ab33777bcc16ff1e88e
  ead4c273df436184f721e1ffd6f2f894194a4da6ba1a254f30e5853123f3c260117e67211b2b`);

/** The Name of the next, and a SubjectPublicKeyInfo. */
export const NAME = hex(`
  303c310b30090603550406130243483110300e060355040a0c074578616d706c65311b301906035504030c126c6170746f702e6578616d706c
  652e6f7267`);
export const SPKI = hex(`
  3059301306072a8648ce3d020106082a8648ce3d030107034200047edaf1b765b83290fd945ca17737df2fa70dcdbf6df78677cd40b98fa354
  4ca06beeeef4d2db9c1e21364225f8e6ba5381d0dc8d7d0f33b8886073cbac28364e`);

/** What `openssl req -new` 3.0 signs for a name, with an extension. */
export const REQUEST_INFO = concatBytes(
  hex("3081ce020100"),
  NAME,
  SPKI,
  hex(`
  a030302e06092a864886f70d01090e3121301f301d0603551d110416301482126c6170746f702e6578616d706c652e6f7267`),
);
/** The same with `-subj /`. */
export const REQUEST_INFO_EMPTY = concatBytes(hex("30620201003000"), SPKI, hex("a000"));

/** RFC 7515 A.3.1: the signing input of an ES256 token. */
export const TOKEN_INPUT = utf8(
  "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
);
/** RFC 7797 §4.2: the same for a payload that is not encoded. */
export const TOKEN_INPUT_UNENCODED = utf8("eyJhbGciOiJIUzI1NiIsImI2NCI6ZmFsc2UsImNyaXQiOlsiYjY0Il19.$.02");

/** Fields of a login. */
export interface Login {
  readonly sessionId: Uint8Array;
  readonly user: Uint8Array | string;
  readonly service: string;
  readonly method: string;
  readonly algorithm: string;
  readonly publicKey: Uint8Array;
  readonly hostKey: Uint8Array | null;
}

/** RFC 4252 §7, with the host's key at the end where there is one. */
export function userauthData(
  { sessionId, user, service, method, algorithm, publicKey, hostKey }: Login,
): Bytes {
  return concatBytes(
    sshString(sessionId),
    Uint8Array.of(50),
    ...[user, service, method].map(sshString),
    Uint8Array.of(1),
    sshString(algorithm),
    sshString(publicKey),
    ...(hostKey === null ? [] : [sshString(hostKey)]),
  );
}

/** PROTOCOL.sshsig, "Signed Data". */
export function sshsigData(
  namespace: string,
  reserved: Uint8Array,
  algorithm: string,
  hash: Uint8Array,
): Bytes {
  return concatBytes(utf8("SSHSIG"), ...[namespace, reserved, algorithm, hash].map(sshString));
}

/** Tag, length in as few octets as can be and at least `octets` behind the first, and content. */
export function derValue(tag: number, content: Uint8Array, octets = 0): Bytes {
  let length = content.length;
  if (octets === 0 && length < 0x80) return concatBytes(Uint8Array.of(tag, length), content);
  const digits: number[] = [];
  for (; length > 0 || digits.length < Math.max(1, octets); length = Math.floor(length / 256)) {
    digits.unshift(length % 256);
  }
  return concatBytes(Uint8Array.of(tag, 0x80 | digits.length, ...digits), content);
}

/** The signing input of a token. */
export function tokenInput(header: Uint8Array | string, payload: Uint8Array | string): Bytes {
  const bytes = (value: Uint8Array | string) => typeof value === "string" ? utf8(value) : value;
  return concatBytes(utf8(`${encodeBase64Url(bytes(header))}.`), bytes(payload));
}
