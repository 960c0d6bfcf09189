import assert from "node:assert/strict";
import { test } from "node:test";
import { findDeviceObstacle, libraryObstacle, type SystemView } from "../../../src/tpm/host_device.ts";

const DEVICE = "/dev/tpmrm0";

/** A machine: what opening the device comes to, texts of files, and group and mode of paths. */
function system(
  errno: string | null,
  files: Readonly<Record<string, string>> = {},
  paths: Readonly<Record<string, { gid: number; mode: number }>> = {},
): SystemView {
  return {
    tryDevice: () => errno,
    info: (path) => paths[path] ?? (files[path] === undefined ? null : { gid: 0, mode: 0o644 }),
    read: (path) => files[path] ?? null,
  };
}

test("findDeviceObstacle() finds none in a device that opens", () => {
  assert.equal(findDeviceObstacle(DEVICE, system(null)), null);
});

const GROUP = "root:x:0:\ntss:x:111:alice\n";
const PASSWD =
  "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\nbob:x:1001:1001::/:/bin/sh\n";
const status = (uid: number) => `Name:\tamesh\nUid:\t${uid}\t${uid}\t${uid}\t${uid}\n`;
const people = (uid: number) => ({
  "/etc/group": GROUP,
  "/etc/passwd": PASSWD,
  "/proc/self/status": status(uid),
});
const device = (gid: number, mode: number) => ({ [DEVICE]: { gid, mode } });

const MAKERS: [maker: string, product: string][] = [
  ["Amazon EC2", "t3.micro"],
  ["DigitalOcean", "Droplet"],
  ["Google", "Google Compute Engine"],
  ["Hetzner", "vServer"],
  ["Microsoft Corporation", "Virtual Machine"],
  ["OpenStack Foundation", "OpenStack Nova"],
  ["Parallels International GmbH.", "Parallels Virtual Platform"],
  ["Red Hat", "KVM"],
  ["VMware, Inc.", "VMware7,1"],
  ["Xen", "HVM domU"],
  ["innotek GmbH", "VirtualBox"],
];
for (const [maker, product] of MAKERS) {
  test(`findDeviceObstacle() names the maker of a virtual machine: ${maker}`, () => {
    const view = system("ENOENT", {
      "/sys/class/dmi/id/sys_vendor": `${maker}\n`,
      "/sys/class/dmi/id/product_name": `${product}\n`,
    });
    assert.ok(findDeviceObstacle(DEVICE, view)!.cause.includes(`virtual machine (${maker}) has`));
  });
}

for (
  const cgroup of [
    "12:devices:/docker/0123\n",
    "0::/system.slice/containerd.service\n",
    "1:name=systemd:/lxc/web\n",
    "0::/machine.slice/libpod-0123.scope\n",
  ]
) {
  test(`findDeviceObstacle() takes ${cgroup.trim()} for a container's group`, () => {
    const obstacle = findDeviceObstacle(DEVICE, system("ENOENT", { "/proc/1/cgroup": cgroup }))!;
    assert.match(obstacle.cause, /this is a container$/);
  });
}

