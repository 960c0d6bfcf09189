/** The programs that the tests call beside the ones that every Debian has, and how they come onto a machine. */

/** A program, its Debian package, and which tests need it. */
export interface Requirement {
  readonly program: string;
  readonly package: string;
  readonly why: string;
}

/** Everything that a Debian with nothing but Node.js and npm may lack. */
export const REQUIREMENTS: readonly Requirement[] = [
  { program: "openssl", package: "openssl", why: "verifies what amesh signs, and signs what amesh verifies" },
  { program: "ssh-keygen", package: "openssh-client", why: "reads and writes public keys in the SSH format" },
  { program: "argon2", package: "argon2", why: "gives the reference value of a stretched passphrase" },
  {
    program: "strace",
    package: "strace",
    why: "shows that no command opens a socket or reads a planted file",
  },
  { program: "script", package: "bsdutils", why: "gives a command a terminal" },
  { program: "unshare", package: "util-linux", why: "gives a script users and mounts of its own" },
  { program: "setpriv", package: "util-linux", why: "runs a command as another user" },
  { program: "flock", package: "util-linux", why: "holds amesh's lock" },
  { program: "mount", package: "mount", why: "makes full and read-only file systems" },
];

/** Whether a program lies in a directory of PATH or where administration programs lie. */
export function hasProgram(program: string): boolean {
  const directories = [...(Deno.env.get("PATH") ?? "").split(":"), "/usr/sbin", "/sbin"];
  return directories.some((directory) => isFile(`${directory}/${program}`));
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/**
 * Installs what is missing, where that is possible: on Debian, as root.
 *
 * @returns what is still missing.
 */
export async function installMissing(): Promise<Requirement[]> {
  const missing = REQUIREMENTS.filter(({ program }) => !hasProgram(program));
  if (missing.length === 0 || !isFile("/etc/debian_version") || Deno.uid() !== 0) return missing;
  const names = [...new Set(missing.map((requirement) => requirement.package))];
  console.log(`installing ${names.join(", ")}`);
  await aptGet("update", "--quiet=2");
  await aptGet("install", "--quiet=2", "--yes", "--no-install-recommends", ...names);
  return missing.filter(({ program }) => !hasProgram(program));
}

/** A failure needs no report of its own: what is missing afterwards is reported. */
async function aptGet(...args: string[]): Promise<void> {
  await new Deno.Command("apt-get", {
    args,
    stdin: "null",
    env: { DEBIAN_FRONTEND: "noninteractive" },
    stdout: "inherit",
    stderr: "inherit",
  }).output();
}
