/**
 * `deno task test:vm`: the Bun executable on the kernel's own TPM driver, in a virtual machine whose chip is swtpm.
 *
 * The guest is Debian's kernel with an initramfs of busybox, tpm2-tools, libtss2 and amesh. It runs scripts of tests/vm/,
 * which print a line per check. Root's home directory is carried from one boot to the next.
 */
import { basename, dirname, join, resolve } from "node:path";
import { runProgram } from "./build.ts";
import { hasProgram } from "./debian_packages.ts";

const ROOT = resolve(import.meta.dirname!, "..");
const SCRIPTS = join(ROOT, "tests", "vm");
/** Under software emulation a boot and its checks take some 20 s. */
const BOOT_TIME_LIMIT_MS = 240_000;
/** What swtpm has to open its socket, in milliseconds. */
const START_LIMIT_MS = 10_000;
/** What a guest prints when its TPM shall stop, and what it must say before it may go on. */
const FREEZE = "FREEZE";
const GAVE_UP = "it does not answer";
const HOME_BEGIN = "HOME-BEGIN";
const HOME_END = "HOME-END";
/** What a guest prints when its script ran to its last line; a script that breaks off says another number. */
const COMPLETE = "SCRIPT-EXIT 0";
const ARCHIVE = /HOME-BEGIN\s+([A-Za-z0-9+/=\s]*?)\s*HOME-END/;

const PACKAGES: Readonly<Record<string, string>> = {
  "qemu-system-x86_64": "qemu-system-x86",
  swtpm: "swtpm",
  tpm2: "tpm2-tools",
  busybox: "busybox-static",
  cpio: "cpio",
};
const LIBRARIES = "/usr/lib/x86_64-linux-gnu";
const TOOLS = ["clear", "createprimary", "evictcontrol", "getcap"];

/** @throws {Error} the program failed, with what it said. */
async function call(...argv: string[]): Promise<string> {
  const { success, text } = await runProgram(argv);
  if (!success) throw new Error(`${argv.join(" ")}:\n${text}`);
  return text;
}

async function findKernel(): Promise<string | undefined> {
  const found: string[] = [];
  for await (const { name } of Deno.readDir("/boot")) if (name.startsWith("vmlinuz-")) found.push(name);
  const last = found.sort(new Intl.Collator("en", { numeric: true }).compare).at(-1);
  return last === undefined ? undefined : join("/boot", last);
}

/** @returns the kernel. @throws {Error} that names what is missing and cannot be installed. */
async function requirePrograms(): Promise<string> {
  const missing = async () => [
    ...Object.entries(PACKAGES).filter(([program]) => !hasProgram(program)).map(([, name]) => name),
    ...await findKernel() === undefined ? ["linux-image-amd64"] : [],
  ];
  let names = await missing();
  if (names.length > 0 && Deno.uid() === 0) {
    console.log(`installing ${names.join(", ")}`);
    const env = { ...Deno.env.toObject(), DEBIAN_FRONTEND: "noninteractive" };
    await runProgram(["apt-get", "update", "--quiet=2"], { env });
    await runProgram(["apt-get", "install", "--quiet=2", "--yes", "--no-install-recommends", ...names], {
      env,
    });
    names = await missing();
  }
  if (names.length > 0) throw new Error(`these Debian packages are missing: ${names.join(", ")}`);
  return await findKernel() ?? "";
}

/** Copies a file to its own path below `tree`, with the libraries that it is linked with. */
async function put(tree: string, path: string, target = path): Promise<void> {
  await Deno.mkdir(dirname(tree + target), { recursive: true });
  await Deno.copyFile(await Deno.realPath(path), tree + target);
  const { text } = await runProgram(["ldd", path]);
  for (const [library] of text.matchAll(/\/\S+/g)) {
    // The guest is usr-merged.
    const place = library.startsWith("/usr") ? library : `/usr${library}`;
    if (await Deno.stat(tree + place).catch(() => null) === null && library !== `${path}:`) {
      await Deno.mkdir(dirname(tree + place), { recursive: true });
      await Deno.copyFile(await Deno.realPath(library), tree + place);
    }
  }
}

