import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { concatBytes } from "../../../src/bytes.ts";
import { parseSshsigData, parseUserauthRequest } from "../../../src/formats/ssh_signed_data.ts";
import {
  type Login,
  SSH_KEY_BLOB,
  SSHSIG,
  sshsigData,
  USERAUTH,
  USERAUTH_HOSTBOUND,
  userauthData,
} from "../../support/protocol_messages.ts";

const HOSTBOUND = "publickey-hostbound-v00@openssh.com";
const login: Login = {
  sessionId: new Uint8Array(32).fill(9),
  user: "root",
  service: "ssh-connection",
  method: "publickey",
  algorithm: "ecdsa-sha2-nistp256",
  publicKey: SSH_KEY_BLOB,
  hostKey: null,
};

test("parseUserauthRequest() reads what OpenSSH signs", () => {
  const { sessionId, ...plain } = parseUserauthRequest(USERAUTH)!;
  const expected = { user: "root", algorithm: "ecdsa-sha2-nistp256", publicKey: SSH_KEY_BLOB };
  assert.deepEqual(plain, { ...expected, hostKey: null });
  assert.deepEqual(sessionId, USERAUTH.subarray(4, 68));
  const { hostKey, ...bound } = parseUserauthRequest(USERAUTH_HOSTBOUND)!;
  assert.deepEqual(bound, { ...expected, sessionId: USERAUTH_HOSTBOUND.subarray(4, 68) });
  assert.deepEqual(hostKey, USERAUTH_HOSTBOUND.subarray(-51));
});

const text = fc.string({ unit: "binary" }).filter((value) => !/\p{Cc}/u.test(value));

test("parseUserauthRequest() finds every field of every request", () => {
  const logins = fc.record({
    sessionId: fc.uint8Array({ minLength: 1, maxLength: 128 }),
    user: text,
    algorithm: text,
    publicKey: fc.uint8Array(),
    hostKey: fc.option(fc.uint8Array()),
  });
  fc.assert(fc.property(logins, (fields) => {
    const method = fields.hostKey === null ? "publickey" : HOSTBOUND;
    const found = parseUserauthRequest(userauthData({ ...login, ...fields, method }));
    assert.deepEqual({ ...found }, {
      ...fields,
      sessionId: Uint8Array.from(fields.sessionId),
      publicKey: Uint8Array.from(fields.publicKey),
      hostKey: fields.hostKey && Uint8Array.from(fields.hostKey),
    });
  }));
});

const changed = (bytes: Uint8Array, at: number, value: number) => {
  const copy = Uint8Array.from(bytes);
  copy[at] = value;
  return copy;
};
const notRequests: [what: string, data: Uint8Array][] = [
  ["no session", userauthData({ ...login, sessionId: new Uint8Array(0) })],
  ["a session that is too long", userauthData({ ...login, sessionId: new Uint8Array(129) })],
  ["another message", changed(userauthData(login), 36, 51)],
  ["another service", userauthData({ ...login, service: "ssh-userauth" })],
  ["another method", userauthData({ ...login, method: "hostbased" })],
  ["a method that is longer", userauthData({ ...login, method: "publickey " })],
  ["a user who is no text", userauthData({ ...login, user: Uint8Array.of(0xff) })],
  ["a user with a newline", userauthData({ ...login, user: "root\n" })],
  ["a query whether a key would do", changed(userauthData(login), userauthData(login).indexOf(1, 60), 0)],
  ["true as another number", changed(userauthData(login), userauthData(login).indexOf(1, 60), 255)],
  ["a host's key that the method has not", userauthData({ ...login, hostKey: SSH_KEY_BLOB })],
  ["no host's key where the method has one", userauthData({ ...login, method: HOSTBOUND })],
];
for (const [what, data] of notRequests) {
  test(`parseUserauthRequest() takes none with ${what}`, () => {
    assert.notEqual(parseUserauthRequest(userauthData(login)), null);
    assert.equal(parseUserauthRequest(data), null);
  });
}

test("parseUserauthRequest() and parseSshsigData() take nothing that is cut off or goes on", () => {
  const cases = [[USERAUTH, parseUserauthRequest], [USERAUTH_HOSTBOUND, parseUserauthRequest], [
    SSHSIG,
    parseSshsigData,
  ]] as const;
  for (const [data, parse] of cases) {
    assert.notEqual(parse(data), null);
    for (let length = 0; length < data.length; length++) assert.equal(parse(data.subarray(0, length)), null);
    assert.equal(parse(concatBytes(data, Uint8Array.of(0))), null);
  }
});

test("parseSshsigData() reads what ssh-keygen signs", () => {
  assert.deepEqual(parseSshsigData(SSHSIG), { namespace: "git" });
  const hash = createHash("sha512").update("a document").digest();
  assert.deepEqual(SSHSIG, sshsigData("git", new Uint8Array(0), "sha512", hash));
});

test("parseSshsigData() finds every namespace, whatever is reserved and hashed", () => {
  const hash = fc.constantFrom(["sha256", 32], ["sha512", 64] as const).chain(([name, length]) =>
    fc.tuple(
      fc.constant(name as string),
      fc.uint8Array({ minLength: length as number, maxLength: length as number }),
    )
  );
  const namespaces = text.filter((value) => value !== "");
  fc.assert(fc.property(namespaces, fc.uint8Array(), hash, (namespace, reserved, [name, bytes]) => {
    assert.deepEqual(parseSshsigData(sshsigData(namespace, reserved, name, bytes)), { namespace });
  }));
});

const none = new Uint8Array(0);
const notSshsig: [what: string, data: Uint8Array][] = [
  ["no namespace", sshsigData("", none, "sha256", new Uint8Array(32))],
  ["a namespace with a zero byte", sshsigData("git\0", none, "sha256", new Uint8Array(32))],
  ["a hash that is too weak", sshsigData("git", none, "sha1", new Uint8Array(20))],
  ["a hash named as every object has a member", sshsigData("git", none, "toString", new Uint8Array(32))],
  ["a hash that is too short", sshsigData("git", none, "sha512", new Uint8Array(32))],
  ["another magic", changed(SSHSIG, 5, "H".charCodeAt(0))],
];
for (const [what, data] of notSshsig) {
  test(`parseSshsigData() takes none with ${what}`, () => assert.equal(parseSshsigData(data), null));
}
