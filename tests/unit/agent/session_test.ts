import assert from "node:assert/strict";
import { test } from "node:test";
import { type Bytes, concatBytes, utf8 } from "../../../src/bytes.ts";
import { describeData, SessionBindings, shown } from "../../../src/agent/session.ts";
import {
  REQUEST_INFO,
  SSH_KEY_BLOB,
  SSHSIG,
  sshsigData,
  TOKEN_INPUT,
  USERAUTH,
  USERAUTH_HOSTBOUND,
  userauthData,
} from "../../support/protocol_messages.ts";
import { makeSshHost } from "../../support/ssh_host.ts";

const HOST = makeSshHost();
const OTHER = makeSshHost();
const id = (value: number, length = 32) => new Uint8Array(length).fill(value);
const OTHER_TEXT = utf8("something else");
const STATEMENT = concatBytes(utf8("amesh continuity v1\0"), utf8("{}"));

function login(sessionId: Uint8Array, hostKey: Uint8Array | null = null): Bytes {
  return userauthData({
    sessionId,
    user: "git",
    service: "ssh-connection",
    method: hostKey === null ? "publickey" : "publickey-hostbound-v00@openssh.com",
    algorithm: "ecdsa-sha2-nistp256",
    publicKey: SSH_KEY_BLOB,
    hostKey,
  });
}

function bound(...binds: readonly Parameters<SessionBindings["bind"]>[0][]): SessionBindings {
  const session = new SessionBindings();
  for (const bind of binds) assert.equal(session.bind(bind), true);
  return session;
}

test("describeData() says what a login and an ssh signature are for, and nothing of other data", () => {
  assert.equal(describeData(USERAUTH), "to log in as root");
  assert.equal(describeData(USERAUTH_HOSTBOUND), "to log in as root");
  assert.equal(describeData(SSHSIG), "to sign for git");
  for (const data of [OTHER_TEXT, STATEMENT, TOKEN_INPUT, new Uint8Array(0)]) {
    assert.equal(describeData(data), null);
  }
});

test("shown() leaves nothing that would change how a dialog looks, and no more than 64 characters", () => {
  for (const text of ["git", "é ß 漢字", "a b", "x".repeat(64), ""]) assert.equal(shown(text), text);
  const wrong = [
    "\n",
    "\r",
    "\t",
    "\x1b",
    "\x9b",
    "\u202e",
    "\u2066",
    "\u2028",
    "\u2029",
    "\u200b",
    "\ufeff",
  ];
  for (const character of wrong) assert.equal(shown(`a${character}b`), "a\ufffdb", JSON.stringify(character));
  assert.equal(shown("y".repeat(65)), `${"y".repeat(64)}…`);
});

test("describeData() shows what somebody else has chosen with care", () => {
  const data = userauthData({
    sessionId: id(1),
    user: `root\u202e${"x".repeat(100)}`,
    service: "ssh-connection",
    method: "publickey",
    algorithm: "ecdsa-sha2-nistp256",
    publicKey: SSH_KEY_BLOB,
    hostKey: null,
  });
  assert.equal(describeData(data), `to log in as root\ufffd${"x".repeat(59)}…`);
  const namespace = `a\u2028${"x".repeat(100)}`;
  const sshsig = sshsigData(namespace, new Uint8Array(0), "sha512", new Uint8Array(64));
  assert.equal(describeData(sshsig), `to sign for a\ufffd${"x".repeat(62)}…`);
});

test("refuse() makes a connection one of another machine", () => {
  const session = new SessionBindings();
  session.refuse();
  assert.equal(session.isRemote, true);
  assert.match(session.objection(OTHER_TEXT)!, /forwarded$/);
  assert.equal(session.bind(HOST.bind(id(1), false)), true);
  assert.equal(session.objection(login(id(1))), null);
});

test("a connection of this machine signs logins, ssh signatures and what is no message of a protocol", () => {
  const session = new SessionBindings();
  assert.equal(session.isRemote, false);
  for (const data of [USERAUTH, USERAUTH_HOSTBOUND, SSHSIG, OTHER_TEXT, new Uint8Array(0)]) {
    assert.equal(session.objection(data), null);
  }
});

for (const [name, data] of Object.entries({ STATEMENT, REQUEST_INFO, TOKEN_INPUT })) {
  test(`no connection signs a message of another protocol: ${name}`, () => {
    const refused = new SessionBindings();
    assert.equal(refused.bind({ ...HOST.bind(id(1), true), signature: id(0) }), false);
    const forLogin = bound(HOST.bind(id(1), false));
    const forwarded = bound(HOST.bind(id(1), true));
    for (const session of [new SessionBindings(), forLogin, forwarded, refused]) {
      assert.notEqual(session.objection(data), null);
    }
  });
}

