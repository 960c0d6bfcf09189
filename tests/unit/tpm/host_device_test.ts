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

const machines: [string, SystemView, RegExp, RegExp][] = [
  ["real hardware", system("ENOENT"), /kernel found no TPM$/, /firmware setup/],
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
  ["Mint", 'ID=linuxmint\nID_LIKE="ubuntu debian"\n', /apt-get/],
  ["Fedora", "ID=fedora\n", /dnf install tpm2-tss$/],
  ["Rocky", 'ID="rocky"\nID_LIKE="rhel centos fedora"\n', /dnf/],
  ["Alpine", "ID=alpine\n", /apk add .*tpm2-tss-tcti-device/],
  ["Arch", "ID=arch\n", /pacman/],
  ["openSUSE", 'ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', /zypper/],
  ["something else", "ID=nixos\n", /^install tpm2-tss/],
];
for (const [name, text, remedy] of releases) {
  test(`libraryObstacle() names the packages of ${name}`, () => {
    assert.match(libraryObstacle(system(null, { "/etc/os-release": text })).remedy, remedy);
  });
}
