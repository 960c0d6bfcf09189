import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { test } from "node:test";
import type { FileInfo } from "../../../src/platform/host.ts";
import { findInput } from "../../../src/platform/input.ts";
import {
  fileSystemOf,
  findFileSystem,
  hasMountPoint,
  isMountPoint,
  isVolatile,
} from "../../../src/platform/mounts.ts";

/** As makedev(3) of the GNU C library puts device numbers together, by arithmetic of any width. */
const makedev = (major: bigint, minor: bigint) =>
  Number(
    (minor & 0xffn) | ((major & 0xfffn) << 8n) | ((minor & ~0xffn) << 12n) | ((major & ~0xfffn) << 32n),
  );

/** Lines of several machines: a disk, a bind mount, one with optional fields, a space in its name, overlay, NFS. */
const MOUNTINFO = `22 27 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:5 - proc proc rw
25 27 0:23 / /dev/shm rw,nosuid,nodev shared:4 - tmpfs tmpfs rw,size=16413892k
27 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,discard
28 27 254:1 /home /mnt/a\\040-\\040b rw - ext4 /dev/vda1 rw
29 27 259:3 / /boot rw,relatime shared:31 master:7 propagate_from:2 - vfat /dev/nvme0n1p3 rw
31 27 0:300 / /var/lib/docker/overlay2/merged rw,relatime - overlay overlay rw,lowerdir=/a
32 27 0:70000 / /srv rw - nfs4 server:/export rw
33 27 8:1048575 / /last rw - xfs /dev/last rw
34 27 4095:255 / /most rw - btrfs /dev/most rw
35 27 25:0 / /no-type rw
`;

const devices: [major: number, minor: number, want: string | null][] = [
  [0, 21, "proc"],
  [0, 23, "tmpfs"],
  [254, 1, "ext4"],
  [259, 3, "vfat"],
  [0, 300, "overlay"],
  [0, 70_000, "nfs4"],
  [8, 1_048_575, "xfs"],
  [4095, 255, "btrfs"],
  // In the list, without what it is; next to others in the list.
  [25, 0, null],
  [0, 2, null],
  [0, 44, null],
  [8, 255, null],
  [4095, 0, null],
  [254, 257, null],
];
for (const [major, minor, want] of devices) {
  test(`fileSystemOf() of device ${major}:${minor} is ${want}`, () => {
    assert.equal(fileSystemOf(makedev(BigInt(major), BigInt(minor)), MOUNTINFO), want);
  });
}

test("fileSystemOf() tells nothing where there is no list, or one that is no list", () => {
  for (const text of [null, "", "\n", "garbage", "1 2 254:1"]) {
    assert.equal(fileSystemOf(254 * 256 + 1, text), null);
  }
});

const points: [path: string, want: boolean][] = [
  ["/proc", true],
  ["/dev/shm", true],
  ["/", true],
  ["/mnt/a - b", true],
  ["/mnt/a\\040-\\040b", false],
  ["/home", false],
  ["/dev", false],
  ["/dev/shm/x", false],
  ["/boo", false],
  ["", false],
];
for (const [path, want] of points) {
  test(`hasMountPoint() of ${JSON.stringify(path)} is ${want}`, () => {
    assert.equal(hasMountPoint(path, MOUNTINFO.trimEnd()), want);
  });
}

test("hasMountPoint() reads every escape, and knows nothing without a list", () => {
  assert.equal(hasMountPoint("/a\tb\nc\\d#", "1 2 0:1 / /a\\011b\\012c\\134d\\043 rw - tmpfs x rw"), true);
  assert.equal(hasMountPoint("/", null), false);
});

test("isVolatile() knows what lives in memory", () => {
  const types = ["tmpfs", "ramfs", "ext4", "overlay", "devtmpfs", "", null];
  assert.deepEqual(types.map(isVolatile), [true, true, false, false, false, false, false]);
});

const hasStat = process.platform === "linux";
test(`findFileSystem() says what stat(1) says${hasStat ? "" : ": Linux only"}`, { skip: !hasStat }, () => {
  const paths = ["/proc", "/dev/shm", tmpdir(), import.meta.dirname!].filter((path) => existsSync(path));
  for (const path of paths) {
    const found = findFileSystem(findInput(path) as FileInfo);
    // Some file systems have a device number that no mount bears.
    if (found === null) continue;
    const name = execFileSync("stat", ["-f", "-c", "%T", path], { encoding: "utf8" }).trim();
    // stat(1) does not tell ext4 from its forebears.
    assert.equal(name.startsWith("ext") ? "ext" : name, found.startsWith("ext") ? "ext" : found);
  }
  assert.deepEqual([isMountPoint("/proc"), isMountPoint(import.meta.dirname!)], [true, false]);
  assert.equal(findFileSystem({ ...findInput("/proc") as FileInfo }), "proc");
  assert.equal(findInput("/proc")?.dev, statSync("/proc").dev);
});