const INIT = `#!/bin/sh
export PATH=/bin:/sbin:/usr/bin TERM=dumb
mount -t devtmpfs none /dev; mount -t proc none /proc; mount -t sysfs none /sys; mount -t tmpfs none /tmp
chmod 1777 /tmp
stty -F /dev/ttyS1 raw -echo
i=0; while [ ! -e /dev/tpmrm0 ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done
chown root:tss /dev/tpmrm0; chmod 0660 /dev/tpmrm0
exec > /dev/ttyS1 2>&1 < /dev/null
cd /root
setsid sh /script.sh
echo "SCRIPT-EXIT $?"
echo ${HOME_BEGIN}; tar -C /root -c .amesh | base64; echo ${HOME_END}
sync; poweroff -f
`;

/** Everything that the guest's file system holds besides a boot's script and home. */
async function makeTree(tree: string, executable: string): Promise<void> {
  for (
    const name of [
      "bin",
      "sbin",
      "dev",
      "proc",
      "sys",
      "tmp",
      "root",
      "etc",
      "usr/bin",
      "usr/lib",
      "usr/lib64",
      "vm",
    ]
  ) {
    await Deno.mkdir(join(tree, name), { recursive: true });
  }
  await Deno.symlink("usr/lib", join(tree, "lib"));
  await Deno.symlink("usr/lib64", join(tree, "lib64"));
  await Deno.copyFile("/bin/busybox", join(tree, "bin", "busybox"));
  for (
    const applet of (await call("/bin/busybox", "--list")).split("\n").filter((name) =>
      name && name !== "busybox"
    )
  ) {
    await Deno.symlink("busybox", join(tree, "bin", applet));
  }
  await put(tree, "/usr/bin/tpm2");
  for (const tool of TOOLS) await Deno.symlink("tpm2", join(tree, "usr", "bin", `tpm2_${tool}`));
  for (const name of ["esys.so.0", "mu.so.0", "rc.so.0", "sys.so.1", "tctildr.so.0", "tcti-device.so.0"]) {
    await put(tree, `${LIBRARIES}/libtss2-${name}`);
  }
  await put(tree, executable, "/usr/bin/amesh");
  await Deno.chmod(join(tree, "root"), 0o700);
  const users = [
    "root:x:0:0::/root:/bin/sh",
    "outsider:x:1000:1000::/tmp:/bin/sh",
    "member:x:1001:1001::/tmp:/bin/sh",
  ];
  await Deno.writeTextFile(join(tree, "etc", "passwd"), `${users.join("\n")}\n`);
  const groups = ["root:x:0:", "tss:x:111:member", "outsider:x:1000:", "member:x:1001:"];
  await Deno.writeTextFile(join(tree, "etc", "group"), `${groups.join("\n")}\n`);
  await Deno.writeTextFile(join(tree, "init"), INIT, { mode: 0o755 });
  await Deno.copyFile(join(SCRIPTS, "guest.sh"), join(tree, "vm", "guest.sh"));
}

/** One run of the machine. */
interface Boot {
  readonly kernel: string;
  readonly tree: string;
  readonly work: string;
  /** Directory of the TPM's state. */
  readonly tpm: string;
  /** How qemu offers the TPM to the guest. */
  readonly device: "tpm-crb" | "tpm-tis";
  /** Name of a script of tests/vm. */
  readonly script: string;
  /** tar of what root's home holds, in base64; empty for nothing. */
  readonly home: string;
}

/** What a run of the machine left. */
interface Outcome {
  /** What the guest printed on its serial line. */
  readonly output: string;
  /** Whether the guest gave up on its TPM while that was stopped; `null` when it did not ask for a stop. */
  readonly gaveUpWhileFrozen: boolean | null;
}

