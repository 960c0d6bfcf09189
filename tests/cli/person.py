"""A person at a terminal: runs a program on one of its own and does what the steps say.

person.py [--no-echo] PROGRAM ARGUMENT... : STEP... [: STEP...]...

expect TEXT   the terminal shows it, after what it has shown before
unseen        the terminal does not show what is typed from here on
type TEXT     types it, with the escapes of Python
signal NAME   sends it to the program
stays         the program goes on for half a second
end CODE      it ends with this exit code

Prints all that the terminal has shown, then whether it shows what is typed."""
import os, pty, select, signal, sys, termios, time



def sit_before(terminal, leader, report):
    """Is the shell of that terminal: runs the program as its foreground job and reports what becomes of it."""
    # Where nobody else holds it the terminal hangs up when the person is gone, which ends what still runs.
    os.close(leader)
    os.setsid()
    # The first terminal that the leader of a session opens is that of the session.
    os.close(os.open(os.ttyname(terminal), os.O_RDWR))
    # Both ends are closed when the job becomes the program.
    begun, begins = os.pipe()
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.tcsetpgrp(terminal, os.getpid())
        for name in signal.SIGTTOU, signal.SIGPIPE:
            signal.signal(name, signal.SIG_DFL)
        for stream in 0, 1, 2:
            os.dup2(terminal, stream)
        os.execvp(steps[0][0], steps[0])
    os.close(begins)
    os.read(begun, 1)
    os.write(report, b"%d\n" % job)
    while True:
        _, status = os.waitpid(job, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            os.write(report, b"stopped\n")
            continue
        code = os.waitstatus_to_exitcode(status)
        os.write(report, b"%d\n" % (128 - code if code < 0 else code))
        os._exit(0)


arguments = sys.argv[1:]
echo = arguments[0] != "--no-echo"
steps, step = [], []
for word in arguments[not echo:] + [":"]:
    if word == ":":
        steps.append(step)
        step = []
    else:
        step.append(word)

leader, terminal = pty.openpty()
if not echo:
    mode = termios.tcgetattr(terminal)
    mode[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSANOW, mode)
reports, report = os.pipe()
if os.fork() == 0:
    sit_before(terminal, leader, report)


def next_report():
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(reports, 1)
    return line.decode().strip()


program = int(next_report())

shown = b""
seen = 0
# What became of the program: nothing yet, `stopped`, or its exit code.
ended = None
deadline = time.monotonic() + 30


def fail(what):
    if ended in (None, "stopped"):
        os.kill(program, signal.SIGKILL)
    sys.exit(f"{what}; the terminal shows {shown!r}")


def look():
    """Takes what there is to see, of the terminal before that of the program's end."""
    global shown, ended
    ready = select.select([leader, reports], [], [], 0.05)[0]
    if leader in ready:
        shown += os.read(leader, 4096)
    elif reports in ready:
        ended = next_report()
    if time.monotonic() > deadline:
        fail(f"it takes too long to {step}")


def echoes():
    return bool(termios.tcgetattr(terminal)[3] & termios.ECHO)


for step in steps[1:]:
    verb, *rest = step
    text = "".join(rest)
    if verb == "expect":
        while text.encode() not in shown[seen:]:
            if ended is not None:
                fail(f"it ended with {ended} before {text!r}")
            look()
        seen = shown.index(text.encode(), seen) + len(text)
    elif verb == "unseen":
        if echoes():
            fail("what is typed would be shown")
    elif verb == "type":
        os.write(leader, text.encode("ascii").decode("unicode_escape").encode("latin1"))
    elif verb == "signal":
        os.kill(program, getattr(signal, f"SIG{text}"))
    elif verb == "stays":
        wait = time.monotonic() + 0.5
        while time.monotonic() < wait:
            look()
        if ended is not None:
            fail(f"it does not go on: {ended}")
    elif verb == "end":
        while ended is None:
            look()
        if ended != text:
            fail(f"it ended with {ended}")
    else:
        fail(f"no such step: {verb}")
if ended is None:
    fail("it has not ended")
sys.stdout.buffer.write(shown + b"\necho: " + (b"on" if echoes() else b"off") + b"\n")
