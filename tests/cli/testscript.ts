/**
 * Runs testscripts; README.md of this folder describes them. An unknown command or condition is a failure, and a
 * failure names `file:line`, the command, what was wrong, and both streams of the last program in full.
 */
import * as fs from "node:fs";
import { delimiter, join } from "node:path";
import process from "node:process";
import { startSshd } from "../support/sshd.ts";
import { TEST_HELPER_VARIABLE } from "../../src/apple/find_helper.ts";
import { DOUBLE_VARIABLE } from "../../src/apple/library.ts";
import {
  buildSecurityDouble,
  checkProcesses,
  makeKeychain,
  permitDouble,
  records,
} from "../support/security_double.ts";
import { makeFakeHelper, permitFakeHelper } from "../support/fake_helper.ts";
import { startSwtpm } from "../support/swtpm.ts";
import { applies, expandWord, findProgram, type Script, SEARCH_PATH, type Target } from "./script.ts";
import { ScriptRun } from "./script_process.ts";

/** How long a script may take, in milliseconds, and the directory that `fixture NAME` copies from. */
export interface ScriptOptions {
  readonly timeoutMs: number;
  readonly fixtures: string;
}

/** For root without what makes it root: modes apply to it, while its own files stay its own. */
const NO_CAPABILITIES = ["--bounding-set=-all", "--inh-caps=-all"];
/** Another user; it may still read everything, because the runtime and its cache may stand in root's home. */
const NOBODY = [
  ...["--reuid=65534", "--regid=65534", "--clear-groups"],
  ...["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"],
];

type Command = (run: ScriptRun, args: readonly string[], negated: boolean) => unknown;

function check(holds: boolean, negated: boolean, what: string): void {
  if (holds === negated) throw new Error(`${negated ? "unexpected" : "missing"}: ${what}`);
}

/** `[-count=N] REGEX`; the lone `.` means any byte at all, a newline too. */
function checkText(text: string, args: readonly string[], negated: boolean, where: string): void {
  const count = /^-count=(\d+)$/.exec(args[0] ?? "")?.[1];
  const pattern = args[count === undefined ? 0 : 1] ?? ".";
  const found = text.match(new RegExp(pattern === "." ? "[^]" : pattern, "gmu"))?.length ?? 0;
  if (count === undefined) check(found > 0, negated, `${pattern} in ${where}`);
  else if (found !== Number(count)) {
    throw new Error(`${found} matches of ${pattern} in ${where}, expected ${count}`);
  }
}

function pick(json: string, path: string): unknown {
  const keys = path === "" ? [] : path.split(".");
  return keys.reduce(
    (value: unknown, key) => (value as Record<string, unknown> | undefined)?.[key],
    JSON.parse(json),
  );
}

/** `FILE PATH VALUE` sets a field of a JSON file, `@OTHER` as value takes it from there, no value removes it. */
function editJson(run: ScriptRun, file: string, path: string, source: string | undefined): void {
  const document = JSON.parse(run.read(file).toString());
  const keys = path.split(".");
  const field = keys.pop()!;
  const parent = keys.reduce((value, key) => value[key], document);
  if (source === undefined) delete parent[field];
  else {parent[field] = source.startsWith("@")
      ? pick(run.read(source.slice(1)).toString(), path)
      : JSON.parse(source);}
  fs.writeFileSync(run.path(file), JSON.stringify(document, null, 2) + "\n");
}

/** Starts, chooses and troubles a script's software TPMs. @throws {Error} an unknown verb or name, or a full TPM. */
function controlTpm(run: ScriptRun, verb: string, name: string): void {
  if (verb === "start") {
    if (run.tpms.has(name)) throw new Error(`there is a TPM ${name} already`);
    run.tpms.set(name, startSwtpm());
  }
  const tpm = run.tpms.get(name);
  if (tpm === undefined) throw new Error(`no TPM ${name}`);
  const loaded = () => [...tpm.transientHandles(), ...tpm.loadedSessions()];
  const verbs: Readonly<Record<string, () => void>> = {
    start: () => verbs["use"]!(),
    use: () => {
      for (const variable of ["AMESH_TPM_TCTI", "TPM2TOOLS_TCTI", "TPM2OPENSSL_TCTI"]) {
        run.env.set(variable, tpm.tcti);
      }
    },
    kill: () => tpm.kill(),
    restart: () => tpm.restart(),
    unstarted: () => tpm.restart({ startup: false }),
    freeze: () => tpm.freeze(),
    thaw: () => tpm.thaw(),
    clear: () => tpm.clear(),
    empty: () => check(loaded().length === 0, false, `nothing loaded in the TPM, got ${loaded()}`),
  };
  if (!Object.hasOwn(verbs, verb)) throw new Error(`unknown verb ${verb}`);
  verbs[verb]!();
}

