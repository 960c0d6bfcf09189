/** What the manual says and no definition of a command does: exit codes, variables, files. */
import type { EXIT_CODES } from "../../src/errors.ts";

type ExitCode = typeof EXIT_CODES[keyof typeof EXIT_CODES] | 0 | 130;

/** What each exit code means; a missing one is a type error. */
export const EXIT_STATUS: Readonly<Record<ExitCode, string>> = {
  0: "Done.",
  1: "Unexpected, or an error of the operating system: unreadable input, disk full; or not confirmed.",
  2: "Usage: an unknown command or option, a value that cannot be.",
  3: "There is no identity; `amesh init` makes one.",
  4: "The key storage is not available; `amesh doctor` says why. A TPM in lockout or without an answer, too.",
  5: "The key cannot be unlocked: no passphrase, a wrong one, a source that cannot be read, or a damaged key.",
  6: "An identity exists already.",
  7: "The signature is not valid.",
  8: "A file is unsafe: others can touch it, it belongs to another user, or is a symbolic link.",
  9: "A file or a key is corrupt or not supported.",
  10: "Another amesh is changing the directory.",
  11: "The certificate is due for renewal: it ends soon, it is of another key, or there is none.",
  12: "No agent is running.",
  130: "Interrupted by Ctrl-C.",
};

/** Every variable that amesh reads, and what it does. */
export const VARIABLES: Readonly<Record<string, string>> = {
  AUTH_MESH_DIR: "The directory of the identity, in place of ~/.amesh.",
  AUTH_MESH_PASSPHRASE: "The passphrase of the key. It is removed from the environment once it is read.",
  AMESH_PASSPHRASE_FILE:
    "The file with the passphrase, in place of ~/.amesh/.passphrase. Where it is missing or " +
    "cannot be read, nothing else is tried; `amesh init` makes it.",
  CREDENTIALS_DIRECTORY:
    "Set by systemd.exec(5) for a service; its credential `amesh-passphrase` is taken for the " +
    "passphrase.",
  AMESH_ALLOW_GROUP_READ:
    "With `1`, files that their group can access are accepted, as Kubernetes mounts them.",
  AMESH_TPM_TCTI: "The TPM that is used, such as `device:/dev/tpmrm0`, which is the default.",
  SSH_AUTH_SOCK: "The socket of the agent that `sign`, `csr`, `jwt` and `jws` ask before they open the key.",
  SSH_ASKPASS: "The program by which `amesh agent --confirm` asks.",
  XDG_RUNTIME_DIR: "Where the socket of the agent is, in amesh/; without it, in ~/.amesh/run/.",
  SHELL: "The shell for which `amesh agent` prints commands.",
  HOME: "Where ~ is; without it, the home directory of the account.",
  USERPROFILE: "The same on Windows.",
  SUDO_USER: "Set by sudo(8); `amesh doctor` then says whose identity is used.",
  NOTIFY_SOCKET: "Set by systemd(1); `amesh agent --foreground` tells there that it is ready.",
};

/** What lies in the directory of the identity. */
export const FILES: Readonly<Record<string, string>> = {
  "~/.amesh/identity.json": "The public key, the name, and which key storage holds the private key.",
  "~/.amesh/keys/": "The private key: encrypted, or wrapped by the hardware that alone can use it.",
  "~/.amesh/.passphrase": "The passphrase of an encrypted-file key, unless it comes from elsewhere.",
  "~/.amesh/certificate.pem": "The certificate chain of the key; see amesh-certificate-set(1).",
  "~/.amesh/history/": "Continuity statements, one for each rotation; see amesh-verify-rotation(1).",
  "~/.amesh/orphans/": "Keys that nothing refers to, moved here by `amesh doctor --fix`.",
  "~/.amesh/run/": "The socket of the agent where there is no XDG_RUNTIME_DIR.",
  "~/.amesh/.lock":
    "Held by a command that changes something. Other files whose names begin with a dot are what a " +
    "command that is running, or was killed, has not finished; `amesh doctor --fix` clears up.",
};
