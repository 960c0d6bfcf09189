"""A client of an SSH agent, for what no program of OpenSSH says.

agent_client.py STEP [: STEP]...

list                        the keys
sign userauth SESSION       what ssh signs to log in; the name of a session stands for its id
sign hostbound SESSION KEY  the same, which names the host whose public key lies in KEY.pub
sign sshsig NAMESPACE       what ssh-keygen -Y signs
sign file FILE              the bytes of a file
bind SESSION KEY [forward] [by OTHER] [over SESSION]
                            session-bind@openssh.com, signed with the host key in KEY, or with that in OTHER, over the
                            id of the session, or over that of another one
digest DEVICE FILE          sign-digest@amesh.dev
lock TEXT, unlock TEXT
extension NAME [HEX]        an extension, and its contents
request TYPE [HEX]          any request
connect                     the next steps are on a connection of their own; so is the first

Uses the agent of SSH_AUTH_SOCK, with SIGN_KEY (a public key file) or else the first key that it lists. Prints a line for
each step: the step and what came of it. A signature that does not verify is reported as such."""
import hashlib, os, socket, struct, subprocess, sys, tempfile, time, base64

ANSWERS = {5: "failure", 6: "success", 12: "keys", 14: "signature", 28: "extension failure", 29: "extension answer"}


def string(value):
    """A string of RFC 4251 section 5."""
    value = value.encode() if isinstance(value, str) else value
    return struct.pack(">I", len(value)) + value


def strings(data, count):
    """The first strings of `data`, and what follows them."""
    found = []
    for _ in range(count):
        (length,) = struct.unpack_from(">I", data)
        if len(data) < 4 + length:
            raise ValueError("a string is cut off")
        found.append(data[4 : 4 + length])
        data = data[4 + length :]
    return *found, data