test("a binding needs a signature of the host over this session", () => {
  const right = HOST.bind(id(1), false);
  const wrong = [
    { ...right, sessionId: id(2) },
    { ...right, hostKey: OTHER.hostKey },
    { ...right, signature: OTHER.bind(id(1), false).signature },
    { ...right, signature: new Uint8Array(0) },
    { ...right, hostKey: new Uint8Array(0) },
  ];
  for (const bind of wrong) {
    const session = new SessionBindings();
    assert.equal(session.bind(bind), false);
    assert.equal(session.isRemote, true, "somebody tried to bind it");
    // It is treated as one that comes from another machine.
    assert.equal(session.objection(login(id(1))), null);
    assert.equal(session.objection(SSHSIG), null);
    assert.match(session.objection(OTHER_TEXT)!, /^neither a login nor an ssh signature/);
  }
});

test("the length of a session id is 1 to 128", () => {
  for (const [length, isBound] of [[0, false], [1, true], [128, true], [129, false]] as const) {
    const session = new SessionBindings();
    assert.equal(session.bind(HOST.bind(id(1, length), true)), isBound, `${length}`);
    assert.equal(session.isRemote, true);
  }
});

test("a connection that is bound for a login signs logins of that session, and nothing else", () => {
  const session = bound(HOST.bind(id(1), false));
  assert.equal(session.isRemote, true);
  assert.equal(session.objection(login(id(1))), null);
  assert.equal(session.objection(login(id(1), HOST.hostKey)), null);
  for (const data of [login(id(2)), login(id(2), HOST.hostKey), login(id(1), OTHER.hostKey), USERAUTH]) {
    assert.match(session.objection(data)!, /^a login in another session/);
  }
  for (const data of [SSHSIG, OTHER_TEXT, concatBytes(login(id(1)), Uint8Array.of(0))]) {
    assert.match(session.objection(data)!, /^no login/);
  }
});

test("a forwarded connection signs logins of any session and ssh signatures, and nothing else", () => {
  const session = bound(HOST.bind(id(1), true));
  for (const data of [login(id(1)), login(id(9)), login(id(9), OTHER.hostKey), SSHSIG]) {
    assert.equal(session.objection(data), null);
  }
  for (const data of [OTHER_TEXT, new Uint8Array(0), concatBytes(SSHSIG, Uint8Array.of(0))]) {
    assert.match(session.objection(data)!, /forwarded$/);
  }
});

test("a forwarded connection can be bound to a further session; the last one counts", () => {
  const session = bound(HOST.bind(id(1), true), OTHER.bind(id(2), true));
  assert.equal(session.objection(login(id(9))), null);
  assert.equal(session.bind(OTHER.bind(id(3), false)), true);
  assert.equal(session.objection(login(id(3), OTHER.hostKey)), null);
  for (const data of [login(id(1)), login(id(2)), login(id(3), HOST.hostKey)]) {
    assert.match(session.objection(data)!, /^a login in another session/);
  }
});

test("after a binding for a login there is no other one", () => {
  const session = bound(HOST.bind(id(1), false));
  for (const bind of [HOST.bind(id(2), false), HOST.bind(id(2), true), HOST.bind(id(1), true)]) {
    assert.equal(session.bind(bind), false);
  }
  // What is in force stays so.
  assert.equal(session.objection(login(id(1))), null);
  assert.match(session.objection(login(id(2)))!, /^a login in another session/);
  assert.match(session.objection(SSHSIG)!, /^no login/);
});

test("a session is one host's; the same again is allowed and changes nothing", () => {
  const session = bound(HOST.bind(id(1), true), OTHER.bind(id(2), true));
  assert.equal(session.bind(OTHER.bind(id(1), true)), false);
  assert.equal(session.bind(HOST.bind(id(1), true)), true);
  // As OpenSSH: what was recorded for forwarding stays so.
  assert.equal(session.bind(HOST.bind(id(1), false)), true);
  assert.equal(session.objection(login(id(9))), null);
});

test("a connection has 16 sessions at most", () => {
  const session = bound(...Array.from({ length: 16 }, (_, index) => HOST.bind(id(index), true)));
  assert.equal(session.bind(HOST.bind(id(99), true)), false);
  assert.equal(session.bind(HOST.bind(id(99), false)), false);
  assert.equal(session.objection(login(id(9))), null);
});

test("a refused binding does not end what was bound before", () => {
  const session = bound(HOST.bind(id(1), true));
  assert.equal(session.bind({ ...OTHER.bind(id(2), false), signature: id(0) }), false);
  assert.equal(session.objection(login(id(9))), null);
  assert.equal(session.bind(OTHER.bind(id(2), false)), true);
  assert.match(session.objection(login(id(9)))!, /^a login in another session/);
});

test("what was bound does not change when the frame does that it came in", () => {
  const sessionId = id(1);
  const hostKey = Uint8Array.from(HOST.hostKey);
  const session = bound({ ...HOST.bind(sessionId, false), hostKey });
  sessionId.fill(2);
  hostKey.fill(2);
  assert.equal(session.objection(login(id(1), HOST.hostKey)), null);
  assert.notEqual(session.objection(login(id(2))), null);
});