const machines: [string, SystemView, RegExp, RegExp][] = [
  ["real hardware", system("ENOENT"), /kernel found no TPM$/, /firmware setup/],
  [
    "real hardware with all its files",
    system("ENOENT", {
      "/sys/class/dmi/id/sys_vendor": "LENOVO\n",
      "/sys/class/dmi/id/product_name": "20XW0000\n",
      "/proc/cpuinfo": "flags\t: fpu vmx lm\nvmx flags\t: vnmi hypervisor\n",
      "/proc/1/cgroup": "0::/init.scope\n",
    }),
    /kernel found no TPM$/,
    /firmware setup/,
  ],
  [
    "a virtual machine",
    system("ENOENT", { "/sys/class/dmi/id/sys_vendor": "QEMU\n" }),
    /virtual machine \(QEMU\) has no virtual TPM$/,
    /vTPM/,
  ],
  [
    "a virtual machine that only its processor tells",
    system("ENOENT", { "/proc/cpuinfo": "flags\t: fpu hypervisor lm\n" }),
    /this virtual machine has no virtual TPM$/,
    /vTPM/,
  ],
  ["docker", system("ENOENT", { "/.dockerenv": "" }), /this is a container$/, /--device \/dev\/tpmrm0/],
  ["podman", system("ENOENT", { "/run/.containerenv": "" }), /this is a container$/, /give the host a TPM/],
  [
    "systemd-nspawn",
    system("ENOENT", { "/run/systemd/container": "systemd-nspawn" }),
    /container$/,
    /volume/,
  ],
  ["Kubernetes", system("ENOENT", { "/proc/1/cgroup": "0::/kubepods/x\n" }), /container$/, /encrypted-file/],
  [
    "a container on a host with a TPM",
    system("ENOENT", { "/.dockerenv": "" }, { "/sys/class/tpm/tpm0": { gid: 0, mode: 0o755 } }),
    /this is a container$/,
    /^start the container with --device/,
  ],
  [
    "a TPM 1.2",
    system("ENOENT", { "/sys/class/tpm/tpm0/tpm_version_major": "1\n" }),
    /has a TPM 1\.2$/,
    /TPM 2\.0 is needed/,
  ],
  [
    "a TPM without its shared device",
    system("ENOENT", {}, { "/sys/class/tpm/tpm0": { gid: 0, mode: 0o755 } }),
    /though the kernel has a TPM$/,
    /udevadm/,
  ],
  ["a device without driver", system("ENXIO"), /^there is no/, /encrypted-file/],
  ["a device without a chip", system("ENODEV"), /^there is no/, /encrypted-file/],
  [
    "a user outside of the group",
    system("EACCES", people(1001), device(111, 0o660)),
    /belongs to group "tss"$/,
    /usermod -aG tss .*new login/,
  ],
  [
    "a user who joined the group after this login",
    system("EACCES", people(1000), device(111, 0o660)),
    /group "tss", which you joined after this login$/,
    /^log in again .*newgrp tss/,
  ],
  [
    "the effective user's membership",
    system(
      "EACCES",
      { ...people(1000), "/proc/self/status": "Uid:\t1001\t1000\t1000\t1000\n" },
      device(111, 0o660),
    ),
    /which you joined after this login$/,
    /^log in again/,
  ],
  [
    "a group among others",
    system(
      "EACCES",
      { ...people(1001), "/etc/group": "a:x:1110:bob\nb:x:11:bob\ntss:x:111:\n" },
      device(111, 0o660),
    ),
    /belongs to group "tss"$/,
    /usermod -aG tss /,
  ],
  [
    "a user whom no account file knows",
    system("EACCES", { ...people(1001), "/etc/passwd": "root:x:0:0::/root:/bin/sh\n" }, device(111, 0o660)),
    /belongs to group "tss"$/,
    /usermod -aG tss /,
  ],
  [
    "a system without account files",
    system("EACCES", { "/proc/self/status": status(1000) }, device(111, 0o660)),
    /belongs to group "111"$/,
    /new login/,
  ],
  [
    "a group without a name",
    system("EACCES", people(1001), device(999, 0o660)),
    /belongs to group "999"$/,
    /usermod -aG 999/,
  ],
  [
    "a device of root's group",
    system("EACCES", people(1001), device(0, 0o660)),
    /only root may use it$/,
    /tpm-udev/,
  ],
  [
    "a device of mode 0600",
    system("EACCES", people(1001), device(111, 0o600)),
    /only root may use it$/,
    /tpm-udev/,
  ],
  [
    "a device that its group may only read",
    system("EACCES", people(1001), device(111, 0o640)),
    /only root may use it$/,
    /tpm-udev/,
  ],
  ["a device of which nothing is known", system("EACCES"), /only root may use it$/, /tpm-udev/],
  ["device rules", system("EPERM"), /device rules forbid it$/, /DeviceAllow=\/dev\/tpmrm0/],
  ["a device in use", system("EBUSY"), /held open by another program$/, /\/dev\/tpmrm0/],
  ["another error", system("EIO"), /cannot be opened \(EIO\)$/, /dmesg/],
];
for (const [what, view, cause, remedy] of machines) {
  test(`findDeviceObstacle() explains ${what}`, () => {
    const obstacle = findDeviceObstacle(DEVICE, view)!;
    assert.match(obstacle.cause, cause);
    assert.match(obstacle.remedy, remedy);
    assert.doesNotMatch(obstacle.cause, /\.$/);
  });
}

const releases: [string, string, RegExp][] = [
  ["Debian", "ID=debian\n", /^run: apt-get install tpm2-tools$/],
  ["Ubuntu", 'NAME="Ubuntu"\nID=ubuntu\n', /apt-get/],
  ["Mint", 'ID=linuxmint\nID_LIKE="ubuntu debian"\n', /apt-get/],
  ["Fedora", "ID=fedora\n", /dnf install tpm2-tss$/],
  ["Rocky", 'ID="rocky"\nID_LIKE="rhel centos fedora"\n', /dnf/],
  ["CentOS", 'ID="centos"\n', /dnf/],
  ["Red Hat", "ID='rhel'\n", /dnf/],
  ["Alpine", "ID=alpine\n", /apk add .*tpm2-tss-tcti-device/],
  ["Arch", "ID=arch\n", /pacman/],
  ["openSUSE", 'ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', /zypper/],
  ["something else", "ID=nixos\n", /^install tpm2-tss \(libtss2\)$/],
  ["something else of another build", "ID=nixos\nBUILD_ID=debian\n", /^install/],
  ["a file that says nothing", "", /^install/],
];
for (const [name, text, remedy] of releases) {
  test(`libraryObstacle() names the packages of ${name}`, () => {
    assert.match(libraryObstacle(system(null, { "/etc/os-release": text })).remedy, remedy);
  });
}

test("libraryObstacle() looks where /etc has no os-release, and does without", () => {
  const remedy = (files: Record<string, string>) => libraryObstacle(system(null, files)).remedy;
  assert.match(remedy({ "/usr/lib/os-release": "ID=arch\n" }), /pacman -S tpm2-tss$/);
  assert.match(remedy({ "/etc/os-release": "ID=alpine\n", "/usr/lib/os-release": "ID=arch\n" }), /apk/);
  assert.match(remedy({}), /^install tpm2-tss/);
});
