/**
 * Why a TPM's device cannot be used, and what would change that. The libraries answer "IO failure" to all of it, so
 * the system itself is asked: the device file, /sys, /proc and the account files. Linux only.
 */
import { readSystemFile, systemFileInfo } from "../platform/system_file.ts";
import { tryDevice } from "../platform/device.ts";

/** Why something is not available, and what would change that. */
export interface Obstacle {
  readonly cause: string;
  readonly remedy: string;
  /** It lies in what the user named. */
  readonly code?: "ERR_USAGE";
}

/** What is asked of the system; given in so that every machine can be described in a test. */
export interface SystemView {
  /** errno name that keeps a device from being opened, `null` when nothing does. */
  tryDevice(path: string): string | null;
  /** Owner and mode, `null` when there is nothing. */
  info(path: string): { readonly gid: number; readonly mode: number | null } | null;
  /** Text of a file, `null` when it cannot be read. */
  read(path: string): string | null;
}

/** The machine that this runs on. */
export const THIS_SYSTEM: SystemView = { tryDevice, info: systemFileInfo, read: readSystemFile };

const USE_FILE = "or use --backend encrypted-file";

/** What keeps a TPM device from being opened; `null` when nothing does. */
export function findDeviceObstacle(path: string, system: SystemView = THIS_SYSTEM): Obstacle | null {
  const errno = system.tryDevice(path);
  switch (errno) {
    case null:
      return null;
    case "ENOENT":
    case "ENODEV":
    case "ENXIO":
      return absent(path, system);
    case "EACCES":
      return denied(path, system);
    case "EPERM":
      return {
        cause: `${path} may not be opened: the container's or service's device rules forbid it`,
        remedy: `allow the device (docker run --device ${path}; systemd DeviceAllow=${path} rw), ${USE_FILE}`,
      };
    case "ENOTTY":
      return {
        cause: `${path} is no device`,
        remedy: "name a TPM's device: AMESH_TPM_TCTI=device:/dev/tpmrm0",
      };
    case "EBUSY":
      return {
        cause: `${path} is held open by another program`,
        remedy: "use /dev/tpmrm0, which programs can share, or stop the other program",
      };
    default:
      return {
        cause: `${path} cannot be opened (${errno})`,
        remedy: `see: dmesg | grep -i tpm; ${USE_FILE}`,
      };
  }
}

function absent(path: string, system: SystemView): Obstacle {
  const cause = `there is no ${path}`;
  const hasChip = system.info("/sys/class/tpm/tpm0") !== null;
  if (system.read("/sys/class/tpm/tpm0/tpm_version_major")?.trim() === "1") {
    return { cause: `${cause}: this machine has a TPM 1.2`, remedy: `TPM 2.0 is needed; ${USE_FILE}` };
  }
  if (isContainer(system)) {
    const remedy = hasChip
      ? `start the container with --device ${path}, ${USE_FILE} on a mounted volume`
      : `give the host a TPM and start the container with --device ${path}, ${USE_FILE} on a mounted volume`;
    return { cause: `${cause}: this is a container`, remedy };
  }
  if (hasChip) {
    return {
      cause: `${cause}, though the kernel has a TPM`,
      remedy: `load its driver's resource manager or restart udev (udevadm trigger --subsystem-match=tpmrm)`,
    };
  }
  const machine = virtualMachine(system);
  if (machine !== null) {
    return {
      cause: `${cause}: this virtual machine${machine === "" ? "" : ` (${machine})`} has no virtual TPM`,
      remedy: `give the virtual machine a vTPM 2.0 and restart it, ${USE_FILE}`,
    };
  }
  return {
    cause: `${cause}: the kernel found no TPM`,
    remedy: `switch the TPM on in the firmware setup (fTPM, PTT, security device), ${USE_FILE}`,
  };
}

function isContainer({ info, read }: SystemView): boolean {
  if (info("/.dockerenv") !== null || info("/run/.containerenv") !== null) return true;
  if (read("/run/systemd/container") !== null) return true;
  return /(docker|kubepods|containerd|lxc|libpod)/.test(read("/proc/1/cgroup") ?? "");
}