class Agent:
    """A connection to an agent. What takes half a minute is a failure."""

    def __init__(self, path=None):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(path or os.environ["SSH_AUTH_SOCK"])

    def send(self, kind, contents=b""):
        self.socket.sendall(string(bytes([kind]) + contents))

    def receive(self):
        """Type and contents of the next answer; None when the agent has closed the connection."""
        try:
            (length,) = struct.unpack(">I", self._bytes(4))
            frame = self._bytes(length)
        except (EOFError, ConnectionResetError, BrokenPipeError):
            return None
        return frame[0], frame[1:]

    def ask(self, kind, contents=b""):
        try:
            self.send(kind, contents)
        except (ConnectionResetError, BrokenPipeError):
            return None
        return self.receive()

    def keys(self):
        """Key blobs and comments; None when it does not list."""
        answer = self.ask(11)
        if answer is None or answer[0] != 12:
            return None
        keys, rest = [], answer[1][4:]
        for _ in range(struct.unpack_from(">I", answer[1])[0]):
            blob, comment, rest = strings(rest, 2)
            keys.append((blob, comment.decode()))
        return keys

    def sign(self, blob, data, flags=0):
        return self.ask(13, string(blob) + string(data) + struct.pack(">I", flags))

    def extension(self, name, contents=b""):
        return self.ask(27, string(name) + contents)

    def _bytes(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if piece == b"":
                raise EOFError
            data += piece
        return data


def public_blob(path):
    with open(path) as file:
        return base64.b64decode(file.read().split()[1])


def session_id(name):
    return hashlib.sha256(name.encode()).digest()


def userauth(session, blob, host=None):
    """What ssh signs to log in (RFC 4252 section 7); with a host's public key, in the form of OpenSSH that names it."""
    algorithm = strings(blob, 1)[0]
    method = "publickey" if host is None else "publickey-hostbound-v00@openssh.com"
    request = b"\x32" + string("somebody") + string("ssh-connection") + string(method) + b"\x01"
    return string(session) + request + string(algorithm) + string(blob) + (b"" if host is None else string(host))


def sshsig(namespace):
    """What ssh-keygen -Y signs (PROTOCOL.sshsig)."""
    return b"SSHSIG" + string(namespace) + string("") + string("sha512") + string(hashlib.sha512(b"x").digest())


def host_signature(key, data):
    """Signs with a host key as sshd does; an agent of OpenSSH, which lives only for that, is the one who can."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "agent")
        holder = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
        try:
            while not os.path.exists(path):
                time.sleep(0.01)
            subprocess.run(["ssh-add", "-q", key], env={"SSH_AUTH_SOCK": path, **PATH}, check=True)
            # The flag asks RSA keys for SHA-512; others do not look at it.
            _, answer = Agent(path).sign(public_blob(key + ".pub"), data, flags=4)
            return strings(answer, 1)[0]
        finally:
            holder.kill()
            holder.wait()


PATH = {"PATH": os.environ["PATH"]}

# P-256 (SEC 2 section 2.4.2)
FIELD = 2**256 - 2**224 + 2**192 + 2**96 - 1
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
BASE = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)


def add(one, two):
    if one is None or two is None:
        return one or two
    (x1, y1), (x2, y2) = one, two
    if x1 == x2 and (y1 + y2) % FIELD == 0:
        return None
    slope = (3 * x1 * x1 - 3) * pow(2 * y1, -1, FIELD) if one == two else (y2 - y1) * pow(x2 - x1, -1, FIELD)
    x = (slope * slope - x1 - x2) % FIELD
    return x, (slope * (x1 - x) - y1) % FIELD


def multiply(factor, point):
    product = None
    while factor:
        if factor & 1:
            product = add(product, point)
        point, factor = add(point, point), factor >> 1
    return product


def verifies(blob, digest, r, s):
    """Whether an ECDSA signature is one of this ecdsa-sha2-nistp256 key."""
    point = strings(blob, 3)[2]
    key = int.from_bytes(point[1:33], "big"), int.from_bytes(point[33:], "big")
    if not (0 < r < ORDER and 0 < s < ORDER):
        return False
    inverse = pow(s, -1, ORDER)
    number = int.from_bytes(digest, "big")
    sum = add(multiply(number * inverse % ORDER, BASE), multiply(r * inverse % ORDER, key))
    return sum is not None and sum[0] % ORDER == r


def verified(blob, data, contents):
    """What to say of the answer to a request to sign."""
    signature, rest = strings(contents, 1)
    algorithm, numbers, more = strings(signature, 2)
    r, s, most = strings(numbers, 2)
    if rest or more or most or algorithm != b"ecdsa-sha2-nistp256":
        return "malformed signature"
    r, s = int.from_bytes(r, "big"), int.from_bytes(s, "big")
    return "signature" if verifies(blob, hashlib.sha256(data).digest(), r, s) else "wrong signature"


def first_key(agent):
    keys = agent.keys()
    return keys[0][0] if keys else sys.exit("it lists no key, and there is no SIGN_KEY")


def step(agent, verb, *rest):
    """Does a step, and says what came of it."""
    if verb == "list":
        keys = agent.keys()
        return "failure" if keys is None else " ".join([str(len(keys))] + [comment for _, comment in keys])
    if verb == "sign":
        blob = public_blob(os.environ["SIGN_KEY"]) if "SIGN_KEY" in os.environ else first_key(agent)
        if rest[0] == "userauth":
            data = userauth(session_id(rest[1]), blob)
        elif rest[0] == "hostbound":
            data = userauth(session_id(rest[1]), blob, public_blob(rest[2] + ".pub"))
        elif rest[0] == "sshsig":
            data = sshsig(rest[1])
        else:
            with open(rest[1], "rb") as file:
                data = file.read()
        answer = agent.sign(blob, data)
        if answer is not None and answer[0] == 14:
            return verified(blob, data, answer[1])
    elif verb == "bind":
        session, key, *options = rest
        signer = options[options.index("by") + 1] if "by" in options else key
        signed = options[options.index("over") + 1] if "over" in options else session
        signature = host_signature(signer, session_id(signed))
        contents = string(public_blob(key + ".pub")) + string(session_id(session)) + string(signature)
        contents += b"\x01" if "forward" in options else b"\x00"
        answer = agent.extension("session-bind@openssh.com", contents)
    elif verb == "digest":
        with open(rest[1], "rb") as file:
            digest = hashlib.sha256(file.read()).digest()
        answer = agent.extension("sign-digest@amesh.dev", string(rest[0]) + string(digest))
        if answer is not None and answer[0] == 29:
            _, kind, more = strings(answer[1], 2)
            return " ".join([kind.decode(), *([strings(more, 1)[0].decode()] if kind == b"refused" else [])])
    elif verb in ("lock", "unlock"):
        answer = agent.ask(22 if verb == "lock" else 23, string(rest[0]))
    elif verb == "extension":
        answer = agent.extension(rest[0], bytes.fromhex("".join(rest[1:])))
    elif verb == "request":
        answer = agent.ask(int(rest[0]), bytes.fromhex("".join(rest[1:])))
    else:
        sys.exit(f"no such step: {verb}")
    return "closed" if answer is None else ANSWERS.get(answer[0], f"type {answer[0]}")


def main():
    agent, words = Agent(), []
    for word in sys.argv[1:] + [":"]:
        if word != ":":
            words.append(word)
            continue
        if words == ["connect"]:
            agent = Agent()
        else:
            print(f"{' '.join(words)}: {step(agent, *words)}", flush=True)
        words = []


if __name__ == "__main__":
    main()
