import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { evaluation, projectUrl, runChild } from "../../support/child_process.ts";

const linux = process.platform === "linux";
const onLinux = { skip: !linux };
const where = linux ? "" : ": Linux only";

/** Asks, then says what came of it; its standard streams are no terminals. */
const asking = (echo: boolean) => `
  import { askTerminal } from ${JSON.stringify(projectUrl("src/platform/terminal.ts"))};
  import { Interrupted } from ${JSON.stringify(projectUrl("src/errors.ts"))};
  try {
    const answer = await askTerminal({ text: "Say: ", echo: ${echo} });
    console.log(JSON.stringify(answer === null ? null : answer.toHex()));
  } catch (error) {
    console.log(JSON.stringify([error instanceof Interrupted, error.signalNumber ?? error.message]));
  }`;

/**
 * The other end of a terminal: starts a program whose controlling terminal it is, waits for the prompt, and types.
 * It prints what was on the screen, the terminal's modes before, during and after, and what the program said.
 */
const TERMINAL = `
import fcntl, json, os, pty, select, signal, sys, termios, time
typed, argv = bytes.fromhex(sys.argv[1]), sys.argv[2:]
master, slave = pty.openpty()
reader, writer = os.pipe()
def modes():
    flags = termios.tcgetattr(slave)
    return [bool(flags[3] & termios.ECHO), bool(flags[3] & termios.ICANON), flags[6][termios.VSUSP] != b"\\0"]
before = modes()
child = os.fork()
if child == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.dup2(writer, 1)
    os.execvp(argv[0], argv)
os.close(writer)
screen, said, during = b"", b"", None
end = time.monotonic() + 30
while time.monotonic() < end:
    ready = select.select([master, reader], [], [], 1)[0]
    if master in ready:
        screen += os.read(master, 4096)
        if during is None and screen.endswith(b"Say: "):
            during = modes()
            for part in typed.split(b"|"):
                os.write(master, part)
                time.sleep(0.1)
    if reader in ready:
        piece = os.read(reader, 4096)
        if not piece: break
        said += piece
else: os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
while select.select([master], [], [], 0.1)[0]: screen += os.read(master, 4096)
print(json.dumps({"screen": screen.decode(), "before": before, "during": during, "after": modes(), "said": json.loads(said or b'"nothing"')}))
`;

interface Session {
  readonly screen: string;
  readonly before: readonly boolean[];
  readonly during: readonly boolean[];
  readonly after: readonly boolean[];
  readonly said: unknown;
}

/** @param typed `|` is a pause. */
function atTerminal(typed: string, echo: boolean): Session {
  const keys = Buffer.from(typed).toString("hex");
  const { stdout, stderr } = runChild(["python3", "-c", TERMINAL, keys, ...evaluation(asking(echo))]);
  assert.ok(stdout.startsWith("{"), stderr);
  return JSON.parse(stdout);
}

const hex = (text: string) => Buffer.from(text).toString("hex");

/** What is typed, what is answered; Ctrl-C and its like are what the terminal makes of them. */
const sessions: [name: string, typed: string, echo: boolean, said: unknown, screen: string][] = [
  ["a passphrase", "s3cret\n", false, hex("s3cret"), "Say: \r\n"],
  ["a passphrase in pieces", "s3|cr|et\n", false, hex("s3cret"), "Say: \r\n"],
  ["no ASCII", "Grüße 🔑\n", false, hex("Grüße 🔑"), "Say: \r\n"],
  ["nothing but a newline", "\n", false, "", "Say: \r\n"],
  ["white space, which belongs to it", " a \n", false, hex(" a "), "Say: \r\n"],
  ["the end of the input", "\x04", false, "", "Say: \r\n"],
  ["a visible answer", "yes\n", true, hex("yes"), "Say: yes\r\n"],
  ["Ctrl-C", "s3c|\x03", false, [true, 2], "Say: \r\n"],
  ["Ctrl-\\", "s3c|\x1c", false, [true, 3], "Say: \r\n"],
  ["Ctrl-Z, which must not leave the terminal without echo", "a\x1ab\n", false, hex("a\x1ab"), "Say: \r\n"],
];
for (const [name, typed, echo, said, screen] of sessions) {
  test(`askTerminal() takes ${name}, and gives the terminal back as it was${where}`, onLinux, () => {
    const session = atTerminal(typed, echo);
    assert.deepEqual(session.said, said);
    assert.equal(session.screen, screen);
    // echo, lines, and whether there is a Ctrl-Z.
    assert.deepEqual(session.before, [true, true, true]);
    assert.deepEqual(session.during, [echo, true, false]);
    assert.deepEqual(session.after, session.before);
  });
}

test(`askTerminal() is null at once for a process without a terminal${where}`, onLinux, () => {
  const { stdout, stderr } = runChild(["setsid", "--wait", ...evaluation(asking(false))], {
    input: "typed\n",
  });
  assert.equal(stdout, "null\n", stderr);
});
