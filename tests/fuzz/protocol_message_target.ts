/** Messages that the key must not sign unasked, and the parsers of what ssh signs. */
import assert from "node:assert/strict";
import { type Bytes, concatBytes, decodeBase64Url, utf8 } from "../../src/bytes.ts";
import { AmeshError } from "../../src/errors.ts";
import { findProtocol, PROTOCOL_START_BYTES } from "../../src/formats/protocol_message.ts";
import {
  parseSshsigData,
  parseUserauthRequest,
  type SshsigData,
  type UserauthRequest,
} from "../../src/formats/ssh_signed_data.ts";
import { SshReader } from "../../src/formats/ssh_wire.ts";
import {
  derValue,
  NAME,
  REQUEST_INFO,
  REQUEST_INFO_EMPTY,
  SPKI,
  SSH_KEY_BLOB,
  SSHSIG,
  sshsigData,
  TOKEN_INPUT,
  TOKEN_INPUT_UNENCODED,
  tokenInput,
  USERAUTH,
  USERAUTH_HOSTBOUND,
  userauthData,
} from "../support/protocol_messages.ts";
import { respell } from "./base64_mutators.ts";
import type { Mutator } from "./bytes_mutators.ts";
import { mutateDer } from "./der_mutators.ts";
import { jsonMutator } from "./json_mutators.ts";
import type { Random } from "./random.ts";
import { makeTarget, type Target } from "./target.ts";

interface Found {
  readonly protocol: string | null;
  readonly login: UserauthRequest | null;
  readonly signature: SshsigData | null;
}

const METHODS = ["publickey", "publickey-hostbound-v00@openssh.com", "hostbased", ""];

const HEADER = utf8('{"typ":"JWT","alg":"ES256"}');

/** A message of any fields, most of them valid. */
const fresh: Mutator = (random) => {
  const some = (...lengths: number[]) => random.bytes(random.pick(lengths));
  switch (random.below(4)) {
    case 0: {
      const method = random.oneIn(4) ? random.pick(METHODS) : METHODS[random.below(2)] as string;
      return userauthData({
        sessionId: some(0, 1, 20, 32, 64, 128, 129),
        user: random.oneIn(2) ? "git" : some(0, 1, 5, 3000),
        service: random.oneIn(8) ? "ssh-userauth" : "ssh-connection",
        method,
        algorithm: "ecdsa-sha2-nistp256",
        publicKey: random.oneIn(2) ? SSH_KEY_BLOB : some(0, 1, 200),
        hostKey: method.includes("hostbound") !== random.oneIn(8) ? some(0, 51) : null,
      });
    }
    case 1:
      return sshsigData(
        random.pick(["git", "file", "", "x@example.org"]),
        some(0, 0, 3),
        random.pick(["sha256", "sha512", "sha1"]),
        some(32, 64, 64, 20),
      );
    case 2: {
      const octets = () => random.pick([0, 0, 1, 4, 9, 126]);
      const name = random.pick([
        NAME,
        derValue(0x30, new Uint8Array(0), octets()),
        derValue(0x31, NAME, octets()),
      ]);
      const info = concatBytes(derValue(2, some(1, 1, 3), octets()), name, SPKI, some(0, 2));
      return derValue(0x30, info, octets());
    }
    default:
      return tokenInput(mutateHeader(random, HEADER, [HEADER]), some(0, 1, 40));
  }
};

const mutateHeader = jsonMutator({
  alg: (random) => JSON.stringify(random.pick(["ES256", "none", "\\u0000"])),
});

/** The mutation that fits the message. */
const byKind: Mutator = (random, input) => {
  if (input[0] === 0x30) return mutateDer(random, input);
  const dot = input.indexOf(0x2e);
  const header = dot === -1 ? "" : new TextDecoder("latin1").decode(input.subarray(0, dot));
  const json = decodeBase64Url(header);
  if (json === null) return changedString(random, input);
  if (random.oneIn(3)) return concatBytes(utf8(respell(random, header)), input.subarray(dot));
  return tokenInput(mutateHeader(random, json, [HEADER]), input.subarray(dot + 1));
};

/** One length of ssh's changed. */
function changedString(random: Random, input: Bytes): Bytes {
  const at = input[0] === 0x53 ? 6 : random.pick([0, 69, 77]);
  const copy = Uint8Array.from(input);
  if (at + 4 <= copy.length) {
    copy[at + random.pick([0, 3, 3, 3])] = random.pick([0, 1, 64, 127, 128, 129, 255]);
  }
  return copy;
}

function parse(input: Bytes): Found {
  const found = {
    protocol: findProtocol(input, true),
    login: parseUserauthRequest(input),
    signature: parseSshsigData(input),
  };
  if (Object.values(found).every((value) => value === null)) {
    throw new AmeshError("ERR_CORRUPT", "it is no message of a protocol");
  }
  return found;
}

function check({ protocol, login, signature }: Found, input: Bytes): void {
  assert.ok(protocol !== null, "what a parser reads may be signed");
  for (const next of ["", "\0", "."]) {
    const longer = concatBytes(input, utf8(next), new Uint8Array(PROTOCOL_START_BYTES));
    assert.notEqual(findProtocol(longer, false), null, "it is none when more follows");
  }
  if (login !== null) {
    assert.match(protocol, /login/);
    const method = login.hostKey === null ? METHODS[0]! : METHODS[1]!;
    assert.deepEqual(userauthData({ ...login, service: "ssh-connection", method }), input, "not canonical");
  }
  if (signature !== null) {
    assert.match(protocol, /SSHSIG/);
    const reader = new SshReader(input.subarray(6));
    assert.equal(reader.text(), signature.namespace);
    assert.deepEqual(
      sshsigData(signature.namespace, reader.string(), reader.text(), reader.string()),
      input,
      "not canonical",
    );
    reader.end();
  }
}

/** Target of what `sign` looks for, and of the agent's rules. */
export const PROTOCOL_MESSAGE_TARGET: Target = makeTarget<Found>({
  name: "protocol-message",
  seeds: [
    utf8("amesh continuity v1\0"),
    USERAUTH,
    USERAUTH_HOSTBOUND,
    SSHSIG,
    REQUEST_INFO,
    REQUEST_INFO_EMPTY,
    TOKEN_INPUT,
    TOKEN_INPUT_UNENCODED,
  ],
  mutators: [byKind, fresh],
  limit: PROTOCOL_START_BYTES,
  codes: ["ERR_CORRUPT"],
  parse,
  check,
});