/** Name of the virtual machine's maker; empty when only the processor tells; `null` on real hardware. */
function virtualMachine({ read }: SystemView): string | null {
  const maker = read("/sys/class/dmi/id/sys_vendor")?.trim() ?? "";
  const product = read("/sys/class/dmi/id/product_name")?.trim() ?? "";
  const known =
    /QEMU|KVM|VMware|VirtualBox|innotek|Xen|Bochs|Parallels|Amazon EC2|Google Compute|DigitalOcean|Hetzner|OpenStack|Virtual Machine/;
  if (known.test(`${maker} ${product}`)) return maker;
  return /^flags\s*:.*\bhypervisor\b/m.test(read("/proc/cpuinfo") ?? "") ? "" : null;
}

function denied(path: string, system: SystemView): Obstacle {
  const info = system.info(path);
  const cause = `permission denied on ${path}`;
  // Group 0 or a group without access: joining it would not help, or help too much.
  if (info === null || info.gid === 0 || ((info.mode ?? 0) & 0o060) !== 0o060) {
    return {
      cause: `${cause}: only root may use it`,
      remedy: `install the package tpm-udev (or your distribution's TPM udev rules) and restart, ${USE_FILE}`,
    };
  }
  const [name, members] = groupOf(info.gid, system);
  const who = `${cause}: the device belongs to group "${name}"`;
  const user = userName(system);
  if (user !== null && members.includes(user)) {
    return {
      cause: `${who}, which you joined after this login`,
      remedy: `log in again (or run: newgrp ${name}); a new login is needed before the group counts`,
    };
  }
  return {
    cause: who,
    remedy:
      `run: sudo usermod -aG ${name} "$(id -un)", then log in again: a new login is needed before it counts`,
  };
}

/** Name and members from /etc/group; the number stands for a name that is not there. */
function groupOf(gid: number, { read }: SystemView): [string, readonly string[]] {
  for (const line of (read("/etc/group") ?? "").split("\n")) {
    const [name, , number, members] = line.split(":");
    if (name && number === String(gid)) return [name, members?.split(",") ?? []];
  }
  return [String(gid), []];
}

/** Name of the effective user from /etc/passwd. */
function userName({ read }: SystemView): string | null {
  const uid = /^Uid:\s+\d+\s+(\d+)/m.exec(read("/proc/self/status") ?? "")?.[1];
  const line = (read("/etc/passwd") ?? "").split("\n").find((entry) => entry.split(":")[2] === uid);
  return line?.split(":")[0] ?? null;
}

const PACKAGES: readonly (readonly [RegExp, string])[] = [
  [/debian|ubuntu/, "apt-get install tpm2-tools"],
  [/fedora|rhel|centos/, "dnf install tpm2-tss"],
  [/alpine/, "apk add tpm2-tss-esys tpm2-tss-mu tpm2-tss-rc tpm2-tss-tctildr tpm2-tss-tcti-device"],
  [/arch/, "pacman -S tpm2-tss"],
  [/suse/, "zypper install libtss2-esys0 libtss2-mu0 libtss2-rc0 libtss2-tctildr0 libtss2-tcti-device0"],
];

/** What to do about a missing library, in the words of this distribution. */
export function libraryObstacle(system: SystemView = THIS_SYSTEM): Obstacle {
  const release = system.read("/etc/os-release") ?? system.read("/usr/lib/os-release") ?? "";
  const ids = [...release.matchAll(/^(?:ID|ID_LIKE)=["']?([^"'\n]*)/gm)].map(([, id]) => id).join(" ");
  const command = PACKAGES.find(([pattern]) => pattern.test(ids))?.[1];
  return {
    cause: "libtss2, the library that speaks to the TPM, is not installed",
    remedy: command === undefined ? "install tpm2-tss (libtss2)" : `run: ${command}`,
  };
}
