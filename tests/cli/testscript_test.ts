/** The runner itself, against a stand-in for amesh: what it lets pass, and what it must report. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { hasEnded, swtpmMissing, waitUntil } from "../support/swtpm.ts";
import { findProgram, parseScript, skipReason, type Target } from "./script.ts";
import { runScript } from "./testscript.ts";

/** Says its arguments and environment, repeats its input, and ends with the code that its first argument is. */
const STAND_IN = `echo "args:$*"; cat; echo "warning: $SECRET" >&2; env | sort | tr '\\n' ' '; exit "$1"`;
const standIn: Target = {
  name: "stand-in",
  argv: ["/bin/sh", "-c", STAND_IN, "sh"],
  env: { NEEDED: "it's" },
};
const options = { timeoutMs: 10_000, fixtures: join(import.meta.dirname!, "..", "fixtures") };

const run = (text: string, timeoutMs = options.timeoutMs) =>
  runScript(parseScript("some.txtar", text), standIn, { ...options, timeoutMs });

const passing: [name: string, script: string][] = [
  ["success and output", "amesh 0 'two  words' $HOME\nstdout '^args:0 two  words /.*/work$'\n! stdout 9999"],
  ["failure and exit code", "! amesh 7\nexitcode 7\n! exitcode 8"],
  [
    "an otherwise empty environment",
    "amesh 0\nstdout '^AMESH_TPM_TCTI=\\S+ HOME=\\S+ NEEDED=it''s PWD=\\S+ (SHLVL=\\S+ )?WORK=\\S+ (_=\\S+ )?$'",
  ],
  [
    "env and unset",
    "env SECRET=a=b\namesh 0\nstderr a=b\nunset SECRET HOME\namesh 0\n! stderr a=b\n! stdout HOME=",
  ],
  [
    "stdin for one command only",
    "stdin in\namesh 0\nstdout bytes\namesh 0\n! stdout bytes\n-- in --\nbytes\n",
  ],
  ["counts", "stdin in\namesh 0\nstdout -count=2 ^x$\n-- in --\nx\nx\n"],
  ["silence", "exec true\n! stdout .\n! stderr ."],
  [
    "files",
    "cp a b\ncmp a b\nexists a b\n! exists c\nmode b 600\nsize b 2\ngrep a b\nrm b\n! exists b\n-- a --\na\n",
  ],
  ["streams as files", "amesh 0\ncp stdout out\ncmp stdout out\n! cmp stderr out"],
  ["a file by pattern", "grep a *.txt\n-- only.txt --\na\n"],
  [
    "JSON",
    "json a x.y ^1$\njson a z\n! json a x.z\nedit a x.y 2\njson a x.y ^2$\nedit a z\n! json a z\n-- a --\n" +
    '{"x":{"y":1},"z":[]}\n',
  ],
  ["JSON from another file", 'edit a x @b\njson a x ^3$\n-- a --\n{"x":1}\n-- b --\n{"x":3}\n'],
  ["directories", "mkdir d\nmode d 700\ncd d\nexec pwd\nstdout /d$\nsymlink nowhere link\nexists link"],
  ["umask", "umask 0077\nexec sh -c 'echo > f'\nmode f 600"],
  [
    "no privileges",
    "[root] chmod 000 a\nunprivileged\n[root] ! exec cat a\numask 0277\nexec sh -c umask\nstdout 0277\n-- a --\n",
  ],
  [
    "programs that call amesh",
    "exec sh -c 'amesh 3 | cat; amesh 0'\nstdout -count=1 args:3\nstdout 'NEEDED=it''s'",
  ],
  ["background and signals", "exec sleep 60 &\nsignal SIGINT\nwait 130\nexitcode 130"],
  [
    "conditions",
    "[!unix] amesh 1\n[target:other] amesh 1\n[exec:no-such-program] amesh 1\n[unix] [exec:sh] amesh 0",
  ],
  ["comments", "# amesh 1\n\namesh 0 # 1"],
  [
    "a person at a terminal",
    "[exec:python3] person sh -c 'stty -echo; echo ?; read x; echo got:$x; exit 3' : expect ? : unseen : type 'a\\n' : end 3\n" +
    "[exec:python3] stdout '^got:a\\r$'\n[exec:python3] stdout '^echo: off$'\n" +
    "[exec:python3] person sh -c 'cat; echo end' : type 'a\\n' : expect a : stays : type '\\x03' : end 130\n" +
    "[exec:python3] ! stdout end\n[exec:python3] stdout '^echo: on$'\n" +
    "[exec:python3] person sleep 60 : signal TERM : end 143",
  ],
  [
    "programs of Python, which know the client of agents",
    "[exec:python3] python p.py 'two  words'\n[exec:python3] stdout '^two  words 27$'\n" +
    "-- p.py --\nfrom agent_client import *\nprint(sys.argv[1], 27)\n",
  ],
];
for (const [name, script] of passing) test(`runScript() accepts ${name}`, () => run(script));

