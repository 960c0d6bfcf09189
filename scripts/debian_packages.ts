/** What the tests use beside what every Debian has, nearly all of it programs, and how it comes onto a machine. */

/** A program or a file, its Debian package, and which tests need it. */
export interface Requirement {
  /** By this name a program is found, and whatever is missing is reported. */
  readonly program: string;
  /** Absolute path of what is needed in place of a program. */
  readonly file?: string;
  readonly package: string;
  readonly why: string;
}

/** Everything that a Debian with nothing but Node.js and npm may lack. */
export const REQUIREMENTS: readonly Requirement[] = [
  { program: "openssl", package: "openssl", why: "verifies what amesh signs, and signs what amesh verifies" },
  { program: "ssh", package: "openssh-client", why: "uses the agent, with its ssh-add and ssh-keygen" },
  { program: "sshd", package: "openssh-server", why: "is the server that ssh logs in to" },
  { program: "git", package: "git", why: "signs commits by the agent" },
  { program: "csh", package: "csh", why: "reads what the agent prints for it" },
  { program: "zsh", package: "zsh", why: "completes commands" },
  { program: "fish", package: "fish", why: "completes commands" },
  { program: "man", package: "man-db", why: "shows the manual" },
  { program: "mandoc", package: "mandoc", why: "finds mistakes in the manual" },
  { program: "argon2", package: "argon2", why: "gives the reference value of a stretched passphrase" },
  {
    program: "strace",
    package: "strace",
    why: "shows that no command opens a socket or reads a planted file",
  },
  { program: "script", package: "bsdutils", why: "gives a command a terminal" },
  { program: "unshare", package: "util-linux", why: "gives a script users and mounts of its own" },
  {
    program: "setpriv",
    package: "util-linux",
    why: "runs a command as another user, and ends one with its parent",
  },
  { program: "flock", package: "util-linux", why: "holds amesh's lock" },
  { program: "mount", package: "mount", why: "makes full and read-only file systems" },
  { program: "python3", package: "python3", why: "answers on sockets, well and badly" },
  {
    program: "PyJWT",
    file: "/usr/lib/python3/dist-packages/jwt/__init__.py",
    package: "python3-jwt",
    why: "reads the tokens that amesh makes",
  },
  {
    program: "the Python library cryptography",
    file: "/usr/lib/python3/dist-packages/cryptography/__init__.py",
    package: "python3-cryptography",
    why: "PyJWT needs",
  },
  { program: "faketime", package: "faketime", why: "makes tokens at other times" },
  { program: "shellcheck", package: "shellcheck", why: "reads the shell scripts" },
  { program: "dash", package: "dash", why: "runs the install script" },
  { program: "busybox", package: "busybox", why: "runs the install script, with its own programs" },
  { program: "curl", package: "curl", why: "fetches what the install script installs" },
  { program: "wget", package: "wget", why: "fetches it where there is no curl" },
  { program: "minisign", package: "minisign", why: "signs releases and checks their signatures" },
  { program: "cfssl", package: "golang-cfssl", why: "is a certificate authority that runs" },
  { program: "minisign", package: "minisign", why: "signs the checksums of a release" },
  { program: "dpkg-deb", package: "dpkg", why: "makes the Debian packages of a release" },
  { program: "ruby", package: "ruby", why: "runs the Homebrew formula" },
  { program: "rubocop", package: "rubocop", why: "reads the Homebrew formula" },
  { program: "gcc", package: "gcc", why: "compiles the program that kills commands" },
  {
    program: "the headers of the C library",
    file: "/usr/include/stdio.h",
    // The kernel's headers come with them.
    package: "libc6-dev",
    why: "the program that kills commands needs",
  },
  {
    program: "the C++ library",
    file: `/usr/lib/${Deno.build.arch}-linux-gnu/libstdc++.so.6`,
    package: "libstdc++6",
    why: "Bun's executable for musl needs",
  },
  {
    program: "the headers of OpenSSL",
    file: "/usr/include/openssl/evp.h",
    package: "libssl-dev",
    why: "the library that stands in for macOS needs",
  },
  {
    program: "the headers of the C library for arm64",
    file: "/usr/aarch64-linux-gnu/include/fcntl.h",
    package: "libc6-dev-arm64-cross",
    why: "tell which numbers another processor has",
  },
  {
    program: "qemu-aarch64-static",
    package: "qemu-user-static",
    why: "runs the executable for arm64",
  },
  {
    program: "the C library for arm64",
    file: "/usr/aarch64-linux-gnu/lib/libc.so.6",
    package: "libc6-arm64-cross",
    why: "the executable for arm64 needs",
  },
  {
    program: "systemd-analyze",
    package: "systemd",
    why: "reads the units of services",
  },
  { program: "musl-gcc", package: "musl-tools", why: "makes what a root of musl needs, and brings musl" },
  { program: "nsenter", package: "util-linux", why: "runs a command in a container" },
  { program: "swtpm", package: "swtpm", why: "is the TPM" },
  // Its libraries, which it cannot be without, are all that amesh itself needs for a TPM: libtss2 and its TCTIs.
  { program: "tpm2", package: "tpm2-tools", why: "tells what is in the TPM" },
  {
    program: "the tpm2 provider of openssl",
    file: `/usr/lib/${Deno.build.arch}-linux-gnu/ossl-modules/tpm2.so`,
    package: "tpm2-openssl",
    why: "uses keys that amesh made in the TPM, and makes some for amesh",
  },
];

/** Whether a program lies in a directory of PATH or where administration programs lie. */
export function hasProgram(program: string): boolean {
  const directories = [...(Deno.env.get("PATH") ?? "").split(":"), "/usr/sbin", "/sbin"];
  return directories.some((directory) => isFile(`${directory}/${program}`));
}

function isThere({ program, file }: Requirement): boolean {
  return file === undefined ? hasProgram(program) : isFile(file);
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
  const missing = REQUIREMENTS.filter((requirement) => !isThere(requirement));
  if (missing.length === 0 || !isFile("/etc/debian_version") || Deno.uid() !== 0) return missing;
  const names = [...new Set(missing.map((requirement) => requirement.package))];
  console.log(`installing ${names.join(", ")}`);
  await quietly("apt-get", "update", "--quiet=2");
  await quietly("sh", "-c", INSTALL, "sh", "--quiet=2", "--yes", "--no-install-recommends", ...names);
  return missing.filter((requirement) => !isThere(requirement));
}

/**
 * The tests need programs, not the services that come with some packages: sshd would listen for everybody. Debian asks
 * the policy before it starts one; one that the machine has already is left alone. A shell does it, because that removes
 * the file also when this process is interrupted.
 */
const INSTALL = `policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  trap 'exit 130' HUP INT TERM
  printf '#!/bin/sh\\nexit 101\\n' > $policy
  chmod 755 $policy
fi
apt-get install "$@"`;

/** A failure needs no report of its own: what is missing afterwards is reported. */
async function quietly(program: string, ...args: string[]): Promise<void> {
  await new Deno.Command(program, {
    args,
    stdin: "null",
    env: { DEBIAN_FRONTEND: "noninteractive" },
    stdout: "inherit",
    stderr: "inherit",
  }).output();
}