/** Gives a script a Mac, whose keychain it can then count. @throws {Error} an unknown verb, another number of keys. */
function controlMac(run: ScriptRun, verb: string, count: string): void {
  const keychain = join(run.root, "keychain");
  const verbs: Readonly<Record<string, () => void>> = {
    start: () => {
      fs.mkdirSync(keychain);
      makeKeychain(keychain);
      run.env.set(DOUBLE_VARIABLE, buildSecurityDouble());
      run.env.set("AMESH_DOUBLE_DIRECTORY", keychain);
    },
    keys: () => {
      const { length } = records(keychain);
      check(length === Number(count), false, `${count} keys in the keychain, got ${length}`);
    },
  };
  if (!Object.hasOwn(verbs, verb)) throw new Error(`unknown verb ${verb}`);
  verbs[verb]!();
}

/** Gives a script a Secure Enclave, or takes it away. @throws {Error} an unknown verb. */
function controlEnclave(run: ScriptRun, verb: string): void {
  if (verb === "remove") return void run.env.delete(TEST_HELPER_VARIABLE);
  if (verb !== "start") throw new Error(`unknown verb ${verb}`);
  const directory = join(run.root, "helper");
  fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
  run.env.set(TEST_HELPER_VARIABLE, makeFakeHelper(directory));
}

/** The target with the permissions that the stand-ins of a script need. */
function permitted(target: Target, uses: (command: string) => boolean): Target {
  const withMac = uses("mac") ? permitDouble(target.argv) : target.argv;
  return { ...target, argv: uses("enclave") ? permitFakeHelper(withMac) : withMac };
}

function exec(
  run: ScriptRun,
  [name = "", ...args]: readonly string[],
  mustFail: boolean,
  extra: Readonly<Record<string, string>> = {},
): Promise<void> {
  const program = name === "amesh" ? join(run.bin, name) : findProgram(name);
  if (program === null) throw new Error(`no program ${name}`);
  const env = { ...run.target.env, PATH: run.bin + delimiter + SEARCH_PATH, ...extra };
  return run.run([program, ...args], env, mustFail);
}

/** Programs of Python may import those of this folder, and leave nothing in it. */
const PYTHON = { PYTHONPATH: import.meta.dirname!, PYTHONDONTWRITEBYTECODE: "1" };

function python(run: ScriptRun, args: readonly string[], mustFail: boolean): Promise<void> {
  return exec(run, ["python3", ...args], mustFail, PYTHON);
}

async function startServer(run: ScriptRun): Promise<void> {
  const program = findProgram("sshd");
  if (program === null) throw new Error("no program sshd");
  const path = run.bin + delimiter + SEARCH_PATH;
  run.sshd = await startSshd(program, join(run.work, "sshd"), { WORK: run.work, PATH: path, ...PYTHON });
  run.env.set("SSHD_PORT", `${run.sshd.port}`);
}

/** What still runs when a script is over; what has been told to end may take its time. */
async function requireNoStrays(run: ScriptRun, file: string): Promise<void> {
  if (run.background.length > 0) throw new Error(`${file}: a background program was not waited for`);
  const servers = run.sshd === null ? [] : [run.sshd.pid];
  const strays = () => run.strays().filter((pid) => !servers.includes(pid));
  for (let tries = 0; strays().length > 0 && tries < 100; tries++) {
    await new Promise((wake) => setTimeout(wake, 20));
  }
  const left = strays().map((pid) => fs.readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " "));
  if (left.length > 0) throw new Error(`${file}: still running: ${left.join(", ")}`);
}