const failing: [name: string, script: string, message: RegExp][] = [
  [
    "a failure",
    "amesh 0\namesh 7",
    /^some\.txtar:2: amesh 7\nexit code 7, expected 0\n--- stdout\nargs:7[^]*--- stderr\nw/,
  ],
  ["an unexpected success", "! amesh 0", /exit code 0, expected a failure/],
  ["the wrong exit code", "! amesh 7\nexitcode 5", /some\.txtar:2: .*\nmissing: exit code, got 7/],
  ["missing output", "amesh 0\nstdout nothing", /missing: nothing in stdout/],
  ["a lone newline where silence is due", "exec echo\n! stdout .", /unexpected: \. in stdout/],
  ["output where silence is due", "amesh 0\n! stderr .", /unexpected: \. in stderr/],
  ["a wrong count", "amesh 0\nstdout -count=2 args", /1 matches of args in stdout, expected 2/],
  ["an unknown command", "ameesh 0", /unknown command ameesh/],
  ["a command named like an object's own method", "toString", /unknown command toString/],
  ["an unknown condition", "[moon] amesh 0", /some\.txtar:1: .*\nunknown condition \[moon\]/],
  ["an unknown variable", "amesh $NOTHING", /unknown variable \$NOTHING/],
  ["an unknown program", "exec no-such-program", /no program no-such-program/],
  ["another mode", "mode a 600\n-- a --\n", /missing: mode 600 of a, got 0644/],
  ["different files", "cmp a b\n-- a --\n1\n-- b --\n2\n", /missing: a same as b/],
  ["a missing file", "exists a", /missing: a/],
  ["an absent JSON field", 'json a b\n-- a --\n{"c":1}\n', /missing: b \[\^\]\*, got nothing/],
  [
    "an ambiguous pattern",
    "grep a *.txt\n-- a.txt --\n-- b.txt --\n",
    /\*\.txt matches 2 files: a\.txt b\.txt/,
  ],
  ["a background program nobody waits for", "exec sleep 60 &", /not waited for/],
  ["an unclosed quote", "amesh 'a", /some\.txtar:1: quote is not closed/],
  ["what a terminal never shows", "person sh -c 'echo a' : expect b", /ended with 0 before 'b'/],
  ["another end at a terminal", "person sh -c 'exit 3' : end 4", /it ended with 3; the terminal shows/],
  ["a terminal that shows what is typed", "person sleep 60 : unseen", /what is typed would be shown/],
  ["an unknown step", "person sleep 60 : dance", /no such step: dance/],
];
for (const [name, script, message] of failing) {
  test(`runScript() reports ${name}`, () => assert.rejects(async () => await run(script), { message }));
}

test("runScript() ends a whole process group at its time limit", async () => {
  const pidFile = join(tmpdir(), `testscript-${crypto.randomUUID()}`);
  await assert.rejects(
    run(`exec sh -c 'sleep 77 & echo $! > "$0"; wait' ${pidFile}`, 500),
    /timed out after 500 ms/,
  );
  const pid = readFileSync(pidFile, "utf8").trim();
  rmSync(pidFile);
  const state = existsSync(`/proc/${pid}/stat`)
    ? readFileSync(`/proc/${pid}/stat`, "utf8").split(" ")[2]
    : "gone";
  assert.ok(state === "gone" || state === "Z", `process ${pid} is in state ${state}`);
});

/** A program in a session of its own, as an agent is one; its process id is in `file`. */
const stray = (file: string) => `exec sh -c 'setsid sh -c ''echo $$ > ${file}; exec sleep 78'' > log 2>&1 &'`;
const STRAYS = {
  "that passes reports what it leaves running": ["", /^Error: some\.txtar: still running: sleep 78 $/],
  "that fails ends what it leaves running": ["exec false", /^Error: some\.txtar:3: exec false/],
} as const;
for (const [name, [end, message]] of Object.entries(STRAYS)) {
  test(`A script ${name}`, { skip: process.platform !== "linux" }, async () => {
    const pidFile = join(tmpdir(), `testscript-${crypto.randomUUID()}`);
    await assert.rejects(
      run(`${stray(pidFile)}\nexec sh -c 'until [ -s ${pidFile} ]; do :; done'\n${end}`),
      message,
    );
    const pid = Number(readFileSync(pidFile, "utf8"));
    rmSync(pidFile);
    waitUntil(() => hasEnded(pid), `end of ${pid}`);
  });
}

