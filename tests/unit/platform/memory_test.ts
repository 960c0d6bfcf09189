import assert from "node:assert/strict";
import { totalmem } from "node:os";
import process from "node:process";
import { test } from "node:test";
import { availableMemory, cgroupHeadroom, parseMeminfo } from "../../../src/platform/memory.ts";

const MIB = 1 << 20;

const meminfos: [name: string, text: string | null, want: number | null][] = [
  [
    "available memory and free swap",
    "MemTotal:        1000 kB\nMemFree:   100 kB\nMemAvailable:     500 kB\nSwapTotal: 400 kB\nSwapFree:       200 kB\n",
    700 * 1024,
  ],
  ["available memory without swap", "MemAvailable:     500 kB\n", 500 * 1024],
  [
    "nothing without MemAvailable (Linux before 3.14)",
    "MemTotal: 1000 kB\nMemFree: 100 kB\nSwapFree: 5 kB\n",
    null,
  ],
  ["nothing of an empty file", "", null],
  ["nothing of another unit", "MemAvailable: 500 MB\n", null],
  ["nothing of no file", null, null],
];
for (const [name, text, want] of meminfos) {
  test(`parseMeminfo() gives ${name}`, () => assert.equal(parseMeminfo(text), want));
}

const V2 = "/sys/fs/cgroup";
const V1 = "/sys/fs/cgroup/memory";
const stat = (anon: number) => `anon ${anon}\nfile 999999999\n`;

const cgroups: [
  name: string,
  membership: string | null,
  files: Record<string, string>,
  want: number | null,
][] = [
  ["limit less anonymous memory of a v2 group", "0::/app\n", {
    [`${V2}/app/memory.max`]: `${100 * MIB}\n`,
    [`${V2}/app/memory.stat`]: stat(30 * MIB),
  }, 70 * MIB],
  ["limit of a container, which sees its own group at the mount point", "0::/\n", {
    [`${V2}/memory.max`]: `${100 * MIB}\n`,
    [`${V2}/memory.stat`]: stat(0),
  }, 100 * MIB],
  ["limit at the mount point when the path is the host's", "0::/system.slice/docker-1.scope\n", {
    [`${V2}/memory.max`]: `${50 * MIB}\n`,
    [`${V2}/memory.stat`]: stat(10 * MIB),
  }, 40 * MIB],
  ["least of a group and those above it", "0::/user.slice/a.service\n", {
    [`${V2}/user.slice/a.service/memory.max`]: `${100 * MIB}\n`,
    [`${V2}/user.slice/a.service/memory.stat`]: stat(0),
    [`${V2}/user.slice/memory.max`]: `${60 * MIB}\n`,
    [`${V2}/user.slice/memory.stat`]: stat(20 * MIB),
    [`${V2}/memory.max`]: `${500 * MIB}\n`,
    [`${V2}/memory.stat`]: stat(0),
  }, 40 * MIB],
  ["limit of a group above one that has none", "0::/user.slice/a.service\n", {
    [`${V2}/user.slice/a.service/memory.max`]: "max\n",
    [`${V2}/user.slice/memory.max`]: `${60 * MIB}\n`,
  }, 60 * MIB],
  ["limit alone without a readable memory.stat", "0::/app\n", { [`${V2}/app/memory.max`]: `${MIB}\n` }, MIB],
  ["zero when more is used than the limit", "0::/app\n", {
    [`${V2}/app/memory.max`]: `${MIB}\n`,
    [`${V2}/app/memory.stat`]: stat(2 * MIB),
  }, 0],
  ["nothing for a v2 group without a limit", "0::/app\n", { [`${V2}/app/memory.max`]: "max\n" }, null],
  ["limit less resident memory of a v1 group", "5:cpu,cpuacct:/a\n4:memory:/app\n0::/\n", {
    [`${V1}/app/memory.limit_in_bytes`]: `${100 * MIB}\n`,
    [`${V1}/app/memory.stat`]: `rss 5\ntotal_rss ${20 * MIB}\n`,
  }, 80 * MIB],
  ["nothing for v1's number that means no limit", "4:memory:/\n", {
    [`${V1}/memory.limit_in_bytes`]: "9223372036854771712\n",
  }, null],
  ["nothing of another controller's group", "5:cpu:/app\n", {
    [`${V1}/app/memory.limit_in_bytes`]: `${MIB}\n`,
  }, null],
  ["nothing without files", "0::/app\n", {}, null],
  ["nothing of a membership that is none", "what\n", { [`${V2}/memory.max`]: `${MIB}\n` }, null],
  ["nothing without a membership", null, { [`${V2}/memory.max`]: `${MIB}\n` }, null],
];
for (const [name, membership, files, want] of cgroups) {
  test(`cgroupHeadroom() gives ${name}`, () => {
    assert.equal(cgroupHeadroom(membership, (path) => files[path] ?? null), want);
  });
}

const linux = process.platform === "linux";
test(`availableMemory() is more than nothing on Linux${linux ? "" : ": not on this system"}`, {
  skip: !linux,
}, () => {
  const available = availableMemory();
  assert.ok(available !== null && available > 16 * MIB, `${available}`);
  // Swap can come on top.
  assert.ok(available < 100 * totalmem());
});

test(
  `availableMemory() does not know off Linux${linux ? ": not on this system" : ""}`,
  { skip: linux },
  () => {
    assert.equal(availableMemory(), null);
  },
);
