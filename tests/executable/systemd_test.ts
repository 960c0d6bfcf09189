/**
 * The units of packaging/systemd under a real systemd: it boots as the first process of namespaces of its own, makes the
 * user, hands out the passphrase as a credential, and shuts the services in as the units say. Root only.
 */
import assert from "node:assert/strict";
import { chmodSync, copyFileSync, cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { hasProgram } from "../../scripts/debian_packages.ts";
import { absentTargets, type Target, targets } from "../support/executables.ts";
import { run, Scratch } from "./harness.ts";

const UNITS = join(import.meta.dirname!, "..", "..", "packaging", "systemd");
const BOOT = join(import.meta.dirname!, "..", "support", "boot_systemd.sh");
const NAMESPACES = ["--pid", "--fork", "--kill-child", "--mount", "--cgroup", "--uts", "--ipc"];
const PASSPHRASE = "a passphrase that systemd hands out";
const PATH = "/usr/bin:/bin:/usr/sbin:/sbin";

function whyNot(): string | false {
  if (process.platform !== "linux" || process.getuid?.() !== 0) {
    return "only root of a Linux can boot systemd";
  }
  if (!hasProgram("systemd-analyze")) return "systemd is not installed";
  const probe = ["/usr/bin/env", "unshare", ...NAMESPACES, "mount", "-t", "cgroup2", "cgroup2", "/mnt"];
  return run(probe, { cwd: "/", env: { PATH } }).code === 0
    ? false
    : "no namespaces with control groups here";
}

const skip = whyNot();

/** What a machine left when it had booted. */
interface Boot {
  /** Text of a file that the machine left in /share; empty when there is none. */
  readonly left: (name: string) => string;
  readonly share: string;
}

/** The last unit: tells how the others went, as root and unconfined, and ends the machine. */
const FINISH = `[Unit]
DefaultDependencies=no
Wants=amesh-boot-report.service
After=amesh-boot-report.service amesh-init.service
SuccessAction=exit-force
FailureAction=exit-force

[Service]
Type=oneshot
ExecStart=/bin/sh /etc/finish.sh
StandardError=append:/share/finish.err
`;
const FINISH_SCRIPT = `cd /share
systemctl show --property=Result,ExecMainStatus amesh-init.service > init
systemctl show --property=Result,ExecMainStatus amesh-boot-report.service > report-unit
stat --format='%a %U %n' /var/lib/amesh /var/lib/amesh/.??* /var/lib/amesh/keys/* > state
cp /run/amesh-boot-report/* .
export AUTH_MESH_DIR=/var/lib/amesh
setpriv --reuid=amesh --regid=amesh --clear-groups amesh public-key > key.pem || test $? = 3
`;
/** docs/systemd.md, "Another passphrase": what is sealed anew is opened with the new credential at the next start. */
const CHANGE_SCRIPT = `cd /etc/credstore.encrypted
new=$(openssl rand -base64 32)
printf %s "$new" | systemd-creds encrypt --with-key=host --name=amesh-passphrase - amesh-passphrase.new
printf %s "$new" | setpriv --reuid=amesh --regid=amesh --clear-groups \\
  env AUTH_MESH_DIR=/var/lib/amesh CREDENTIALS_DIRECTORY=/run/credentials/amesh-init.service \\
  amesh passphrase change --new-passphrase-fd 0 > /share/change.out 2> /share/change.err
! systemctl restart amesh-boot-report || exit 1
mv amesh-passphrase.new amesh-passphrase
systemctl restart amesh-boot-report
`;
/** Before the others: what a person does once. */
const PREPARE = `[Unit]
DefaultDependencies=no
Before=amesh-init.service

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'systemd-creds encrypt --with-key=host --name=amesh-passphrase - /etc/credstore.encrypted/amesh-passphrase'
RemainAfterExit=yes
StandardInputText=${PASSPHRASE}
`;
/** There is no udev, no journal and no network on this machine to wait for or to write to. */
const TEST_DROP_IN = `[Unit]
DefaultDependencies=no

[Service]
StandardOutput=append:/share/%N.out
StandardError=append:/share/%N.err
`;

/** What signs can read the key and not change it. */
const READ_ONLY = `[Service]
ExecStartPost=/bin/sh -c 'test -r /var/lib/amesh/identity.json && ! touch /var/lib/amesh/new'
`;

/** Boots a machine with amesh's units. @param prepare changes its root directory first. */
function boot(scratch: Scratch, target: Target, prepare: (etc: string) => void): Boot {
  const [root, share] = [scratch.directory(), scratch.directory()];
  for (const directory of [root, share, scratch.path]) chmodSync(directory, 0o755);
  const etc = join(root, "etc");
  const system = join(etc, "systemd", "system");
  const dropIns = join(system, "amesh-.service.d");
  const directories = [dropIns, join(system, "amesh-boot-report.service.d"), join(etc, "sysusers.d")];
  directories.push(join(etc, "credstore.encrypted"), join(root, "amesh"));
  for (const path of directories) mkdirSync(path, { recursive: true });
  copyFileSync(target.argv[0]!, join(root, "amesh", "amesh"));
  for (const unit of ["amesh-init.service", "amesh-boot-report.service"]) {
    copyFileSync(join(UNITS, unit), join(system, unit));
  }
  copyFileSync(join(UNITS, "amesh.sysusers"), join(etc, "sysusers.d", "amesh.conf"));
  const files = {
    "finish.sh": FINISH_SCRIPT,
    "hostname": "booted-machine\n",
    "machine-id": `${"0123456789abcdef".repeat(2)}\n`,
    "os-release": "ID=test\n",
    "passwd": "root:x:0:0::/root:/bin/sh\n",
    "group": "root:x:0:\n",
    "systemd/system/finish.service": FINISH,
    "systemd/system/amesh-.service.d/test.conf": TEST_DROP_IN,
    "systemd/system/amesh-boot-report.service.d/test.conf": READ_ONLY,
  };
  for (const [name, content] of Object.entries(files)) writeFileSync(join(etc, name), content);
  prepare(etc);
  const setting = { cwd: scratch.path, env: { PATH } };
  const users = run(["/usr/bin/env", "systemd-sysusers", `--root=${root}`, "amesh.conf"], setting);
  assert.equal(users.code, 0, users.stderr);
  const machine = ["unshare", ...NAMESPACES, "sh", BOOT, root, share, "finish.service"];
  const { code, stderr } = run(["/usr/bin/env", ...machine], setting);
  const left = (name: string) => {
    try {
      return readFileSync(join(share, name), "utf8");
    } catch {
      return "";
    }
  };
  assert.equal(code, 0, stderr + left("finish.err"));
  return { left, share };
}

function useDropIn(etc: string, name: string): void {
  cpSync(join(UNITS, "amesh-.service.d", name), join(etc, "systemd", "system", "amesh-.service.d", name));
}

const DONE = "Result=success\nExecMainStatus=0\n";

function checkReport({ left, share }: Boot): void {
  assert.equal(left("init"), DONE, left("amesh-init.err"));
  assert.equal(left("report-unit"), DONE, left("amesh-boot-report.err"));
  assert.match(left("amesh-init.out"), /^Name: +booted-machine$/m);
  assert.match(left("report"), /^ID=test\n[0-9a-f]{32}\n[0-9a-f-]{36}\n$/);
  const openssl = ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "report.sig", "report"];
  assert.equal(run(["/usr/bin/env", ...openssl], { cwd: share, env: { PATH } }).stdout, "Verified OK\n");
}