const SSHD = `
exec sh -c 'ssh-keygen -q -N "" -t ed25519 -f key && mv key.pub authorized_keys'
sshd
exec ssh -F config -p $SSHD_PORT 127.0.0.1 'echo $HOME'
stdout '/work$'
exec ssh -F config -p $SSHD_PORT -o HostKeyAlgorithms=ssh-rsa,rsa-sha2-512 127.0.0.1 true
rm authorized_keys
! exec ssh -F config -p $SSHD_PORT 127.0.0.1 true
exec ssh-agent -D -a sock &
env SSH_AUTH_SOCK=$WORK/sock
exec sh -c 'until [ -S sock ]; do sleep 0.02; done; ssh-add -q key'
[exec:python3] client list : lock x : list : unlock x
[exec:python3] stdout '^list: 1 .*\\nlock x: success\\nlist: 0\\nunlock x: success\\n$'
signal SIGTERM
wait 2
-- config --
BatchMode yes
StrictHostKeyChecking yes
IdentityFile \${WORK}/key
UserKnownHostsFile \${WORK}/sshd/known_hosts
`;
const absentServer = ["sshd", "ssh-agent"].find((name) => findProgram(name) === null);
test(
  "runScript() gives a script an SSH server, and asks agents",
  { skip: absentServer !== undefined },
  () => run(SSHD),
);

const missing = swtpmMissing();
const itTpm = (name: string, body: () => Promise<void>) =>
  test(missing === undefined ? name : `${name}: ${missing}`, { skip: missing !== undefined }, body);
const TPM_TIMEOUT_MS = 60_000;

const TCTIS = `exec sh -c 'echo $AMESH_TPM_TCTI $TPM2TOOLS_TCTI $TPM2OPENSSL_TCTI'`;
const TPMS = `
swtpm start
${TCTIS}
stdout '^(swtpm:path=\\S+) \\1 \\1$'
cp stdout first
exec tpm2_nvdefine -Q -C o -s 1 0x1500001
swtpm start second
${TCTIS}
! cmp stdout first
! exec tpm2_nvreadpublic 0x1500001
swtpm use
${TCTIS}
cmp stdout first
exec tpm2_nvreadpublic 0x1500001
swtpm kill
! exec tpm2_getrandom 4
swtpm unstarted
! exec tpm2_getrandom 4
swtpm restart
exec tpm2_getrandom 4
swtpm clear
! exec tpm2_nvreadpublic 0x1500001
swtpm empty
swtpm empty second`;
itTpm("runScript() gives a script software TPMs, each of its own", () => run(TPMS, TPM_TIMEOUT_MS));

const failingTpm: [name: string, script: string, message: RegExp][] = [
  [
    "what is left in a TPM",
    "swtpm start\nexec tpm2_createprimary -Q -c x\nswtpm empty",
    /:3: .*\nmissing: nothing loaded in the TPM, got 0x80000000/,
  ],
  ["a TPM that was never started", "swtpm start\nswtpm use other", /no TPM other/],
  ["two TPMs of one name", "swtpm start\nswtpm start", /there is a TPM tpm already/],
  ["an unknown verb", "swtpm start\nswtpm dance", /unknown verb dance/],
];
for (const [name, script, message] of failingTpm) {
  itTpm(
    `runScript() reports ${name}`,
    () => assert.rejects(async () => await run(script, TPM_TIMEOUT_MS), { message }),
  );
}

itTpm("runScript() ends the TPM of a script that fails, also one that is frozen", async () => {
  const show =
    "exec sh -c 'place=${AMESH_TPM_TCTI#*=}; place=${place%/*}; echo $place $(cat $place/pid); false'";
  await assert.rejects(
    async () => await run(`swtpm start\nswtpm freeze\n${show}`, TPM_TIMEOUT_MS),
    ({ message }: Error) => {
      const [, place, pid] = /^--- stdout\n(\/\S+) (\d+)$/m.exec(message) ?? assert.fail(message);
      assert.ok(hasEnded(Number(pid)), message);
      assert.equal(existsSync(place!), false);
      return true;
    },
  );
});

test("skipReason() tells a script that would do nothing from one that runs", () => {
  const reason = (text: string) => skipReason(parseScript("some.txtar", text), standIn);
  assert.equal(reason("[unix] skip 'not today'\namesh 0"), "not today");
  assert.equal(reason("[!unix] skip never\namesh 0"), null);
  assert.equal(reason("[target:other] amesh 0\n# only a comment"), "no line of it applies here");
  assert.equal(reason("[moon] amesh 0"), null);
});