function commands(options: ScriptOptions): Readonly<Record<string, Command>> {
  return {
    amesh: (run, args, not) => run.run([...run.target.argv, ...args], run.target.env, not),
    exec: (run, args, not) => exec(run, args, not),
    person: (run, args, not) => exec(run, ["python3", join(import.meta.dirname!, "person.py"), ...args], not),
    client: (run, args, not) => python(run, ["-m", "agent_client", ...args], not),
    python: (run, args, not) => python(run, args, not),
    exitcode: (run, codes, not) =>
      check(codes.includes(`${run.last.code}`), not, `exit code, got ${run.last.code}`),
    async wait(run, codes, not) {
      const started = run.background.splice(0);
      for (const { ended } of started) {
        run.last = await ended;
        const { code } = run.last;
        check((codes.length === 0 ? ["0"] : codes).includes(`${code}`), not, `exit code, got ${code}`);
      }
    },
    signal: (run, [name]) =>
      run.background.forEach(({ child }) => process.kill(child.pid!, name as NodeJS.Signals)),
    sleep: (_run, [milliseconds]) => new Promise((wake) => setTimeout(wake, Number(milliseconds))),
    stdin: (run, [file = ""]) => void (run.stdin = file),
    stdout: (run, args, not) => checkText(run.read("stdout").toString(), args, not, "stdout"),
    stderr: (run, args, not) => checkText(run.read("stderr").toString(), args, not, "stderr"),
    grep: (run, args, not) =>
      checkText(run.read(args.at(-1)!).toString(), args.slice(0, -1), not, args.at(-1)!),
    json(run, [file = "", path = "", pattern = "[^]*"], not) {
      const value = pick(run.read(file).toString(), path);
      const text = typeof value === "string" ? value : JSON.stringify(value) ?? "nothing";
      check(
        value !== undefined && new RegExp(pattern, "u").test(text),
        not,
        `${path} ${pattern}, got ${text}`,
      );
    },
    edit: (run, [file = "", path = "", source]) => editJson(run, file, path, source),
    cmp: (run, [one = "", two = ""], not) =>
      check(run.read(one).equals(run.read(two)), not, `${one} same as ${two}`),
    size(run, [file = "", bytes], not) {
      const { length } = run.read(file);
      check(length === Number(bytes), not, `${bytes} bytes in ${file}, got ${length}`);
    },
    exists(run, files, not) {
      const find = (file: string) => fs.lstatSync(run.path(file), { throwIfNoEntry: false });
      files.forEach((file) => check(find(file) !== undefined, not, file));
    },
    mode(run, [file = "", octal = ""], not) {
      const mode = (fs.lstatSync(run.path(file)).mode & 0o7777).toString(8).padStart(4, "0");
      check(mode === octal.padStart(4, "0"), not, `mode ${octal} of ${file}, got ${mode}`);
    },
    env: (run, pairs) =>
      pairs.forEach((pair) => run.env.set(pair.split("=")[0]!, pair.slice(pair.indexOf("=") + 1))),
    unset: (run, names) => names.forEach((name) => run.env.delete(name)),
    cd: (run, [folder = ""]) => void (run.cwd = run.path(folder)),
    cp: (run, [from = "", to = ""]) => fs.writeFileSync(run.path(to), run.read(from), { mode: 0o600 }),
    mkdir: (run, folders) => folders.forEach((folder) => fs.mkdirSync(run.path(folder), { mode: 0o700 })),
    chmod: (run, [octal = "", ...files]) =>
      files.forEach((file) => fs.chmodSync(run.path(file), parseInt(octal, 8))),
    rm: (run, files) => files.forEach((file) => fs.rmSync(run.path(file), { recursive: true })),
    symlink: (run, [to = "", link = ""]) => fs.symlinkSync(to, run.path(link)),
    umask: (run, [octal = ""]) => run.runThrough("/bin/sh", "-c", `umask ${octal}; exec "$@"`, "sh"),
    unprivileged: (run) =>
      process.getuid?.() === 0 && run.runThrough(findProgram("setpriv")!, ...NO_CAPABILITIES),
    nobody: (run) => run.runThrough(findProgram("setpriv")!, ...NOBODY),
    sshd: startServer,
    mac: (run, [verb = "", count = ""]) => controlMac(run, verb, count),
    enclave: (run, [verb = ""]) => controlEnclave(run, verb),
    swtpm: (run, [verb = "", name = "tpm"]) => controlTpm(run, verb, name),
    fixture: (run, [name = "", to = ".amesh"]) => run.copyFixture(join(options.fixtures, name), run.path(to)),
  };
}

/** Runs one script to its end or to its first failing line, and removes its directory. @throws {Error} it failed. */
export async function runScript(script: Script, target: Target, options: ScriptOptions): Promise<void> {
  const vocabulary = commands(options);
  const uses = (command: string) => script.lines.some(({ words }) => words[0] === command);
  const run = new ScriptRun(permitted(target, uses), script);
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    run.killAll();
  }, options.timeoutMs);
  try {
    for (const line of script.lines) {
      try {
        if (!applies(line, target)) continue;
        const [name = "", ...args] = line.words.map((word) => expandWord(word, run.env));
        if (!Object.hasOwn(vocabulary, name)) throw new Error(`unknown command ${name}`);
        await vocabulary[name]!(run, args, line.negated);
        if (timedOut) throw new Error();
      } catch (error) {
        const reason = timedOut ? `timed out after ${options.timeoutMs} ms` : (error as Error).message;
        const streams = `--- stdout\n${run.read("stdout")}\n--- stderr\n${run.read("stderr")}`;
        throw new Error(`${script.file}:${line.number}: ${line.text}\n${reason}\n${streams}`);
      }
    }
    if (uses("mac")) checkProcesses(join(run.root, "keychain"));
    await requireNoStrays(run, script.file);
  } finally {
    clearTimeout(timer);
    run.remove();
  }
}