for (const target of targets().filter(({ name }) => name !== "source")) {
  test(`${target.name}: the units make an identity and sign with systemd's credential`, { skip }, () => {
    using scratch = new Scratch();
    const booted = boot(scratch, target, (etc) => {
      useDropIn(etc, "credential.conf");
      mkdirSync(join(etc, "amesh"));
      writeFileSync(join(etc, "amesh", "passphrase"), PASSPHRASE, { mode: 0o600 });
    });
    checkReport(booted);
    // The passphrase of the credential is in force, and no file holds it.
    assert.deepEqual(
      booted.left("state").trimEnd().split("\n").map((line) => line.replace(/am_\S+?\./, "ID.")),
      [
        "700 amesh /var/lib/amesh",
        "600 amesh /var/lib/amesh/.lock",
        "600 amesh /var/lib/amesh/keys/ID.key.json",
      ],
    );
  });

  test(`${target.name}: the units take an encrypted credential, and another passphrase in its place`, {
    skip,
  }, () => {
    using scratch = new Scratch();
    const booted = boot(scratch, target, (etc) => {
      useDropIn(etc, "encrypted-credential.conf");
      const system = join(etc, "systemd", "system");
      writeFileSync(join(system, "prepare.service"), PREPARE);
      writeFileSync(join(etc, "finish.sh"), `${CHANGE_SCRIPT}${FINISH_SCRIPT}`);
      writeFileSync(join(system, "amesh-.service.d", "prepare.conf"), "[Unit]\nRequires=prepare.service\n");
    });
    checkReport(booted);
    assert.match(booted.left("change.out"), /^Passphrase: /m, booted.left("change.err"));
    assert.doesNotMatch(booted.left("state"), /passphrase/);
  });

  test(`${target.name}: without the credential no unit starts, and there is no identity`, { skip }, () => {
    using scratch = new Scratch();
    const { left } = boot(scratch, target, (etc) => useDropIn(etc, "credential.conf"));
    // EXIT_CREDENTIALS of systemd.exec(5).
    assert.equal(left("init"), "Result=exit-code\nExecMainStatus=243\n");
    assert.match(left("state"), /^\d+ \w+ \/var\/lib\/amesh\n$|^$/);
    assert.equal(left("report.sig"), "");
  });
}

for (const { name, reason } of absentTargets()) {
  test(`${name}: the units under a real systemd (${reason})`, { skip: reason }, () => {});
}