/** Programs that run at the moment. */
const children = new Set<Deno.ChildProcess>();

function spawn(program: string, args: readonly string[]): Deno.ChildProcess {
  const child = new Deno.Command(program, {
    args: [...args],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  children.add(child);
  child.status.finally(() => children.delete(child));
  return child;
}

/** @returns `false` when the program has ended. */
function signal(child: Deno.ChildProcess, name: Deno.Signal): boolean {
  if (!children.has(child)) return false;
  try {
    child.kill(name);
    return true;
  } catch {
    return false;
  }
}

/** @throws {Error} swtpm ended, or did not open its socket in time. */
async function startTpm(state: string, socket: string): Promise<Deno.ChildProcess> {
  const args = ["socket", "--tpm2", "--tpmstate", `dir=${state}`, "--ctrl", `type=unixio,path=${socket}`];
  const swtpm = spawn("swtpm", [...args, "--terminate"]);
  const deadline = performance.now() + START_LIMIT_MS;
  while (await Deno.stat(socket).catch(() => null) === null) {
    if (!children.has(swtpm)) throw new Error("swtpm does not start");
    if (performance.now() > deadline) {
      signal(swtpm, "SIGKILL");
      throw new Error("swtpm does not open its socket");
    }
    await new Promise((wake) => setTimeout(wake, 20));
  }
  return swtpm;
}

/** Whether the processor can run the guest itself; /dev/kvm alone does not tell. */
async function canVirtualise(): Promise<boolean> {
  if (!/\b(vmx|svm)\b/.test(await Deno.readTextFile("/proc/cpuinfo"))) return false;
  try {
    (await Deno.open("/dev/kvm", { read: true, write: true })).close();
    return true;
  } catch {
    return false;
  }
}

async function boot({ kernel, tree, work, tpm, device, script, home }: Boot): Promise<Outcome> {
  await Deno.mkdir(tpm, { recursive: true });
  await Deno.copyFile(join(SCRIPTS, script), join(tree, "script.sh"));
  await Deno.remove(join(tree, "root"), { recursive: true });
  await Deno.mkdir(join(tree, "root"), { mode: 0o700 });
  if (home !== "") {
    await Deno.writeFile(join(work, "home.tar"), Uint8Array.fromBase64(home));
    await call("tar", "-C", join(tree, "root"), "-xpf", join(work, "home.tar"));
  }
  const initrd = join(work, "initrd");
  await call("sh", "-c", `cd "$1" && find . | cpio --quiet -o -H newc > "$2"`, "sh", tree, initrd);
  const socket = join(work, "tpm.sock");
  const serial = join(work, "serial");
  await Deno.writeTextFile(serial, "");
  const kvm = await canVirtualise();
  const swtpm = await startTpm(tpm, socket);
  const qemu = spawn("qemu-system-x86_64", [
    ...[
      "-machine",
      `q35,accel=${kvm ? "kvm" : "tcg"}`,
      "-cpu",
      kvm ? "host" : "max",
      "-m",
      "1536",
      "-smp",
      "2",
    ],
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...["-kernel", kernel, "-initrd", initrd],
    ...["-append", "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on"],
    ...["-serial", `file:${join(work, "console")}`, "-serial", `file:${serial}`],
    ...["-chardev", `socket,id=c,path=${socket}`, "-tpmdev", "emulator,id=t,chardev=c"],
    ...["-device", `${device},tpmdev=t`],
  ]);
  const limit = setTimeout(() => signal(qemu, "SIGKILL"), BOOT_TIME_LIMIT_MS);
  let isFrozen = false;
  let gaveUpWhileFrozen: boolean | null = null;
  const watch = setInterval(() => {
    const [, afterMark] = Deno.readTextFileSync(serial).split(FREEZE);
    if (afterMark === undefined) return;
    gaveUpWhileFrozen ??= false;
    const gaveUp = afterMark.includes(GAVE_UP);
    if (!isFrozen && !gaveUp) isFrozen = signal(swtpm, "SIGSTOP");
    if (isFrozen && gaveUp) {
      gaveUpWhileFrozen = true;
      isFrozen = false;
      signal(swtpm, "SIGCONT");
    }
  }, 200);
  try {
    await qemu.status;
    return { output: await Deno.readTextFile(serial), gaveUpWhileFrozen };
  } finally {
    clearTimeout(limit);
    clearInterval(watch);
    for (const child of [qemu, swtpm]) {
      signal(child, "SIGKILL");
      await child.status;
    }
    await Deno.remove(socket).catch(() => {});
  }
}

/** Boots and reports. @returns root's home afterwards; and the counts of its checks are added to `counts`. */
async function run(options: Boot, counts: { passed: number; failed: number }): Promise<string> {
  console.log(`....  ${options.script} (${options.device})`);
  const start = performance.now();
  const { output, gaveUpWhileFrozen } = await boot(options);
  const home = ARCHIVE.exec(output)?.[1]?.replaceAll(/\s+/g, "");
  const lines = output.replace(ARCHIVE, "").split(/\r?\n/).filter((line) => line.trim() !== "");
  const isComplete = home !== undefined && lines.includes(COMPLETE);
  if (!isComplete) console.log(await Deno.readTextFile(join(options.work, "console")).catch(() => ""));
  lines.push(`${isComplete ? "ok" : "not ok"} the script came to its end`);
  if (gaveUpWhileFrozen !== null) {
    lines.push(`${gaveUpWhileFrozen ? "ok" : "not ok"} the message came while the TPM stood still`);
  }
  const passed = lines.filter((line) => line.startsWith("ok ")).length;
  const failed = lines.filter((line) => line.startsWith("not ok ")).length;
  for (const line of lines) console.log(`      ${line.replace(/^not ok /, "FAIL ")}`);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(
    `${failed > 0 ? "FAIL" : "ok  "}  ${
      basename(options.script)
    }: ${passed} passed, ${failed} failed (${seconds} s)`,
  );
  counts.passed += passed;
  counts.failed += failed;
  return home ?? "";
}

async function main(): Promise<number> {
  if (Deno.build.arch !== "x86_64") {
    throw new Error("the virtual machine is an x86-64 one, and so must this be");
  }
  const kernel = await requirePrograms();
  const work = await Deno.makeTempDir({ prefix: "amesh-vm-" });
  const clean = () => {
    for (const child of children) signal(child, "SIGKILL");
    Deno.removeSync(work, { recursive: true });
  };
  for (const [name, code] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
    Deno.addSignalListener(name, () => {
      clean();
      Deno.exit(code);
    });
  }
  try {
    const executable = join(work, "amesh");
    const compile = join(ROOT, "scripts", "compile.ts");
    await call(Deno.execPath(), "run", "--allow-all", compile, "--runtime=bun", `--output=${executable}`);
    const tree = join(work, "tree");
    await makeTree(tree, executable);
    const machine = { kernel, tree, work, tpm: join(work, "tpm"), device: "tpm-crb" } as const;
    const counts = { passed: 0, failed: 0 };
    const home = await run({ ...machine, script: "first_boot.sh", home: "" }, counts);
    const later = await run({ ...machine, script: "second_boot.sh", home }, counts);
    const other = { ...machine, tpm: join(work, "other-tpm"), device: "tpm-tis" } as const;
    await run({ ...other, script: "other_machine.sh", home: later }, counts);
    await run({ ...machine, script: "cleared.sh", home: later }, counts);
    console.log(`${counts.passed} passed, ${counts.failed} failed`);
    return counts.failed === 0 ? 0 : 1;
  } finally {
    clean();
  }
}

try {
  Deno.exitCode = await main();
} catch (error) {
  console.error(`test:vm: error: ${(error as Error).message}`);
  Deno.exitCode = 1;
}
