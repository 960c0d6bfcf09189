/** How much memory this process can still have, as far as the system tells. */
import { host } from "./host.ts";
import { readSystemFile } from "./system_file.ts";

/**
 * Bytes that can be allocated before the kernel kills somebody: free and reclaimable memory with free swap, or
 * what the memory cgroup (a container's limit) leaves, whichever is less.
 *
 * @returns `null` where the system does not tell (macOS and Windows grow their swap as needed).
 */
export function availableMemory(): number | null {
  if (host.os !== "linux") return null;
  const machine = parseMeminfo(readSystemFile("/proc/meminfo"));
  const container = cgroupHeadroom(readSystemFile("/proc/self/cgroup"), readSystemFile);
  if (machine === null || container === null) return machine ?? container;
  return Math.min(machine, container);
}

/** `MemAvailable` and `SwapFree` of `/proc/meminfo` in bytes; `null` without the former. */
export function parseMeminfo(text: string | null): number | null {
  const kib = (name: string) => {
    const match = new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(text ?? "");
    return match === null ? null : Number(match[1]);
  };
  const available = kib("MemAvailable");
  return available === null ? null : (available + (kib("SwapFree") ?? 0)) * 1024;
}

/**
 * What the memory cgroup of this process and those above it leave: limit less the memory that cannot be reclaimed.
 *
 * @param membership `/proc/self/cgroup`: lines `0::/path` (v2) or `N:memory:/path` (v1).
 * @param readFile text of a file or `null`.
 * @returns bytes, the least of them, or `null` without a limit.
 */
export function cgroupHeadroom(
  membership: string | null,
  readFile: (path: string) => string | null,
): number | null {
  let least: number | null = null;
  for (const line of (membership ?? "").split("\n")) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (path === undefined || (controllers !== "" && controllers !== "memory")) continue;
    const version = controllers === "" ? V2 : V1;
    // In a container the mount point is the container's own group, whatever the path says.
    for (let group = path.replace(/\/$/, "");; group = group.slice(0, group.lastIndexOf("/"))) {
      const headroom = groupHeadroom(version, group, readFile);
      if (headroom !== null) least = Math.min(least ?? headroom, headroom);
      if (group === "") break;
    }
  }
  return least;
}

function groupHeadroom(
  version: typeof V1 | typeof V2,
  group: string,
  readFile: (path: string) => string | null,
): number | null {
  const directory = `${version.mount}${group}`;
  const limit = Number.parseInt(readFile(`${directory}/${version.limit}`) ?? "", 10);
  if (Number.isNaN(limit) || limit >= NO_LIMIT) return null;
  const used = version.used.exec(readFile(`${directory}/memory.stat`) ?? "");
  return Math.max(0, limit - Number(used?.[1] ?? 0));
}

const V2 = { mount: "/sys/fs/cgroup", limit: "memory.max", used: /^anon (\d+)$/m } as const;
const V1 = {
  mount: "/sys/fs/cgroup/memory",
  limit: "memory.limit_in_bytes",
  used: /^total_rss (\d+)$/m,
} as const;
// cgroup v1 says "no limit" by a number near 2^63.
const NO_LIMIT = 2 ** 53;
